"""The installed program in processes of its own: pipes, signals, terminals, and what it loads."""

from __future__ import annotations

import errno
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANY = b"".join(b'{"event":%d}\n' % i for i in range(3_000))


@pytest.fixture
def variables() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MERKLELOG_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm"}


@pytest.fixture
def shell(program: list[str], variables: dict[str, str], tmp_path: Path) -> Iterator[object]:
    """`shell(script)`: a script in which `merklelog` is the program."""

    def call(script: str, *, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        words = " ".join(f"'{word}'" for word in program)
        command = ["bash", "-c", f'set -eu\nmerklelog() {{ {words} "$@"; }}\n{script}']
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    return call


def test_the_main_job_from_end_to_end(shell, tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(MANY)
    done = shell(
        """
        merklelog init log --origin shell.example/log --set store.min_free_bytes=0 > made
        merklelog append log --jsonl < events
        merklelog get log 2999 > event
        merklelog prove log 2999 -o proof > said
        merklelog vkey log > vkeys
        head -c 13 event > forged
        merklelog verify proof --entry event --vkey "$(head -n 1 vkeys)" | head -n 1
        merklelog verify proof --entry forged --vkey "$(sed -n 2p vkeys)" || echo "status $?"
        merklelog publish log --to dir:copy --bundle-encoding gzip > said
        merklelog audit dir:copy --vkey "$(head -n 1 vkeys)" > said
        merklelog get dir:copy : --jsonl --vkey "$(sed -n 2p vkeys)" | cmp - events
        merklelog backup log backup > said
        merklelog audit backup > said
        """
    )
    assert done.stdout.decode().splitlines() == [
        "appended 0:3000, size 3000",
        "proven: entry 2999 of shell.example/log, in its tree of size 3000",
        "status 1",
    ]
    assert done.stderr.decode().startswith("merklelog: "), "only the forgery is worth a word"
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_has_had_enough_ends_a_command_quietly(shell, log: Path) -> None:
    shell(f"merklelog append {log} --jsonl", stdin=MANY)
    done = shell(f"(merklelog get {log} 3: --jsonl || echo $? >&2) | head -n 1")
    assert done.stdout == MANY.splitlines(keepends=True)[0]
    assert done.stderr in (b"4\n", b"")  # nothing when all of it fitted into the pipe
    done = shell(f"merklelog get {log} 3: --jsonl >&-", status=4)
    assert b"standard output" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "words", ["get {} 0", "vkey {}", "--help", "prove {} 0 -o /dev/full", "audit {} --json"]
)
def test_output_that_has_no_room_is_no_success(shell, log: Path, words: str) -> None:
    done = shell(f"merklelog {words.format(log)} > /dev/full", status=4)
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def _wait_for(condition: object, what: str) -> None:
    end = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


def test_follow_prints_at_once_and_ends_on_an_interrupt(
    program: list[str], variables: dict[str, str], log: Path
) -> None:
    command = [*program, "follow", str(log), "--poll", "0.05"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"one\n", b"two\n", b"three\n"]
        subprocess.run(
            [*program, "append", str(log)], env=variables, input=b"four", check=True, capture_output=True
        )
        assert process.stdout.readline() == b"four\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stdout.read() == b""
        assert process.stderr.read() == b"merklelog: interrupted\n"


def test_an_interrupted_append_says_what_is_durable_and_lets_the_next_writer_in(
    program: list[str], variables: dict[str, str], log: Path
) -> None:
    """Lines are appended as they come; a second writer meanwhile is told who is there."""
    command = [*program, "append", str(log), "--jsonl"]
    size = [*program, "get", str(log), "5"]
    with subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"a\nb\nc\nhalf a line")
        process.stdin.flush()
        _wait_for(lambda: subprocess.run(size, env=variables, capture_output=True).returncode == 0, "entry 5")
        second = subprocess.run(command, env=variables, input=b"", capture_output=True)
        assert second.returncode == 4
        assert f"by process {process.pid}".encode() in second.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        said = process.stderr.read().decode()
    assert said == "appended before it stopped: 3 entries; input 1-3 at 3:6\nmerklelog: interrupted\n"
    third = subprocess.run([*program, "append", str(log)], env=variables, input=b"d", capture_output=True)
    assert third.stdout == b"index 6\n"


def _on_a_terminal(command: list[str], variables: dict[str, str], cwd: Path) -> bytes:
    """What the program writes to standard error when that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, env=variables, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            if not select.select([ours], [], [], 60)[0]:
                process.kill()
                pytest.fail("nothing came")
            try:
                data = os.read(ours, 65_536)
            except OSError as error:
                if error.errno == errno.EIO:  # Linux: the other side is closed
                    break
                raise
            if not data:
                break
            seen += data
    os.close(ours)
    return seen


def test_progress_and_colours_are_for_terminals(
    program: list[str], variables: dict[str, str], log: Path, tmp_path: Path
) -> None:
    (tmp_path / "events").write_bytes(MANY)
    append = [*program, "append", str(log), "--jsonl", "events"]
    seen = _on_a_terminal(append, variables, tmp_path)
    assert b"appending" in seen
    assert b"\x1b[" in seen
    piped = subprocess.run(append, env=variables, cwd=tmp_path, capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (b"appended 3003:6003, size 6003\n", b"")
    wrong = [*program, "get", str(tmp_path / "nowhere"), "0"]
    assert b"\x1b[31m" in _on_a_terminal(wrong, variables, tmp_path)
    assert b"\x1b" not in _on_a_terminal(wrong, {**variables, "NO_COLOR": "1"}, tmp_path)
    assert b"\x1b" not in subprocess.run(wrong, env=variables, capture_output=True).stderr


LOADED = """
import sys, types
package = types.ModuleType("merklelog")
package.__path__ = [{root!r} + "/merklelog"]
sys.modules["merklelog"] = package  # the package without its own __init__, which brings the engine
from merklelog.cli import main
status = main({words!r})
print(" ".join(sorted({{name.split(".")[0] for name in sys.modules}})))
sys.exit(status)
"""
DATABASE = {"rocksdict", "numpy", "blake3"}
HEAVY = {*DATABASE, "rich", "isal", "msgspec", "asyncio", "multiprocessing", "botocore"}


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--version"], {*HEAVY, "cryptography"}),
        (["--help"], {*HEAVY, "cryptography"}),
        (["append", "--help"], {*HEAVY, "cryptography"}),
        (["verify", "proof", "--entry", "entry", "--vkey", "KEY"], HEAVY),
        (["verify", "proof", "--entry", "entry", "--vkey", "KEY", "--json"], HEAVY),
        (["get", "log", "0"], {"numpy", "rich", "multiprocessing", "botocore"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_needs(
    run,
    log: Path,
    vkeys: list[str],
    tmp_path: Path,
    words: list[str],
    without: set[str],
    variables: dict[str, str],
) -> None:
    (tmp_path / "entry").write_bytes(b"two")
    run("prove", log, 1, "-o", "proof")
    given = [vkeys[0] if word == "KEY" else word for word in words]
    code = LOADED.format(root=str(ROOT), words=given)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, check=True
    )
    loaded = set(done.stdout.decode().splitlines()[-1].split())
    assert "click" in loaded
    assert loaded & without == set()
