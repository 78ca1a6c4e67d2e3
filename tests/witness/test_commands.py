"""`merklelog witness init|serve|resume` as programs, with a log of this project from one end to the other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import merklelog
from merklelog.formats import format_vkey, parse_checkpoint, parse_note, parse_vkey, verify_note
from merklelog.formats.witness import checkpoint_path, format_add_checkpoint
from tests.witness.support import GrownLog, Process

LOG = GrownLog()
SCHEMA = Path(__file__).resolve().parents[2] / "docs/commands/witness-resume.schema.json"


def command(*words: object, status: int = 0) -> str:
    """What `merklelog` prints; its errors when it is to end with another status."""
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def init(directory: Path, *words: object) -> list[str]:
    """The verifier keys that `witness init` prints."""
    printed = command(
        "witness",
        "init",
        directory,
        "--name",
        "witness.example/w",
        "--vkey",
        format_vkey(LOG.key.verifier),
        *words,
    )
    return [line for line in printed.splitlines() if line.startswith("witness.example/w+")]


class Serving:
    """`merklelog witness serve`, with ports of the system's choice, until the block ends."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.said = directory.parent / f"said-{time.monotonic_ns()}"
        program = [sys.executable, "-m", "merklelog", "witness", "serve", str(directory), *words]
        with self.said.open("wb") as said:
            self.popen = subprocess.Popen(
                [*program, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"], stderr=said
            )

    def __enter__(self) -> Process:
        end = time.monotonic() + 60
        while not (found := re.search(r" http=(\S+) admin=(\S+)\n", self.said.read_text())):
            assert time.monotonic() < end, self.said.read_text()
            assert self.popen.poll() is None, self.said.read_text()
            time.sleep(0.02)
        return Process(self.popen, found[1], found[2], self.said)

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        assert self.popen.wait(60) == 0, self.said.read_text()


def test_a_log_of_this_project_is_cosigned(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", "real.example/log")
    keys = command("vkey", tmp_path / "log").split()
    words = [word for key in keys[:2] for word in ("--vkey", key)]
    vkeys = [parse_vkey(text) for text in init(tmp_path / "w", *words)]
    assert len(vkeys) == 2
    with merklelog.open(tmp_path / "log") as log, Serving(tmp_path / "w") as witness:
        size = 0
        for count in (1, 300, 7):
            log.append_batch([b"entry %d" % number for number in range(count)])
            note = log.checkpoint()
            proof = log.consistency_proof(size, size + count) if size else []
            answer = witness.add(format_add_checkpoint(size, proof, note))
            assert answer.status == 200, answer
            verify_note(parse_note(note + answer.body), vkeys)
            size += count
        shown = witness.ask("GET", checkpoint_path("real.example/log"))
        assert parse_checkpoint(shown.body).checkpoint.size == size == 308


def test_sitting_out_and_resuming(tmp_path: Path) -> None:
    init(tmp_path / "w")
    with Serving(tmp_path / "w") as witness:
        assert witness.add(LOG.request(0, 5)).status == 200
    with Serving(tmp_path / "w", "--after-restore") as witness:
        assert witness.add(LOG.request(5, 9)).status == 503
        assert (
            "lock"
            in command("witness", "resume", tmp_path / "w", "--as-stored", LOG.origin, status=4).lower()
        )
    newest = tmp_path / "newest"
    newest.write_bytes(LOG.note(4))
    assert "size 4" in command("witness", "resume", tmp_path / "w", "--newest", newest, status=3)
    newest.write_bytes(LOG.note(20))
    printed = json.loads(command("witness", "resume", tmp_path / "w", "--newest", newest, "--json"))
    assert printed == {"logs": [{"origin": LOG.origin, "size": 20}]}
    assert set(printed) == set(json.loads(SCHEMA.read_text())["required"])
    with Serving(tmp_path / "w") as witness:
        assert witness.add(LOG.request(5, 9)).body == b"20\n"
        assert witness.add(LOG.request(20, 21)).status == 200


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("init", "w", "--name", "two words"), 2, "two words"),
        (("init", "w", "--name", "x", "--vkey", "nonsense"), 2, "NAME+ID+KEY"),
        (("serve", "nowhere"), 2, "witness init"),
        (("resume", "nowhere", "--as-stored", "x"), 2, "witness init"),
        (("resume", "nowhere"), 2, "--newest"),
    ],
)
def test_words_that_can_not_be(tmp_path: Path, words: tuple[str, ...], status: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", "witness", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert (done.returncode, says in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "w").exists()
