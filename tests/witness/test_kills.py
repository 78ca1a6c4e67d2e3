"""A witness killed with SIGKILL at each of its steps, again and again: no cosignature that it forgets."""

from __future__ import annotations

import http.client
import random
from pathlib import Path

import pytest

from merklelog.formats import parse_note, verify_note
from merklelog.formats.witness import parse_size
from tests.witness.support import GrownLog, Process, ask, make_witness, served

LOG = GrownLog()
FORK = GrownLog(salt="fork", fork=10)


def _size(witness: Process) -> int:
    """What the witness has recorded: asked with an old size that it can not have, or with the right one."""
    answer = witness.add(LOG.request(0, 0))
    return 0 if answer.status == 200 else parse_size(answer.body)


@pytest.mark.parametrize("step", ["decided", "signed", "written", "synced"])
def test_killed_at_each_step(tmp_path: Path, step: str) -> None:
    """A log goes on through kills; what was cosigned is recorded, at most one step more."""
    directory = tmp_path / "w"
    vkeys = make_witness(directory, LOG)
    cosigned = 0
    for turn in range(2):
        with served(directory, kill=f"{step}:{2 + turn}") as witness:
            size = _size(witness)  # of size 0 it is cosigned itself, a step passed
            assert size >= cosigned, "a cosignature was forgotten"
            connection = witness.connect()
            try:
                while True:
                    new = size + 3
                    answer = ask(connection, "POST", "/add-checkpoint", LOG.request(size, new))
                    assert answer.status == 200
                    verify_note(parse_note(LOG.note(new) + answer.body), vkeys)
                    size = cosigned = new
            except (http.client.HTTPException, OSError):
                assert witness.popen.wait(60) == -9
            finally:
                connection.close()
    with served(directory) as witness:
        size = _size(witness)
        assert size in {cosigned, cosigned + 3}
        assert size == cosigned or step not in {"decided", "signed"}, (
            "nothing was written before it was signed"
        )
        # A log that offers another history after the crash gets nowhere, from any size.
        if size > 10:
            for old in range(11, size + 1):
                assert witness.add(FORK.request(old, size + 9)).status in {409, 422}
        assert witness.add(LOG.request(size, size + 1)).status == 200


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Many logs at once, killed from outside; each log's newest cosigned checkpoint is still recorded."""
    directory = tmp_path / "w"
    logs = [GrownLog(f"grown.example/{number}") for number in range(8)]
    make_witness(directory, *logs)
    cosigned = dict.fromkeys(range(8), 0)
    source = random.Random(3)
    for _ in range(3):
        with served(directory) as witness:
            connection = witness.connect()
            for turn in range(source.randrange(10, 40)):
                number = turn % 8
                size = cosigned[number]
                answer = ask(connection, "POST", "/add-checkpoint", logs[number].request(size, size + 2))
                assert answer.status == 200
                cosigned[number] += 2
            witness.popen.kill()
            connection.close()
    with served(directory) as witness:
        for number, log in enumerate(logs):
            answer = witness.add(log.request(cosigned[number], cosigned[number] + 1))
            assert answer.status == 200
