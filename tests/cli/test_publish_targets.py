"""`merklelog init` and `publish` of a log with publish targets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog

ORIGIN = "cli.example/log"


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    """What `init` is told of a target."""
    return ("--set", f"publish.targets=dir:{tmp_path / 'target'}", "--set", "store.min_free_bytes=0")


def test_init_says_what_protects_it_and_writes_nothing_there(
    run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    lines = run("init", "log", "--origin", ORIGIN, *words).text.splitlines()
    assert "rollback protection: targets" in lines
    assert not (tmp_path / "target").exists()
    assert run("init", "other", "--origin", ORIGIN, *words, "--json").json["rollback_protection"] == "targets"


def test_publish_now(run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]) -> None:
    run("init", "log", "--origin", ORIGIN, *words)
    empty = run("publish", "log", "--json").json
    assert (empty["size"], empty["newest"], empty["moved"]) == (0, 0, False)
    run("append", "log", "--jsonl", stdin=b"{}\n" * 300)
    result = run("publish", "log", "--json").json
    assert (result["size"], result["newest"]) == (300, 300)
    assert result["target"] == f"dir:{tmp_path / 'target'}"
    assert (tmp_path / "target" / "checkpoints" / "300").exists()
    assert "nothing new" in run("publish", "log").text
    vkey = run("vkey", "log").text.splitlines()[0]
    run("audit", f"dir:{tmp_path / 'target'}", "--vkey", vkey, "--processes", 1)


def test_publish_waits_for_the_process_that_has_the_log(
    run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    run("init", "log", "--origin", ORIGIN, *words, "--set", "publish.interval=2")
    with merklelog.open(tmp_path / "log") as log:
        log.append(b"one")
        log.wait_published(1).result(60)
        log.append(b"two")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-m", "merklelog", "publish", "log", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
            timeout=120,
        )
        assert log.size == 2
    assert b'"size":2' in done.stdout.replace(b" ", b"")
    assert b'"created":null' in done.stdout.replace(b" ", b"")


def test_a_target_that_holds_a_log_is_refused(
    run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    run("init", "log", "--origin", ORIGIN, *words)
    run("append", "log", stdin=b"one")
    refused = run("init", "again", "--origin", ORIGIN, *words, status=2)
    assert "merklelog recover" in refused.err
    assert str(tmp_path / "target") in refused.err
    assert not (tmp_path / "again").exists()
    # a copy that is no target yet holds a checkpoint all the same
    (tmp_path / "target" / "head").unlink()
    run("init", "again", "--origin", ORIGIN, *words, status=2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("dir:relative", "publish.targets has 'dir:relative'"),
        ("ftp://host/x", "publish.targets has 'ftp://host/x'"),
        ("['dir:/a", 'publish.targets is "[\'dir:/a"'),
        ("['dir:/a', 'dir:/a']", "twice"),
        ("s3://b/a//c", "s3://b/a//c"),
        ("s3://bucket/log", "publish.s3.i_understand_compliance"),
    ],
)
def test_bad_targets_make_nothing(run: Callable[..., Any], tmp_path: Path, value: str, message: str) -> None:
    done = run("init", "log", "--origin", ORIGIN, "--set", f"publish.targets={value}", status=2)
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["log", "log/copy", "elsewhere/../log/a/b"])
def test_a_target_inside_the_log_is_refused(run: Callable[..., Any], tmp_path: Path, place: str) -> None:
    """An old copy of the directory would bring an old target with it, and compare itself with that."""
    setting = f"publish.targets=dir:{tmp_path / place}"
    done = run("init", "log", "--origin", ORIGIN, "--set", setting, status=2)
    assert "is inside the log's own directory" in done.err
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("place", ["", "log/..", "link"])
def test_a_target_around_the_log_is_refused(run: Callable[..., Any], tmp_path: Path, place: str) -> None:
    """Whoever serves the target with a plain web server would serve the log's keys."""
    (tmp_path / "link").symlink_to(tmp_path)
    setting = f"publish.targets=dir:{tmp_path / place}"
    done = run("init", "log", "--origin", ORIGIN, "--set", setting, status=2)
    assert "would serve the log's keys" in done.err
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("place", ["public", "public/keys", "link"])
def test_a_target_around_keys_that_are_kept_elsewhere_is_refused(
    run: Callable[..., Any], tmp_path: Path, place: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "public")
    setting = f"publish.targets=dir:{tmp_path / place}"
    done = run("init", "log", "--origin", ORIGIN, "--keys", "public/keys", "--set", setting, status=2)
    assert "the log's keys in" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]


def test_a_target_inside_the_log_that_was_written_down_later_is_refused(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run("init", "log", "--origin", ORIGIN, "--set", f"publish.targets=dir:{tmp_path}/copy")
    config = tmp_path / "log" / "merklelog.toml"
    config.write_text(config.read_text("utf-8").replace(f"{tmp_path}/copy", f"{tmp_path}/log/copy"), "utf-8")
    done = run("append", "log", stdin=b"one", status=2)
    assert "is inside the log's own directory" in done.err
    assert not (tmp_path / "log" / "copy").exists()


def test_publish_without_targets(run: Callable[..., Any], tmp_path: Path) -> None:
    run("init", "log", "--origin", ORIGIN, "--set", "store.min_free_bytes=0")
    assert "publish.targets is empty" in run("publish", "log", status=2).err
    assert "--to" in run("publish", "log", "--bundle-encoding", "gzip", status=2).err
    assert "set publish.targets" in run("publish", "log", "--to", "s3://bucket/x", status=2).err


def test_an_unreachable_target(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from merklelog.cli import publish_now

    monkeypatch.setattr(publish_now, "PATIENCE", 0.5)
    (tmp_path / "file").write_text("not a directory")
    target = f"dir:{tmp_path / 'target'}"
    run("init", "log", "--origin", ORIGIN, "--set", f"publish.targets={target}")
    (tmp_path / "target").symlink_to(tmp_path / "file")
    done = run("publish", "log", status=None)
    assert done.status in (2, 3, 4)
    assert str(tmp_path / "target") in done.err
