"""`merklelog publish` and `backup`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import DamagedError, KeyFileError, UsageError
from merklelog.log import backup as backup_module
from merklelog.log.backup import backup


def test_publish_says_what_it_did(run: Callable, log: Path, tmp_path: Path) -> None:
    first = run("publish", log, "--to", "dir:copy", "--json").json
    assert (first["size"], first["previous"], first["moved"], first["target"]) == (3, None, True, "dir:copy")
    assert (
        run("publish", log, "--to", "dir:copy").text
        == "nothing new: dir:copy shows cli.example/log at size 3\n"
    )
    run("append", log, stdin=b"four")
    done = run("publish", log, "--to", "dir:copy")
    assert "size 4 (before 3)" in done.text
    assert (tmp_path / "copy" / "checkpoint").read_bytes() == run("checkpoint", log).out


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_both_encodings_read_the_same(
    run: Callable, log: Path, vkeys: list[str], encoding: str, tmp_path: Path
) -> None:
    run("publish", log, "--to", "dir:copy", "--bundle-encoding", encoding)
    assert run("get", "dir:copy", "0:3", "--vkey", vkeys[0]).out == b"onetwothree"
    assert encoding in (tmp_path / "copy" / "merklelog.json").read_text()
    other = {"identity": "gzip", "gzip": "identity"}[encoding]
    assert other in run("publish", log, "--to", "dir:copy", "--bundle-encoding", other, status=2).err
    assert "lzma" in run("publish", log, "--to", "dir:copy", "--bundle-encoding", "lzma", status=2).err


def test_a_place_that_holds_something_else_is_left_alone(
    run: Callable, log: Path, tmp_path: Path, snapshot: Callable
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    before = snapshot(tmp_path / "home")
    run("publish", log, "--to", "dir:home", status=2)
    assert snapshot(tmp_path / "home") == before


def test_a_copy_of_another_history_is_left_alone(
    run: Callable, log: Path, copy: str, snapshot: Callable
) -> None:
    keys = ("--keys", log / "keys", "--reuse-keys", "--set", "store.min_free_bytes=0")
    run("init", "other", "--origin", "cli.example/log", *keys)
    run("append", "other", "--jsonl", stdin=b"1\n2\n3\n4\n")
    before = snapshot(Path(copy.removeprefix("dir:")))
    done = run("publish", "other", "--to", copy, status=1)
    assert "two histories" in done.err
    assert "the first note" in done.err
    assert snapshot(Path(copy.removeprefix("dir:"))) == before


# --- backup ---


def test_a_backup_is_the_log_without_its_private_keys(run: Callable, log: Path, tmp_path: Path) -> None:
    run("append", log, "--jsonl", stdin=b"".join(b"entry %d\n" % i for i in range(700)))
    done = run("backup", log, "copies/monday", "--json")
    assert done.json == {
        "origin": "cli.example/log",
        "path": str(tmp_path / "copies" / "monday"),
        "size": 703,
        "root": run("checkpoint", log, "--json").json["root"],
    }
    backed = tmp_path / "copies" / "monday"
    for words in (("checkpoint",), ("get", "0:703"), ("vkey",), ("prove", "5"), ("consistency", "3", "703")):
        assert run(words[0], backed, *words[1:]).out == run(words[0], log, *words[1:]).out
    names = sorted(path.name for path in backed.iterdir())
    assert names == ["FORMAT", "db", "index", "merklelog.toml"]
    secret = (log / "keys" / "ed25519.key").read_bytes()
    assert all(secret not in path.read_bytes() for path in backed.rglob("*") if path.is_file())
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["monday"]


def test_a_backup_beside_a_writer_is_one_moment(run: Callable, log: Path) -> None:
    with merklelog.open(log) as writer:
        writer.append_batch([b"%d" % i for i in range(3, 1_000)])
        assert run("backup", log, "b", "--json").json["size"] == 1_000
        writer.append(b"later")
        assert run("get", "b", "3:", "--jsonl").out == b"".join(b"%d\n" % i for i in range(3, 1_000))


def test_what_is_committed_while_a_backup_runs_is_in_it_whole_or_not_at_all(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two families a commit changes all of them: the backup must stay at the moment it began."""
    copy_family = backup_module._copy_family
    with merklelog.open(log) as writer:

        def slow(*arguments: object) -> None:
            writer.append_batch([b"x" * 300] * 300)
            copy_family(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(backup_module, "_copy_family", slow)
        report = backup(log, tmp_path / "b")
        assert writer.size > 1_500
    assert report.size == 3
    with merklelog.open_reader(tmp_path / "b") as reader:
        assert list(reader.entries(0, 3)) == [b"one", b"two", b"three"]
        assert reader.size == 3


def test_a_backup_of_a_log_that_dedupes_goes_on_deduping(run: Callable, tmp_path: Path) -> None:
    run("init", "d", "--origin", "cli.example/d", "--dedupe", "--set", "store.min_free_bytes=0")
    run("append", "d", "--jsonl", "--idempotency-key", "k", stdin=b"a\nb\n")
    run("backup", "d", "b")
    (tmp_path / "d" / "keys").rename(tmp_path / "b" / "keys")
    assert run("append", "b", stdin=b"b").out == b"index 1, there already\n"
    run("append", "b", "--jsonl", "--idempotency-key", "k", stdin=b"other\n", status=2)


def test_a_backup_opens_for_writing_only_when_its_operator_puts_keys_there(
    run: Callable, log: Path, tmp_path: Path
) -> None:
    run("backup", log, "b")
    assert str(tmp_path / "b" / "keys" / "ed25519.key") in run("append", "b", stdin=b"x", status=2).err
    with pytest.raises(KeyFileError, match=r"ed25519\.key"):
        merklelog.open(tmp_path / "b")
    (log / "keys").rename(tmp_path / "b" / "keys")
    assert run("append", "b", stdin=b"x").out == b"index 3\n"


def test_a_backup_never_finds_the_live_keys(tmp_path: Path) -> None:
    """Not by an absolute path in the copied configuration either: appending to a backup can sign a fork."""
    keys = tmp_path / "secret"
    merklelog.create_log(tmp_path / "log", "example.com/log", keys=keys)
    backup(tmp_path / "log", tmp_path / "copy")
    assert f'# not in a backup: keys = "{keys}"' in (tmp_path / "copy" / "merklelog.toml").read_text()
    with pytest.raises(KeyFileError, match=str(tmp_path / "copy" / "keys")):
        merklelog.open(tmp_path / "copy")
    with merklelog.open_reader(tmp_path / "copy") as log:
        assert log.size == 0


@pytest.mark.parametrize("there", ["file", "directory", "link"])
def test_a_backup_replaces_nothing(
    run: Callable, log: Path, tmp_path: Path, there: str, snapshot: Callable
) -> None:
    place = tmp_path / "b"
    if there == "file":
        place.write_text("mine")
    elif there == "directory":
        place.mkdir()
    else:
        place.symlink_to("nowhere")
    before = snapshot(tmp_path)
    assert "is there already" in run("backup", log, "b", status=2).err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("place", ["log", "log/copy", "link/index"])
def test_a_copy_goes_elsewhere(
    run: Callable, log: Path, tmp_path: Path, snapshot: Callable, place: str
) -> None:
    (tmp_path / "link").symlink_to(log)
    before = snapshot(log)
    assert "inside the log" in run("publish", log, "--to", f"dir:{tmp_path / place}", status=2).err
    assert snapshot(log) == before


def test_a_copy_is_not_made_around_the_log(
    run: Callable, log: Path, tmp_path: Path, snapshot: Callable
) -> None:
    before = snapshot(tmp_path)
    assert "would serve the log's keys" in run("publish", log, "--to", f"dir:{log.parent}", status=2).err
    assert snapshot(tmp_path) == before


def test_a_copy_is_not_made_around_keys_that_are_kept_elsewhere(
    run: Callable, tmp_path: Path, snapshot: Callable
) -> None:
    """Not one that is there already either, in which they were put since."""
    run("init", "other", "--origin", "cli.example/other", "--keys", "secret")
    run("append", "other", stdin=b"one")
    run("publish", "other", "--to", "dir:public")
    (tmp_path / "secret").rename(tmp_path / "public" / "secret")
    config = tmp_path / "other" / "merklelog.toml"
    config.write_text(config.read_text("utf-8").replace("secret", "public/secret"), "utf-8")
    run("append", "other", stdin=b"two")
    before = snapshot(tmp_path / "public")
    assert "the log's keys in" in run("publish", "other", "--to", "dir:public", status=2).err
    assert snapshot(tmp_path / "public") == before


def test_a_backup_goes_elsewhere(run: Callable, log: Path, snapshot: Callable) -> None:
    before = snapshot(log)
    assert "inside the log" in run("backup", log, log / "backup", status=2).err
    assert snapshot(log) == before


def test_a_backup_that_fails_leaves_nothing(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(done: int, _total: int) -> None:
        raise DamagedError(f"after {done}")

    with merklelog.open(log) as writer:
        writer.append_batch([bytes(60_000)] * 200)
    monkeypatch.setattr(backup_module, "BATCH_BYTES", 1)
    with pytest.raises(DamagedError, match="after"):
        backup(log, tmp_path / "sub" / "b", progress=fail)
    assert list((tmp_path / "sub").iterdir()) == []
    with pytest.raises(UsageError):
        backup(log, tmp_path / "log")


def test_a_damaged_log_gives_no_backup(run: Callable, log: Path, tmp_path: Path) -> None:
    run("append", log, "--jsonl", stdin=b"".join(b"%d" % i * 40 + b"\n" for i in range(2_000)))
    table = max((log / "db").glob("*.sst"), key=lambda path: path.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    done = run("backup", log, "b", status=1)
    assert str(log) in done.err
    assert not (tmp_path / "b").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
