"""The archive of a pack: readable by every tool, and read in one way only."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from merklelog.errors import FormatError, MerklelogError
from merklelog.pack.archive import Archive, Member
from merklelog.pack.zipped import ZipWriter
from tests.pack.packs import KEY_ALONE, files_of, judge, lines_log, mixed_log, script, script_says, zipped

PACK = mixed_log(3000).pack(1490, 1520)
FILES = files_of(PACK)


def written(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    writer = ZipWriter(out.write)
    for name, data in files:
        writer.add(name, data)
    writer.close()
    assert writer.length == len(out.getvalue())
    return out.getvalue()


def read(data: bytes) -> list[tuple[str, bytes]]:
    archive = Archive(io.BytesIO(data))
    return [(member.name, archive.read(member, 1 << 20)) for member in archive.members()]


def test_a_pack_is_a_zip_for_every_tool(tmp_path: Path) -> None:
    path = tmp_path / "evidence.mlpack"
    path.write_bytes(PACK)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_DEFLATED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
    assert read(PACK) == FILES == read(written(FILES))
    assert written(FILES) == PACK, "the same files make the same bytes"
    unzip = subprocess.run(["sh", "-c", "command -v unzip"], capture_output=True, text=True).stdout.strip()
    if unzip:
        subprocess.run([unzip, "-q", str(path), "-d", str(tmp_path / "out")], check=True)
        for name, data in FILES:
            assert (tmp_path / "out" / name).read_bytes() == data


def test_a_file_changed_in_its_place_is_found_by_its_crc() -> None:
    stored = zipped(FILES, method=zipfile.ZIP_STORED)
    for name, data in FILES:
        at = stored.index(data) + len(data) // 2
        broken = stored[:at] + bytes([stored[at] ^ 0x20]) + stored[at + 1 :]
        with pytest.raises(FormatError, match=f"{name}: it was changed: its CRC-32"):
            judge(broken)
        assert script_says(broken) == (1, f"{name}: it was changed: its length or its CRC-32 is another one")


def status_of(pack: bytes) -> int:
    try:
        judge(pack)
    except MerklelogError as error:
        return error.exit_status
    return 0


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_no_byte_can_be_changed_but_for_dates(method: int) -> None:
    """One bit anywhere: refused, or every tool still sees the same files (times and versions say nothing)."""
    pack = PACK if method == zipfile.ZIP_DEFLATED else zipped(FILES, method)
    chooser = random.Random(method)
    harmless = 0
    for at in range(len(pack)):
        broken = pack[:at] + bytes([pack[at] ^ 1 << chooser.randrange(8)]) + pack[at + 1 :]
        said = status_of(broken)
        if said == 0:
            harmless += 1
            assert files_of(broken) == FILES, at
        else:
            assert said == 1, at
        if at % 37 == 0 or said == 0:
            assert script_says(broken)[0] == said, at
    assert 0 < harmless < 30 * len(FILES)


def test_no_beginning_of_a_pack_is_one() -> None:
    for end in [*range(0, len(PACK), 97), *range(len(PACK) - 60, len(PACK))]:
        with pytest.raises(FormatError):
            judge(PACK[:end])
        assert script_says(PACK[:end])[0] == 1
    for more in (b"\0", b"PK\5\6" + bytes(18), PACK):
        for other in (PACK + more, more + PACK):
            with pytest.raises(FormatError):
                judge(other)
            assert script_says(other)[0] == 1


def with_info(change: Callable[[zipfile.ZipInfo], object]) -> bytes:
    """The files of the pack, the second one by a tool with other habits."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(FILES):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if number == 1:
                change(info)
            archive.writestr(info, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("external_attr", 0o120777 << 16),
        ("external_attr", 0o040755 << 16),
        ("compress_type", zipfile.ZIP_BZIP2),
        ("compress_type", zipfile.ZIP_LZMA),
        ("extra", struct.pack("<2HBL", 0x7075, 10, 1, zlib.crc32(b"proof.txt")) + b"other"),
        ("comment", b"what a tool may show beside the file"),
        ("filename", "proof.txt\x01"),
        ("filename", "prööf.txt"),
        ("filename", "C:\\proof.txt"),
    ],
)
def test_what_tools_do_not_read_alike_is_refused(what: str, value: object) -> None:
    pack = with_info(lambda info: setattr(info, what, value))
    with pytest.raises(FormatError):
        judge(pack)
    assert script_says(pack)[0] == 1


def test_habits_of_other_tools_that_change_nothing_are_taken() -> None:
    pack = with_info(lambda info: setattr(info, "extra", struct.pack("<2HBL", 0x5455, 5, 1, 1_700_000_000)))
    assert judge(pack) == judge(PACK)
    assert script_says(pack) == script_says(PACK)


def test_a_zip_with_a_comment_or_streamed_is_refused() -> None:
    out = io.BytesIO(PACK)
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"this pack was verified by nobody"
    with pytest.raises(FormatError, match="cut off, or bytes were added"):
        judge(out.getvalue())
    assert script_says(out.getvalue())[0] == 1

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES:
            archive.writestr(name, data)
    with pytest.raises(FormatError, match="streamed"):
        judge(pipe.getvalue())
    assert script_says(pipe.getvalue())[0] == 1


def test_two_files_at_one_place_are_refused() -> None:
    """A directory whose second entry leads to the bytes of the first."""
    at = PACK.index(b"PK\1\2")
    second = PACK.index(b"PK\1\2", at + 4)
    broken = bytearray(PACK)
    broken[second + 42 : second + 46] = broken[at + 42 : at + 46]
    with pytest.raises(FormatError, match="begins at byte 0"):
        judge(bytes(broken))
    assert script_says(bytes(broken))[0] == 1


def test_a_bomb_is_not_inflated() -> None:
    """A small file that says it is small, and inflates to gigabytes; and one that says it is large."""
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join([zeros.compress(bytes(1 << 20)) for _ in range(200)]) + zeros.flush()
    for claimed in (100, 200 << 20):
        out = io.BytesIO()
        name = b"README.txt"
        told = (0, 8, 0, 33, zlib.crc32(b""), len(packed), claimed, len(name))
        out.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, *told, 0) + name + packed)
        place = out.tell()
        out.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *told, 0, 0, 0, 0, 0, 0) + name)
        out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, out.tell() - place, place, 0))
        with pytest.raises(FormatError, match=r"README\.txt"):
            judge(out.getvalue())
        assert script_says(out.getvalue())[0] == 1


def test_an_archive_over_4_gib(tmp_path: Path) -> None:
    """Two files of 3 GiB that are holes on the disk, and then one that the writer puts behind them."""
    hole = 3 << 30
    path = tmp_path / "large"
    with path.open("w+b") as file:
        writer = ZipWriter(file.write)
        for name in (b"a", b"b"):
            told = (0, 0, 0, 33, 0, hole, hole, len(name))
            entry = (b"PK\1\2", 0x314, 20, *told, 0, 0, 0, 0, 0o100644 << 16, file.tell())
            writer._entries.append(struct.pack("<4s6H3L5H2L", *entry) + name)
            file.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, *told, 0) + name)
            file.seek(hole, io.SEEK_CUR)
        writer.length = file.tell()
        assert writer.length > 1 << 32
        writer.add("c", b"beyond")
        writer.close()
        archive = Archive(file)
        members = list(archive.members())
        assert [(member.name, member.size) for member in members] == [("a", hole), ("b", hole), ("c", 6)]
        assert archive.read(members[2], 100) == b"beyond"
        assert list(script().Archive(file).members()) == [tuple(vars_of(member)) for member in members]
    with zipfile.ZipFile(path) as zipped_file:
        assert zipped_file.read("c") == b"beyond"


def vars_of(member: Member) -> list[object]:
    return [member.name, member.method, member.crc, member.packed, member.size, member.start]


def test_an_archive_of_many_files() -> None:
    many = [(f"f{number}", b"%d" % number) for number in range(70_000)]
    data = written(many)
    assert read(data) == many
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 70_000
    module = script()
    found = module.Archive(io.BytesIO(data))
    assert [member.name for member in found.members()] == [name for name, _ in many]


@lru_cache(maxsize=1)
def full_archive() -> bytes:
    """As many files as need the larger form of the end."""
    return written([(f"f{number}", b"") for number in range(65_535)])


@pytest.mark.parametrize("wrong", sorted({*range(0, 76, 5), 28, 32, 47} - {15}))  # 12 to 15: versions
def test_the_end_of_a_large_archive_is_read_strictly(wrong: int) -> None:
    data = full_archive()
    at = len(data) - 98 + wrong
    broken = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    with pytest.raises(FormatError):
        Archive(io.BytesIO(broken))
    with pytest.raises(script().Disproven):
        script().Archive(io.BytesIO(broken))


def test_garbage_raises_only_what_it_should() -> None:
    chooser = random.Random(7)
    for _ in range(1500):
        data = bytearray(PACK)
        for _ in range(chooser.choice((1, 2, 5, 30))):
            at = chooser.randrange(len(data))
            match chooser.randrange(3):
                case 0:
                    data[at] = chooser.randrange(256)
                case 1:
                    del data[at : at + chooser.randrange(1, 40)]
                case _:
                    data[at:at] = chooser.randbytes(chooser.randrange(1, 40))
        try:
            judge(bytes(data))
        except MerklelogError:
            assert script_says(bytes(data))[0] == 1
        else:
            assert files_of(bytes(data)) == FILES


def test_entries_that_are_lines_are_written_as_lines() -> None:
    for entries, name in (
        ([b'{"a":1}', "grüße\tok".encode()], "entries/0.txt"),
        ([b""], "entries/0.txt"),
        ([b"two\nlines"], "entries/0.bin"),
        ([b"a", b"carriage\r"], "entries/0.bin"),
        ([b"\xff"], "entries/0.bin"),
        ([b"\x1b[2J"], "entries/0.bin"),
        (["\u202etxt".encode()], "entries/0.bin"),
        ([b"x" * 65_535], "entries/0.txt"),
        ([b"\0" * 65_535], "entries/0.bin"),
    ):
        log = type(lines_log(1))(entries)
        files = dict(files_of(log.pack(0, len(entries))))
        assert name in files, entries
        assert judge(log.pack(0, len(entries)), KEY_ALONE).end == len(entries)
