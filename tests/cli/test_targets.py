"""What is not a log, not whole, not ours or not of this version: a clear message, status, and nothing changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog

READ = (
    ("checkpoint", "{}"),
    ("get", "{}", "0"),
    ("prove", "{}", "0"),
    ("follow", "{}"),
    ("consistency", "{}", "0", "1"),
)
READ_AND_AUDIT = (*READ, ("audit", "{}"))
WRITE = (
    ("append", "{}", "event"),
    ("vkey", "{}"),
    ("publish", "{}", "--to", "dir:new"),
    ("backup", "{}", "new"),
)
EVERY = (*READ_AND_AUDIT, *WRITE)


def _with(words: tuple[str, ...], target: object) -> list[str]:
    return [word.format(target) for word in words]


@pytest.fixture(autouse=True)
def _event(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "event").write_bytes(b"event")


@pytest.mark.parametrize("words", WRITE, ids=lambda words: words[0])
@pytest.mark.parametrize("target", ["s3://bucket/prefix", "S3://bucket"])
def test_a_bucket_is_for_reading(run: Callable, words: tuple[str, ...], target: str, tmp_path: Path) -> None:
    done = run(*_with(words, target), status=2)
    assert target.split("//")[0] in done.err
    assert "data directory only" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["event"]


@pytest.mark.parametrize("words", READ, ids=lambda words: words[0])
def test_a_target_of_no_known_kind(run: Callable, words: tuple[str, ...]) -> None:
    done = run(*_with(words, "ftp://host/log"), status=2)
    assert "reading from ftp:// is not known; want a PATH, dir:PATH, s3://bucket/prefix or" in done.err


@pytest.mark.parametrize("words", WRITE, ids=lambda words: words[0])
def test_a_published_copy_is_no_data_directory(
    run: Callable, copy: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert "data directory only" in run(*_with(words, copy), status=2).err
    assert "not a log" in run(*_with(words, copy.removeprefix("dir:")), status=2).err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", READ, ids=lambda words: words[0])
def test_a_copy_named_as_a_log_and_a_log_named_as_a_copy(
    run: Callable, copy: str, log: Path, words: tuple[str, ...]
) -> None:
    done = run(*_with(words, copy.removeprefix("dir:")), status=2)
    assert f"name it {copy}" in done.err
    assert "no published copy" in run(*_with(words, f"dir:{log}"), status=2).err


def test_publishing_goes_to_directories(run: Callable, log: Path, tmp_path: Path) -> None:
    assert "made in a directory" in run("publish", log, "--to", "s3://bucket/prefix", status=2).err
    assert "dir:PATH" in run("publish", log, "--to", "public", status=2).err
    assert "--to dir:PATH" in run("publish", log, status=2).err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["event", "log"]


@pytest.mark.parametrize("words", EVERY, ids=lambda words: words[0])
@pytest.mark.parametrize("kind", ["absent", "empty", "file", "foreign", "foreign database"])
def test_a_directory_that_is_not_a_log(
    run: Callable, tmp_path: Path, words: tuple[str, ...], kind: str, snapshot: Callable, template: Path
) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("text")
    elif kind != "absent":
        place.mkdir()
    if kind == "foreign":
        (place / "FORMAT").write_text("something else, format 7\n")
    if kind == "foreign database":
        shutil.copytree(template / "db", place / "db")
    before = snapshot(tmp_path)
    done = run(*_with(words, place), status=2)
    assert str(place) in done.err
    assert done.out == b""
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("words", EVERY, ids=lambda words: words[0])
def test_a_log_of_a_newer_format_is_left_alone(
    run: Callable, log: Path, words: tuple[str, ...], snapshot: Callable
) -> None:
    (log / "FORMAT").write_text("merklelog data directory, format 99\n")
    before = snapshot(log)
    done = run(*_with(words, log), status=2)
    assert "format 99" in done.err
    assert "up to format 1" in done.err
    assert snapshot(log) == before


@pytest.mark.parametrize("words", [*READ, *WRITE], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[log]\norigin = "cli.exa', "merklelog.toml: "),
        ("", "log.origin"),
        ('[log]\norigin = "cli.example/log"\ndedup = true\n', "merklelog.toml:3: no key log.dedup"),
        ('[log]\norigin = "cli.example/log"\ndedupe = "yes"\n', "merklelog.toml:3: log.dedupe is 'yes'"),
        (
            '[log]\norigin = "cli.example/log"\n[idempotency]\ndays = 0\n',
            "merklelog.toml:4: idempotency.days is 0",
        ),
        ('[log]\norigin = "other.example/log"\n', "other.example/log"),
        ("[log]\norigin = 7\n", "log.origin is 7"),
        ("[log\xff]\n", "merklelog.toml"),
    ],
)
def test_a_half_written_configuration(
    run: Callable, log: Path, words: tuple[str, ...], text: str, said: str, snapshot: Callable
) -> None:
    (log / "merklelog.toml").write_bytes(text.encode("latin-1"))
    before = snapshot(log)
    done = run(*_with(words, log), status=2)
    assert said in done.err
    assert snapshot(log) == before


def test_a_variable_that_overrides_is_checked_too(
    run: Callable, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERKLELOG_IDEMPOTENCY__DAYS", "many")
    done = run("append", log, "event", status=2)
    assert "MERKLELOG_IDEMPOTENCY__DAYS is 'many'" in done.err


def test_a_second_writer_is_told_who_the_first_is(run: Callable, log: Path) -> None:
    with merklelog.open(log) as writer:
        done = run("append", log, "event", status=4)
        assert f"open for writing by process {os.getpid()}" in done.err
        assert writer.append(b"four").index == 3
    assert run("append", log, "event").out == b"index 4\n"


def _break_key(log: Path, kind: str) -> None:
    ed25519, mldsa44 = log / "keys" / "ed25519.key", log / "keys" / "mldsa44.key"
    if kind == "missing":
        ed25519.unlink()
    elif kind == "readable by others":
        ed25519.chmod(0o644)
    elif kind == "of the other type":
        ed25519.write_bytes(mldsa44.read_bytes())
    elif kind == "half written":
        ed25519.write_bytes(ed25519.read_bytes()[:40])
    else:
        ed25519.write_bytes(os.urandom(64))


@pytest.mark.parametrize(
    "kind", ["missing", "readable by others", "of the other type", "half written", "not text"]
)
def test_a_private_key_that_is_not_right(run: Callable, log: Path, kind: str, snapshot: Callable) -> None:
    secret = (log / "keys" / "ed25519.key").read_text().strip().split("+", 4)[-1]  # base64 has pluses too
    _break_key(log, kind)
    before = snapshot(log)
    done = run("append", log, "event", status=2)
    assert str(log / "keys" / "ed25519.key") in done.err
    assert secret[:20] not in done.err
    assert snapshot(log) == before


def test_a_damaged_database_is_disproven_and_not_made_anew(
    run: Callable, log: Path, snapshot: Callable
) -> None:
    tables = sorted((log / "db").glob("*.sst"), key=lambda path: path.stat().st_size)
    assert tables
    for table in tables:
        table.write_bytes(bytes(len(table.read_bytes())))
    before = snapshot(log)
    done = run("get", log, 0, status=1)
    assert str(log) in done.err
    assert run("append", log, "event", status=1).out == b""
    after = snapshot(log)
    assert {name: data for name, data in after.items() if name.endswith(".sst")} == {
        name: data for name, data in before.items() if name.endswith(".sst")
    }
