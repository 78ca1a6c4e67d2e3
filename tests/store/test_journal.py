"""Record files of RocksDB with one bit flipped where its own reader says nothing, or never returns."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import DamagedError
from merklelog.store import RocksStore
from merklelog.store.journal import _TABLE, BLOCK, _check, check_journals
from tests.support.commits import Maker

HEADER = 7


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(payload: bytes, kind: int = 1) -> bytes:
    crc = crc32c(bytes([kind]) + payload)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<IHB", masked, len(payload), kind) + payload


def records(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each record of a whole file starts, and its length."""
    at = 0
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        yield at, length
        at += HEADER + length


def judge(folder: Path, data: bytes) -> str:
    """What the check says of a file with these bytes: nothing, or its error."""
    (folder / "000007.log").write_bytes(data)
    try:
        check_journals(folder)
    except DamagedError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a writer has on the disk while it writes: a write-ahead log of several blocks, and a manifest."""
    path = tmp_path_factory.mktemp("journal") / "db"
    store, maker = RocksStore.create(path, {"format": b"1"}), Maker()
    for i in range(60):
        store.write(maker.commit([bytes([i]) * (3000 if i % 5 == 0 else 40)], keep=i % 7 == 0))
    store.sync()
    found = {file.name: file.read_bytes() for file in path.iterdir() if file.suffix != ".sst"}
    store.close()
    return {
        name: data for name, data in found.items() if name.endswith(".log") or name.startswith("MANIFEST-")
    }


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, has it for this input everywhere


def test_the_files_are_records_as_this_test_reads_them(files: dict[str, bytes]) -> None:
    assert {name.split("-")[0][-4:] for name in files} == {".log", "FEST"}
    assert max(map(len, files.values())) > BLOCK
    for data in files.values():
        last_at, last_length = list(records(data))[-1]
        assert last_at + HEADER + last_length == len(data)
        for at, length in records(data):
            kind = data[at + 6]
            assert record(data[at + HEADER : at + HEADER + length], kind) == data[at : at + HEADER + length]


def test_whole_files_pass(files: dict[str, bytes], tmp_path: Path) -> None:
    for data in files.values():
        assert judge(tmp_path, data) == ""
    assert judge(tmp_path, b"") == ""
    assert judge(tmp_path, bytes(1000)) == ""


def test_a_file_cut_off_anywhere_passes(files: dict[str, bytes], tmp_path: Path) -> None:
    """What a crash leaves: the log must open again."""
    for data in files.values():
        for cut in {
            *range(0, len(data), 41),
            *range(len(data) - 300, len(data)),
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
        }:
            if 0 <= cut <= len(data):
                assert judge(tmp_path, data[:cut]) == "", cut


def test_every_bit_of_a_type_is_watched(files: dict[str, bytes], tmp_path: Path) -> None:
    """Types 5 to 8, one bit beside 1 to 4, make RocksDB's reader loop; none but 1 to 4 is ever written."""
    for data in files.values():
        for at, _ in list(records(data))[-8:]:
            for bit in range(8):
                bent = bytearray(data)
                bent[at + 6] ^= 1 << bit
                if bent[at + 6] not in (1, 2, 3, 4):
                    assert f"byte {at:,} is damaged" in judge(tmp_path, bytes(bent))


def test_a_length_that_hides_the_rest_of_the_file_is_found(files: dict[str, bytes], tmp_path: Path) -> None:
    """RocksDB takes such a record for one cut off by a crash, and ends the file before it without a word."""
    hidden = 0
    for data in files.values():
        for at, length in records(data):
            for bit in range(16):
                bent = bytearray(data)
                claimed = length ^ 1 << bit
                bent[at + 4 : at + 6] = claimed.to_bytes(2, "little")
                if at + HEADER + claimed > len(data):
                    hidden += 1
                    assert f"the record at byte {at:,} is damaged" in judge(tmp_path, bytes(bent)), (at, bit)
    assert hidden > 30


def test_a_file_read_in_parts_is_read_the_same(tmp_path: Path) -> None:
    """Past the mebibyte that is read at a time, with records at the border."""
    data = b"".join(record(bytes(BLOCK - HEADER)) for _ in range(40)) + record(b"end")
    assert judge(tmp_path, data) == ""
    bent = bytearray(data)
    bent[35 * BLOCK + 6] = 5
    assert f"byte {35 * BLOCK:,} " in judge(tmp_path, bytes(bent))
    bent = bytearray(data)
    bent[40 * BLOCK + 4] ^= 16
    assert f"byte {40 * BLOCK:,} " in judge(tmp_path, bytes(bent))


@pytest.mark.parametrize("cut", [16_384, 16_390, BLOCK, BLOCK + 100])
def test_a_file_that_grows_while_it_is_read_is_read_to_where_it_ended(cut: int) -> None:
    """A writer adds to it: after an end that is inside a block, what comes next does not begin a block."""
    whole = b"".join(record(bytes([n]) * (BLOCK // 8 - HEADER)) for n in range(100))  # eight a block
    at = 0
    ends = iter([cut, cut, len(whole)])

    def read(count: int) -> bytes:
        nonlocal at
        end = next(ends, len(whole))
        part = whole[at : min(end, at + count)]
        at += len(part)
        return part

    _check(Path("000007.log"), read)


def test_a_file_that_vanishes_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "000001.log").symlink_to(tmp_path / "gone")
    check_journals(tmp_path)


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_any_cut_passes_and_any_longer_length_does_not(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"journal-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    whole = b"".join(record(payload) for payload in payloads)
    assert judge(folder, whole[: data.draw(st.integers(0, len(whole)))]) == ""
    if payloads:
        at, length = data.draw(st.sampled_from(list(records(whole))))
        claimed = data.draw(st.integers(len(whole) - at - HEADER + 1, 0xFFFF))
        bent = bytearray(whole)
        bent[at + 4 : at + 6] = claimed.to_bytes(2, "little")
        assert f"byte {at:,} is damaged" in judge(folder, bytes(bent)), length
