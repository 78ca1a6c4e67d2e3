"""Directories that are not a log, not this log, or not whole: a clear error, and every file as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

import merklelog
from merklelog.errors import (
    ConfigError,
    DamagedError,
    FormatVersionError,
    KeyFileError,
    LockedError,
    MerklelogError,
    NotALogError,
)
from merklelog.store import FORMAT, RocksStore
from tests.support.damage import copy, hashes
from tests.support.logs import ORIGIN, make

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One log that was closed, and one as a kill leaves it: its last entries only in the write-ahead log."""
    folder = tmp_path_factory.mktemp("templates")
    closed = make(folder / "closed")
    with merklelog.open(closed) as log:
        log.append_batch([b"entry %d" % i for i in range(600)])
    running = copy(closed, folder / "running")
    with merklelog.open(running) as log:
        log.append_batch([b"more %d" % i for i in range(10)], idempotency_key=b"key")
        killed = copy(running, folder / "killed")
    other = make(folder / "other")  # another log with the same origin, and so other keys
    with merklelog.open(other) as log:
        log.append_batch([b"other %d" % i for i in range(600)])
    merklelog.create_log(folder / "stranger", "stranger.example/log", settings={"store.min_free_bytes": 0})
    return {name: folder / name for name in ("closed", "killed", "other", "stranger")} | {"killed": killed}


def newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern))


def foreign_database(log: Path) -> None:
    shutil.rmtree(log / "db")
    database = Rdict(str(log / "db"), Options(raw_mode=True))
    database[b"key"] = b"value"
    database.close()


def emptied(path: Path) -> Path:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return path


def replace(log: Path, other: Path, name: str) -> None:
    shutil.rmtree(log / name)
    shutil.copytree(other / name, log / name)


def database_version(log: Path, version: bytes) -> None:
    store = RocksStore(log / "db")
    store.put_rows("meta", [(b"format", version)])
    store.close()


NOT_A_LOG: dict[str, Spoil] = {
    "gone": emptied,
    "empty": lambda log: emptied(log).mkdir(),
    "a file": lambda log: emptied(log).write_bytes(b"no directory"),
    "no FORMAT": lambda log: (log / "FORMAT").unlink(),
    "empty FORMAT": lambda log: (log / "FORMAT").write_bytes(b""),
    "FORMAT of another program": lambda log: (log / "FORMAT").write_bytes(b"SQLite format 3\x00"),
    "FORMAT is no text": lambda log: (log / "FORMAT").write_bytes(b"\xff\xfe\x00" * 100),
    "FORMAT is a directory": lambda log: emptied(log / "FORMAT").mkdir(),
    "FORMAT without number": lambda log: (log / "FORMAT").write_text("merklelog data directory, format \n"),
    "FORMAT with a sign": lambda log: (log / "FORMAT").write_text("merklelog data directory, format +1\n"),
    "FORMAT 0": lambda log: (log / "FORMAT").write_text("merklelog data directory, format 0\n"),
    "FORMAT 01": lambda log: (log / "FORMAT").write_text("merklelog data directory, format 01\n"),
    "FORMAT of two lines": lambda log: (log / "FORMAT").write_text("merklelog data directory, format 1\n\n"),
    "no database": lambda log: emptied(log / "db"),
    "the database is a file": lambda log: emptied(log / "db").write_bytes(b"no database"),
    "no CURRENT": lambda log: (log / "db" / "CURRENT").unlink(),
}
DAMAGED: dict[str, Spoil] = {
    "no manifest": lambda log: newest(log / "db", "MANIFEST-*").unlink(),
    "empty manifest": lambda log: newest(log / "db", "MANIFEST-*").write_bytes(b""),
    "half a manifest": lambda log: newest(log / "db", "MANIFEST-*").write_bytes(
        newest(log / "db", "MANIFEST-*").read_bytes()[:300]
    ),
    "empty CURRENT": lambda log: (log / "db" / "CURRENT").write_bytes(b""),
    "CURRENT without newline": lambda log: (log / "db" / "CURRENT").write_bytes(b"MANIFEST-000014"),
    "CURRENT leads out": lambda log: (log / "db" / "CURRENT").write_bytes(b"MANIFEST-1/../../x\n"),
    "no table": lambda log: newest(log / "db", "*.sst").unlink(),
    "empty table": lambda log: newest(log / "db", "*.sst").write_bytes(b""),
    "half a table": lambda log: newest(log / "db", "*.sst").write_bytes(
        newest(log / "db", "*.sst").read_bytes()[:-100]
    ),
    "every table of zeros": lambda log: [
        table.write_bytes(bytes(table.stat().st_size)) for table in (log / "db").glob("*.sst")
    ],
    "foreign database": foreign_database,
}


def refused(log: Path, *, write: bool) -> MerklelogError:
    """The error of opening, which must leave every file as it was."""
    before = hashes(log) if log.is_dir() else {}
    with pytest.raises(MerklelogError) as caught:
        merklelog.open(log) if write else merklelog.open_reader(log)
    after = hashes(log) if log.is_dir() else {}
    after.pop("lock", None)
    before.pop("lock", None)
    assert after == before
    assert str(log) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("state", ["closed", "killed"])
@pytest.mark.parametrize("how", NOT_A_LOG)
def test_what_is_no_log(
    templates: dict[str, Path], tmp_path: Path, how: str, state: str, write: bool
) -> None:
    log = copy(templates[state], tmp_path / "log")
    NOT_A_LOG[how](log)
    error = refused(log, write=write)
    assert type(error) is NotALogError
    assert error.exit_status == 2


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("state", ["closed", "killed"])
@pytest.mark.parametrize("how", DAMAGED)
def test_what_is_damaged(
    templates: dict[str, Path], tmp_path: Path, how: str, state: str, write: bool
) -> None:
    log = copy(templates[state], tmp_path / "log")
    DAMAGED[how](log)
    error = refused(log, write=write)
    assert type(error) is DamagedError
    assert error.exit_status == 1


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_write_ahead_log_that_was_deleted_is_missed(
    templates: dict[str, Path], tmp_path: Path, write: bool
) -> None:
    """RocksDB opens such a database as a shorter one, and the log would sign another entry for each lost one."""
    log = copy(templates["killed"], tmp_path / "log")
    newest(log / "db", "*.log").unlink()
    error = refused(log, write=write)
    assert type(error) is DamagedError
    assert "holds 600 entries, but 610 were acknowledged" in str(error)
    (log / "acknowledged").unlink()  # who knows what they do
    with merklelog.open(log) as opened:
        assert opened.size == 600


def test_an_older_copy_of_the_database_is_noticed(templates: dict[str, Path], tmp_path: Path) -> None:
    log = copy(templates["killed"], tmp_path / "log")
    replace(log, templates["closed"], "db")
    assert "holds 600 entries, but 610 were acknowledged" in str(refused(log, write=True))


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_newer_format_is_refused_naming_both(
    templates: dict[str, Path], tmp_path: Path, write: bool
) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    (log / "FORMAT").write_text("merklelog data directory, format 7\n")
    error = refused(log, write=write)
    assert type(error) is FormatVersionError
    assert "has format 7" in str(error)
    assert f"up to format {FORMAT}" in str(error)
    assert error.exit_status == 2


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("version", [b"7", b"", b"x"])
def test_a_database_of_another_format_is_refused(
    templates: dict[str, Path], tmp_path: Path, write: bool, version: bytes
) -> None:
    """Also when its FORMAT file says something else."""
    log = copy(templates["closed"], tmp_path / "log")
    database_version(log, version)
    error = refused(log, write=write)
    assert type(error) is FormatVersionError
    assert f"has format {version.decode()!r}" in str(error)
    assert f"reads format {FORMAT}" in str(error)


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_the_database_of_another_origin_is_refused(
    templates: dict[str, Path], tmp_path: Path, write: bool
) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    replace(log, templates["stranger"], "db")
    error = refused(log, write=write)
    assert type(error) is NotALogError
    assert ORIGIN in str(error)
    assert "stranger.example/log" in str(error)


def test_the_keys_of_another_log_are_refused(templates: dict[str, Path], tmp_path: Path) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    replace(log, templates["other"], "keys")
    assert type(refused(log, write=True)) is KeyFileError
    with merklelog.open_reader(log) as reader:  # reading needs none
        assert reader.size == 600
    replace(log, templates["stranger"], "keys")
    error = refused(log, write=True)
    assert type(error) is KeyFileError
    assert "stranger.example/log" in str(error)
    shutil.rmtree(log / "keys")
    assert type(refused(log, write=True)) is KeyFileError


CONFIGURATIONS = {
    "half written": b'[log]\norigin = "engine.exa',
    "empty": b"",
    "no text": b"\xff\xfe",
    "unknown key": b'[log]\norigin = "engine.example/log"\ndedup = true\n',
    "unknown section": b'[logs]\norigin = "engine.example/log"\n',
    "a string for a number": b'[log]\norigin = "engine.example/log"\n[store]\nmin_free_bytes = "1"\n',
    "nested too deep": b"x = " + b"[" * 5_000,
    "too little": b'[log]\norigin = "engine.example/log"\nmax_pending_bytes = 1\n',
}


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_a_configuration_that_can_not_be_used(
    templates: dict[str, Path], tmp_path: Path, text: bytes, write: bool
) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    (log / "merklelog.toml").write_bytes(text)
    error = refused(log, write=write)
    assert type(error) is ConfigError
    assert "merklelog.toml" in str(error)
    (log / "merklelog.toml").unlink()
    assert type(refused(log, write=write)) is ConfigError


def test_another_origin_in_the_configuration_is_refused(templates: dict[str, Path], tmp_path: Path) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    (log / "merklelog.toml").write_text('[log]\norigin = "engine.example/lag"\n')
    for write in (False, True):
        assert type(refused(log, write=write)) in (NotALogError, KeyFileError)


def test_a_failed_opening_lets_go_of_everything(templates: dict[str, Path], tmp_path: Path) -> None:
    """What was refused can be repaired and opened in the same process, also while the error is held."""
    log = copy(templates["killed"], tmp_path / "log")
    table = newest(log / "db", "*.sst")
    data = table.read_bytes()
    errors = []
    for _ in range(3):
        table.write_bytes(data[:-10])
        errors.append(refused(log, write=True))
    table.write_bytes(data)
    with merklelog.open(log) as opened:
        assert opened.size == 610
    assert not any(isinstance(error, LockedError) for error in errors)


def test_making_a_log_changes_nothing_that_is_there(templates: dict[str, Path], tmp_path: Path) -> None:
    log = copy(templates["closed"], tmp_path / "log")
    before = hashes(log)
    with pytest.raises(NotALogError, match="not an empty directory"):
        merklelog.create_log(log, ORIGIN)
    assert hashes(log) == before
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
