"""What is special about a store that is a directory: files, modes, leftovers, full disks, killed writers."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import (
    DamagedError,
    ImmutableError,
    MerklelogError,
    NotFoundError,
    StorageError,
    StorageFullError,
    UnreachableError,
)
from merklelog.publish import DirectoryStore, NewObject
from merklelog.publish.directory import CONTROL
from merklelog.publish.files import read_error, write_error


def leftovers(root: Path) -> list[Path]:
    return list((root / CONTROL / "temporary").iterdir())


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a child process; its wait status. What it raises ends it with status 1."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def kill_at(step: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def test_objects_are_plain_files_that_a_web_server_can_read(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = DirectoryStore(tmp_path / "new" / "copy")
        store.put_immutable("tile/0/000", b"hashes")
        store.put("checkpoint", b"note")
    finally:
        os.umask(before)
    for key, data in (("tile/0/000", b"hashes"), ("checkpoint", b"note")):
        path = tmp_path / "new" / "copy" / key
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_nlink == 1
    assert leftovers(tmp_path / "new" / "copy") == []


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "copy")
    assert list(store.list_keys()) == []
    with pytest.raises(NotFoundError):
        store.get("checkpoint")
    store.delete("checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_hidden_and_odd_files_are_no_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", b"")
    for name in (".git/config", ".hidden", "b/.swp", "with space", "ümlaut"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(store.list_keys()) == ["a"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_damage_and_never_waits(tmp_path: Path, make: Callable[[Path], None]) -> None:
    store = DirectoryStore(tmp_path)
    make(tmp_path / "k")
    with pytest.raises((DamagedError, StorageError), match="/k"):
        store.get("k")
    assert store.stat("k") is None
    for write in (lambda: store.put_immutable("k", b"1"), lambda: store.put_if_version("k", b"1", None)):
        with pytest.raises((DamagedError, StorageError)):
            write()


def test_a_link_that_loops_is_an_error_of_ours(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "a" / "k").write_bytes(b"")
    with pytest.raises(UnreachableError, match="self"):
        store.get("self")
    assert "a/k" in list(store.list_keys())


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", b"1")
    for write in (lambda: store.put("a/b", b"1"), lambda: store.put_immutable("a/b", b"1")):
        with pytest.raises(StorageError, match=str(tmp_path)):
            write()
    with pytest.raises(StorageError):
        DirectoryStore(tmp_path / "a").put("b", b"1")
    assert store.get("a").data == b"1"
    assert leftovers(tmp_path) == []


def test_errors_of_the_system_are_told_apart() -> None:
    reading = {errno.ENOENT: NotFoundError, errno.EACCES: UnreachableError, errno.EIO: StorageError}
    writing = {errno.ENOSPC: StorageFullError, errno.EDQUOT: StorageFullError, errno.EFBIG: StorageFullError}
    writing |= {errno.EACCES: StorageError, errno.EROFS: StorageError, errno.EIO: StorageError}
    for table, translate in ((reading, read_error), (writing, write_error)):
        for number, expected in table.items():
            error = translate(OSError(number, os.strerror(number)), "dir:/x/k")
            assert type(error) is expected
            assert str(error).startswith("dir:/x/k: ")


@pytest.mark.parametrize("call", ["put", "put_immutable", "put_many", "put_if_version"])
def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path, call: str) -> None:
    store = DirectoryStore(tmp_path)
    store.put("k", b"old")
    big = bytes(1 << 16)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("k", big),
        "put_immutable": lambda: store.put_immutable("n", big),
        "put_many": lambda: store.put_many([NewObject("m", b"1"), NewObject("n", big)]),
        "put_if_version": lambda: store.put_if_version("k", big, store.get("k").version),
    }

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))
        try:
            calls[call]()
        except StorageFullError as error:
            os._exit(42 if str(tmp_path) in str(error) else 43)

    assert os.waitstatus_to_exitcode(in_child(limited)) == 42
    assert store.get("k").data == b"old"
    assert store.stat("n") is None
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("count", [1, 100])
def test_what_could_not_be_synced_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = DirectoryStore(tmp_path)
    store.put("head", b"old")
    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        store.put_many([NewObject(f"a/{i}", b"%d" % i) for i in range(count)])
    with pytest.raises(StorageError, match="/head: Input/output error"):
        store.put("head", b"new")
    assert list(store.list_keys()) == ["head"]
    assert store.get("head").data == b"old"
    assert leftovers(tmp_path) == []


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = DirectoryStore(tmp_path)
    assert store.put_many([NewObject(f"a/{i}", b"%d" % i) for i in range(5)]) == 5
    assert store.put_immutable("a/1", b"1") is False
    with pytest.raises(ImmutableError):
        store.put_immutable("a/1", b"2")
    assert [store.get(f"a/{i}").data for i in range(5)] == [b"%d" % i for i in range(5)]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("step", ["written", "synced", "linked", "settling"])
def test_a_killed_writer_of_immutable_objects(tmp_path: Path, step: str) -> None:
    objects = [NewObject(f"a/{i}", b"%d" % i * 9) for i in range(5)]
    status = in_child(lambda: DirectoryStore(tmp_path, step=kill_at(step)).put_many(objects))
    assert os.WIFSIGNALED(status)
    reader = DirectoryStore(tmp_path)
    for key in reader.list_keys():
        assert NewObject(key, reader.get(key).data) in objects
    assert len(list(reader.list_keys())) == (5 if step in {"linked", "settling"} else 0)
    writer = DirectoryStore(tmp_path)
    writer.put_many(objects)
    assert len(list(writer.list_keys())) == 5
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("step", ["replacing", "replaced", "settling"])
def test_a_killed_writer_of_a_mutable_object(tmp_path: Path, step: str) -> None:
    version = DirectoryStore(tmp_path).put("head", b"old")
    status = in_child(
        lambda: DirectoryStore(tmp_path, step=kill_at(step)).put_if_version("head", b"new", version)
    )
    assert os.WIFSIGNALED(status)
    store = DirectoryStore(tmp_path)
    assert store.get("head").data == (b"old" if step == "replacing" else b"new")
    # The lock died with its holder: this would wait for ever otherwise.
    assert store.put_if_version("head", b"newer", store.get("head").version) is not None
    assert leftovers(tmp_path) == []


def test_what_another_writer_is_writing_is_left_alone(tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def pause(name: str) -> None:
        if name == "written":
            reached.set()
            assert go_on.wait(60)

    slow = DirectoryStore(tmp_path, step=pause)
    thread = threading.Thread(target=lambda: slow.put_many([NewObject("slow", b"1")]))
    thread.start()
    try:
        assert reached.wait(60)
        assert len(leftovers(tmp_path)) == 1
        DirectoryStore(tmp_path).put("quick", b"2")  # a new writer, which cleans up
        assert len(leftovers(tmp_path)) == 1
    finally:
        go_on.set()
        thread.join()
    assert DirectoryStore(tmp_path).get("slow").data == b"1"


def test_two_processes_swap_one_object_and_none_is_lost(tmp_path: Path) -> None:
    DirectoryStore(tmp_path).put("counter", b"0")

    def count() -> None:
        store = DirectoryStore(tmp_path)
        for _ in range(20):
            while True:
                found = store.get("counter")
                value = b"%d" % (int(found.data) + 1)
                if store.put_if_version("counter", value, found.version) is not None:
                    break

    children = []
    for _ in range(3):
        if not (pid := os.fork()):
            try:
                count()
                os._exit(0)
            except MerklelogError:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert DirectoryStore(tmp_path).get("counter").data == b"60"


def test_every_file_and_folder_is_synced_before_a_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def record(real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(handle: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            real(handle)

        return sync

    monkeypatch.setattr(os, "fsync", record(os.fsync))
    monkeypatch.setattr(os, "fdatasync", record(os.fdatasync))
    root = tmp_path / "new" / "copy"
    store = DirectoryStore(root)
    store.put_many([NewObject("tile/0/x001/000", b"1"), NewObject("tile/0/001", b"2")])
    files = [path for path in synced if CONTROL in path]
    folders = [path for path in synced if CONTROL not in path]
    assert len(files) == 2
    assert synced.index(files[-1]) < synced.index(str(root / "tile/0/x001"))
    names = ("tile/0/x001", "tile/0", "tile", ".")
    assert folders[-4:] == [str((root / name).resolve()) for name in names]
    assert {str(tmp_path), str(tmp_path / "new")} <= set(folders)
    synced.clear()
    # Somebody else made it, and may have been killed before the folder was synced.
    assert DirectoryStore(root).put_immutable("tile/0/001", b"2") is False
    assert {str(root / "tile/0"), str(root / "tile"), str(root)} <= set(synced)
    synced.clear()
    store.put("checkpoint", b"note")
    assert [CONTROL in path for path in synced] == [True, False]
    assert synced[1] == str(root)
