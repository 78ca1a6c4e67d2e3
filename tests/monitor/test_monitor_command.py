"""`merklelog monitor` as a user's shell runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from merklelog.formats import format_policy, format_vkey
from tests.monitor.scene import Scene, append, numbered, twin


def command(scene: Scene, *words: str) -> list[str]:
    keys = [word for key in scene.vkeys[:2] for word in ("--vkey", format_vkey(key))]
    return [sys.executable, "-m", "merklelog", "monitor", *words, "--state", str(scene.path / "state"), *keys]


def run(scene: Scene, *words: str, status: int) -> str:
    done = subprocess.run(command(scene, *words), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, f"{done.stdout}{done.stderr}"
    return done.stdout if status != 2 else done.stderr


def test_once_is_silent_about_a_sound_log(scene: Scene) -> None:
    append(scene.log, numbered(0, 300))
    assert run(scene, str(scene.log), scene.publish(), "--once", status=0) == ""


def test_matches_are_lines_or_json_and_told_once(scene: Scene) -> None:
    append(scene.log, [b'{"user":"alice","n":1}', b'{"user":"bob"}', b"alice"])
    words = (str(scene.log), "--once", "--match", "^alice", "--field", "user=^bob$")
    first = run(scene, *words, "--json", status=0)
    assert [json.loads(line)["index"] for line in first.splitlines()] == [1, 2]
    append(scene.log, [b"nothing", b"alice again"])
    assert "found: match 4 watched.example/log" in run(scene, *words, status=0)
    assert run(scene, *words, status=0) == ""


def test_a_split_ends_with_status_1_and_names_its_evidence(scene: Scene) -> None:
    append(scene.log, numbered(0, 20))
    other = twin(scene.log, "other")
    append(scene.log, numbered(20, 30))
    append(other, numbered(20, 30, "forged"))
    targets = (scene.publish("good"), scene.publish("bad", other))
    text = run(scene, *targets, "--once", status=1)
    line, *evidence = text.splitlines()
    assert "wrong: split watched.example/log: dir:" in line
    assert [each.split()[0] for each in evidence] == ["evidence:"] * 2
    for each in evidence:
        assert Path(each.split()[1]).read_bytes().startswith(b"watched.example/log\n30\n")
    assert run(scene, *targets, "--once", status=1) == "", "still so, and told already"


def test_what_does_not_answer_ends_with_status_3(scene: Scene) -> None:
    append(scene.log, numbered(0, 20))
    words = (str(scene.log), "http://127.0.0.1:1", "--once", "--timeout", "0.5")
    done = subprocess.run(command(scene, *words), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (3, "")
    assert "merklelog: not told yet: unreachable: http://127.0.0.1:1: " in done.stderr


def test_a_policy_without_its_quorum(scene: Scene) -> None:
    append(scene.log, numbered(0, 20))
    target = scene.publish()
    policy = scene.path / "policy"
    policy.write_bytes(format_policy(scene.policy(quorum=1)))
    words = [sys.executable, "-m", "merklelog", "monitor", target, "--state", str(scene.path / "state")]
    words += ["--once", "--grace", "0", "--policy", str(policy)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("found: quorum")) == (3, 1), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--once", "--match", "("),
        ("--once", "--field", "x"),
        ("--once", "--exec", "'"),
        ("--once", "--exec", " "),
        ("--once", "--webhook", "ftp://x"),
        ("--once", "--witness", "w1"),
        ("--once", "--witness", "w1=http://x"),
        ("--poll", "0"),
        ("--from", "-1"),
    ],
)
def test_words_that_can_not_be_meant(scene: Scene, words: tuple[str, ...]) -> None:
    assert run(scene, str(scene.log), *words, status=2)


def test_it_goes_on_until_it_is_told_to_stop(scene: Scene) -> None:
    out = scene.path / "out"
    script = scene.path / "alert"
    script.write_text(f"#!/bin/sh\ncat >> {out}\n")
    script.chmod(0o755)
    words = command(
        scene, str(scene.log), "--match", "event", "--poll", "0.05", "--exec", str(script), "--json"
    )
    child = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert child.stdout is not None
    try:
        for index in range(3):
            append(scene.log, [b"event %d" % index])
            assert json.loads(child.stdout.readline())["index"] == index
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert [json.loads(line)["index"] for line in out.read_bytes().splitlines()] == [0, 1, 2]
