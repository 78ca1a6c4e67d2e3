"""Readers beside a writer that writes, flushes and compacts as fast as it can: each sees one whole moment."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import DamagedError, MerklelogError
from merklelog.store import RocksStore, beside, rocks
from merklelog.store.beside import LookAlike
from tests.support.checker import check_log, head_of
from tests.support.damage import copy
from tests.support.logs import make

ROOT = Path(__file__).resolve().parent.parent.parent

# Every few commits all memtables are flushed: write-ahead logs and tables come and go several times a second.
WRITER = """
import itertools, sys, time
import merklelog
with merklelog.open(sys.argv[1]) as log:
    print("writing", flush=True)
    for round in itertools.count():
        batch = [b"%d %d" % (round, i) * 9 for i in range(1 + round * 37 % 300)]
        log.append_batch(batch, idempotency_key=b"%d" % round)
        if round % 5 == 0:
            log._store.settle()
            time.sleep(0.01)
        if round % 40 == 39:
            for family in log._store._families.values():
                family.compact_range(None, None)
"""


@contextmanager
def writer(directory: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        yield child
        assert child.poll() is None, child.communicate()[1]
    finally:
        child.kill()
        child.communicate()


def busy(files: set[str]) -> bool:
    """Whether write-ahead logs and tables came and went while these files were seen."""
    kinds = Counter(Path(name).suffix for name in files)
    return kinds[".log"] > 10 and kinds[".sst"] > 20


@pytest.mark.slow
def test_every_opening_beside_a_busy_writer_shows_a_whole_log(tmp_path: Path) -> None:
    directory = make(tmp_path / "log")
    seen: list[bytes] = []
    files: set[str] = set()
    turn, until = 0, time.monotonic() + 60
    with writer(directory):
        # A writer that gets little of the processor is given the time to be busy.
        while turn < 60 or (not busy(files) and time.monotonic() < until):
            turn += 1
            with merklelog.open_reader(directory) as reader:
                seen.append(reader.checkpoint())
                if turn % 20 == 0:
                    check_log(reader, seen=seen)
            files |= {path.name for path in (directory / "db").iterdir()}
    assert busy(files), "the writer was not busy: nothing was tested"
    with merklelog.open_reader(directory) as reader:
        sizes = [head_of(reader, note)[0] for note in seen]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1] <= reader.size
    with merklelog.open(directory) as log:  # the writer was killed
        check_log(log, seen=seen)
        log.append(b"on it goes")


@pytest.mark.slow
def test_many_readers_open_at_once(tmp_path: Path) -> None:
    directory = make(tmp_path / "log")
    problems: list[BaseException] = []
    seen: list[bytes] = []

    def read() -> None:
        try:
            last = 0
            with merklelog.open_reader(directory) as reader:
                for _ in range(15):
                    reader.refresh()
                    assert reader.size >= last
                    last = reader.size
                    seen.append(reader.checkpoint())
                    assert sum(1 for _ in reader.entries(max(0, last - 600), last)) == min(600, last)
        except BaseException as error:
            problems.append(error)

    with writer(directory):
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []
    with merklelog.open(directory) as log:
        check_log(log, seen=seen)


def test_a_reader_leaves_the_directory_as_it_was(tmp_path: Path) -> None:
    directory = make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(300)])
        before = listing(directory)
        with merklelog.open_reader(directory) as reader:
            assert reader.size == 300
            reader.refresh()
        assert listing(directory) == before
    before = listing(directory)
    with merklelog.open_reader(directory) as reader:
        check_log(reader)
    assert listing(directory) == before


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.stat() for path in sorted(directory.rglob("*"))}
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found.items()}


@pytest.mark.parametrize("pinning", [True, False])
def test_a_write_ahead_log_that_vanishes_while_a_reader_opens_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinning: bool
) -> None:
    """The interleavings that no busy writer brings about for sure, played by hand."""
    monkeypatch.setattr(beside, "PINNING", pinning)
    monkeypatch.setattr(rocks, "PINNING", pinning)
    directory = make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(300)])
        # First: the manifest is copied, then the logs that it needs are deleted, then they are looked for.
        copied = opened = 0
        copy, whole = LookAlike._copy_manifest, RocksStore._open_database

        def copy_early(alike: LookAlike) -> None:
            nonlocal copied
            copy(alike)
            copied += 1
            if copied == 1:
                log.append(b"one more")
                log._store.settle()

        def open_late(store: RocksStore, *, create: bool) -> None:
            nonlocal opened
            opened += 1
            if opened == 1:  # second: all is linked, and then deleted before RocksDB opens it
                log.append(b"and one")
                log._store.settle()
            whole(store, create=create)

        monkeypatch.setattr(LookAlike, "_copy_manifest", copy_early)
        monkeypatch.setattr(RocksStore, "_open_database", open_late)
        with merklelog.open_reader(directory) as reader:
            assert reader.size == 302
            check_log(reader)
        assert (copied, opened) == ((2, 1) if pinning else (3, 2))


def test_a_writer_that_never_rests_does_not_hang_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(tmp_path / "log")
    monkeypatch.setattr(beside, "COPY_TRIES", 3)
    with merklelog.open(directory) as log:
        copy = LookAlike._copy_manifest

        def copy_early(alike: LookAlike) -> None:
            copy(alike)
            log.append(b"one more")
            log._store.settle()

        monkeypatch.setattr(LookAlike, "_copy_manifest", copy_early)
        with pytest.raises(DamagedError, match="changed during each of"):
            merklelog.open_reader(directory)
    assert not list(Path(tempfile.gettempdir()).glob(f"merklelog-read-*/{directory.name}"))


def test_real_damage_is_not_taken_for_a_busy_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(300)])
    table = max((directory / "db").glob("*.sst"))
    table.unlink()
    opened = 0
    whole = RocksStore._open_database

    def count(store: RocksStore, *, create: bool) -> None:
        nonlocal opened
        opened += 1
        whole(store, create=create)

    monkeypatch.setattr(RocksStore, "_open_database", count)
    with pytest.raises(MerklelogError) as caught:
        merklelog.open_reader(directory)
    assert isinstance(caught.value, DamagedError)
    assert table.name in str(caught.value)
    assert opened == 1


FORGETFUL = """
import gc, sys, tempfile
from pathlib import Path
import merklelog
tempfile.tempdir = sys.argv[2]
reader = merklelog.open_reader(sys.argv[1])
assert len(list(Path(sys.argv[2]).iterdir())) == 1
again = merklelog.open_reader(sys.argv[1])
del again
gc.collect()
assert len(list(Path(sys.argv[2]).iterdir())) == 1
"""


def test_a_reader_that_nobody_closes_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = make(tmp_path / "log")
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-c", FORGETFUL, str(directory), str(tmp_path / "temporary")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "temporary").iterdir()) == []


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
exec "$2" -c '
import sys, merklelog
from tests.support.checker import check_log
try:
    open(sys.argv[1] + "/new", "w")
except OSError as error:
    assert error.errno == 30
else:
    sys.exit("the mount is not read-only")
with merklelog.open_reader(sys.argv[1]) as log:
    check_log(log)
    print(log.size)
try:
    merklelog.open(sys.argv[1])
except merklelog.errors.StorageError as error:
    print(error)
' "$1"
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_log_on_a_read_only_mount_is_read(tmp_path: Path, killed: bool) -> None:
    """An auditor's mount, a snapshot, another user's directory: reading writes nothing in it."""
    directory = make(tmp_path / "log")
    with merklelog.open(directory) as log:
        log.append_batch([b"%d" % i for i in range(300)])
        if killed:
            log.append_batch([b"%d" % i for i in range(300)])
            directory = copy(directory, tmp_path / "killed")
    words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        READ_ONLY,
        "sh",
        str(directory),
        sys.executable,
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs unshare, of util-linux")
    if done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip(f"a mount of one's own is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    size, refusal = done.stdout.splitlines()
    assert size == ("600" if killed else "300")
    assert "Read-only file system" in refusal
