"""Commands over grpc:// and http://: the same results as from the directory, verified, held to a state file."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.formats import parse_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = {"grpc": "grpc_server.py", "http": "http/http_process.py"}


@pytest.fixture
def serve() -> Iterator[Callable[[str, Path], str]]:
    """`serve("grpc", DIR)`: a process that serves the log; gives its target."""
    running: list[subprocess.Popen[str]] = []

    def start(kind: str, directory: Path) -> str:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "servers" / RUNNERS[kind]), str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return f"{kind}://127.0.0.1:{told}" if kind == "grpc" else f"http://{told[0]}"

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(params=["grpc", "http"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(kind: str, log: Path, serve: Callable[[str, Path], str]) -> str:
    return serve(kind, log)


def test_every_reading_command_reads_the_same(
    run: Callable[..., Any], log: Path, target: str, vkeys: list[str], tmp_path: Path
) -> None:
    trust = ("--vkey", vkeys[0])
    for words in (
        ("get", "{}", "1"),
        ("get", "{}", "0:3", "--jsonl"),
        ("get", "{}", "0:3", "--json"),
        ("get", "{}", "1:"),
        ("get", "{}", "3:3"),
        ("follow", "{}", "--from", "1", "--count", "2"),
        ("follow", "{}", "--count", "3", "--json"),
        ("follow", "{}", "--count", "0"),
        ("prove", "{}", "1"),
        ("prove", "{}", "2", "--json"),
        ("consistency", "{}", "0", "3"),
        ("consistency", "{}", "3", "3", "--json"),
        ("checkpoint", "{}"),
        ("checkpoint", "{}", "--size", "3", "--json"),
    ):
        there = run(*[word.format(log) for word in words], *trust)
        assert run(*[word.format(target) for word in words], *trust).out == there.out, words
    run("prove", target, "1", "-o", "proof", *trust)
    (tmp_path / "two").write_bytes(b"two")
    run("verify", "proof", "--entry", "two", *trust)


def test_an_audit_of_a_server(run: Callable[..., Any], target: str, vkeys: list[str], kind: str) -> None:
    done = run("audit", target, "--vkey", vkeys[0])
    assert done.text.splitlines()[-1].startswith("proven: cli.example/log at size 3 (entries 3")
    assert done.text.startswith("remark: ")
    result = run("audit", target, "--json", "--vkey", vkeys[0]).json
    assert (result["verdict"], result["size"], result["signatures_checked"]) == ("proven", 3, True)
    if kind == "http":
        assert "signatures not checked" in run("audit", target).text
    else:
        assert "who signs this log?" in run("audit", target, status=2).err


def test_a_server_says_nothing_of_its_own_trust(run: Callable[..., Any], target: str, log: Path) -> None:
    done = run("checkpoint", target)
    assert "not verified: give --vkey" in done.err
    assert parse_checkpoint(done.out).checkpoint.size == 3
    for words in (("get", target, "0"), ("prove", target, "0"), ("append", target), ("follow", target)):
        assert "who signs this log? give --vkey" in run(*words, stdin=b"x", status=2).err


def test_entries_go_to_a_server(
    run: Callable[..., Any], kind: str, target: str, vkeys: list[str], tmp_path: Path
) -> None:
    trust = ("--vkey", vkeys[0], "--state", "state")
    assert run("append", target, *trust, stdin=b"four").out == b"index 3\n"
    assert (
        run("append", target, "--jsonl", *trust, stdin=b"five\nsix\nseven\n").out == b"appended 4:7, size 7\n"
    )
    keyed = ("append", target, "--jsonl", "--idempotency-key", "key", *trust)
    assert run(*keyed, stdin=b"a\nb\n").out == b"appended 7:9, size 9\n"
    again = run(*keyed, stdin=b"a\nb\n").out
    assert again == b"appended nothing, 2 of 2 were there already, size 9\n"
    run("append", target, "-o", "proof", *trust, stdin=b"proven")
    (tmp_path / "entry").write_bytes(b"proven")
    run("verify", "proof", "--entry", "entry", "--vkey", vkeys[0])
    result = run("append", target, "--json", *trust, stdin=b"last").json
    assert (result["index"], result["appended"], result["start"], result["end"]) == (10, 1, 10, 11)
    assert parse_checkpoint((tmp_path / "state").read_bytes()).checkpoint.size == 11
    many = b"".join(b"line %d\n" % i for i in range(2_500 if kind == "grpc" else 50))
    count = many.count(b"\n")
    assert f"appended 11:{11 + count}" in run("append", target, "--jsonl", *trust, stdin=many).text
    assert run("get", target, "11:", "--jsonl", *trust).out == many


def test_a_state_file_holds_a_server_to_what_it_showed(
    run: Callable[..., Any], log: Path, target: str, vkeys: list[str], tmp_path: Path, template: Path
) -> None:
    # The same key signed another history, and this caller saw that one.
    other = Path(shutil.copytree(template, tmp_path / "other"))
    with merklelog.open(other) as twin:
        newer = twin.append(b"other").checkpoint
    trust = ("--vkey", vkeys[0], "--state", tmp_path / "state")
    (tmp_path / "state").write_bytes(newer)
    done = run("checkpoint", target, *trust, status=3)
    assert "got size 3, trusted is 4" in done.err
    run("append", target, "--vkey", vkeys[0], stdin=b"four")
    done = run("checkpoint", target, *trust, status=1)
    assert "two histories" in done.err
    assert done.err.count("--- end") == 2
    assert (tmp_path / "state").read_bytes() == newer


def test_a_directory_can_be_held_to_a_state_file_too(
    run: Callable[..., Any], log: Path, vkeys: list[str], tmp_path: Path
) -> None:
    run("checkpoint", log, "--state", "state")
    assert run("append", log, "--state", "state", stdin=b"four").out == b"index 3\n"
    assert parse_checkpoint((tmp_path / "state").read_bytes()).checkpoint.size == 4
    assert run("get", log, "3", "--state", "state").out == b"four"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("get", "grpc://{}", "0", "--timeout", "0.2"), 3, "{}"),
        (("get", "http://{}", "0", "--timeout", "0.2"), 3, "{}"),
        (("append", "http://{}", "event", "--timeout", "0.2"), 3, "{}"),
        (("get", "grpcs://127.0.0.1:1", "0", "--ca", "none"), 2, "ca none"),
        (("get", "http://example.com", "0", "--token", "x"), 2, "in the clear"),
        (("get", "http://127.0.0.1:1", "0", "--token", "x y"), 2, "token"),
        (("get", "http://127.0.0.1:1", "0", "--key", "x"), 2, "key"),
        (("get", "http://127.0.0.1:1/?x", "0"), 2, "nothing behind it"),
        (("get", "http://127.0.0.1:1", "0", "--timeout", "0"), 2, "timeout"),
    ],
)
def test_a_server_that_can_not_be_reached_or_meant(
    run: Callable[..., Any], vkeys: list[str], tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    (tmp_path / "event").write_bytes(b"event")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(*[word.format(address) for word in words], "--vkey", vkeys[0], status=status)
    assert said.format(address) in done.err


def test_a_token_comes_from_the_environment(
    run: Callable[..., Any], vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERKLELOG_TOKEN", "secret-token")
    done = run("get", "http://example.com", "0", "--vkey", vkeys[0], status=2)
    assert "in the clear" in done.err
    assert "secret" not in done.err


def test_a_pack_from_a_server_is_that_of_the_directory(
    run: Callable[..., Any], log: Path, target: str, vkeys: list[str], tmp_path: Path
) -> None:
    trust = ("--vkey", vkeys[0])
    for words in (("1:3",), (":", "--size", "3")):
        run("pack", target, *words, "-o", "served", *trust)
        run("pack", log, *words, "-o", "direct", *trust)
        assert (tmp_path / "served").read_bytes() == (tmp_path / "direct").read_bytes()
        run("verify", "served", *trust)
    assert run("pack", target, "0:3", "-o", "unknown", status=2).text == ""
