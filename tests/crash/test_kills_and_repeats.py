"""Kills of a log that dedupes, with clients that send again what they heard nothing of."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import merklelog
from tests.support.checker import check_log
from tests.support.logs import make

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = ("planned", "hashed", "signed", "written", "synced", "settled", "kept")

# Sends numbered batches under keys of their own from a given number on, and says which were acknowledged. Entries
# repeat each other from batch to batch, so that dedupe has to know what is there, and is in no file yet.
CLIENT = """
import os, random, signal, sys
import merklelog.log
from merklelog.log import sequencer

directory, seed, start, step, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
sequencer.KEEP_INTERVAL = 0.0
left = count

def kill(name):
    global left
    if name == step:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

with merklelog.log.open_log(directory, step=kill) as log:
    for number in range(start, start + 60):
        rng = random.Random(number)
        entries = [b"event %d" % rng.randrange(2_000) for _ in range(rng.choice((1, 2, 40, 300)))]
        receipt = log.append_batch(entries, idempotency_key=b"%d" % number)
        os.write(1, b"%d %s\\n" % (number, b",".join(b"%d" % index for index in receipt.indexes)))
"""


def entries_of(number: int) -> list[bytes]:
    rng = random.Random(number)
    return [b"event %d" % rng.randrange(2_000) for _ in range(rng.choice((1, 2, 40, 300)))]


@pytest.mark.slow
def test_no_entry_is_stored_twice_whatever_is_killed(tmp_path: Path) -> None:
    directory = make(tmp_path / "log", log__dedupe=True)
    rng = random.Random(3)
    told: dict[int, list[int]] = {}
    seen: list[bytes] = []
    killed = 0
    for step in STEPS:
        start = max(0, len(told) - 3)  # the last ones again: the client is not sure of them
        count = rng.randrange(1, 25)
        words = [sys.executable, "-c", CLIENT, str(directory), "0", str(start), step, str(count)]
        done = subprocess.run(words, capture_output=True, cwd=ROOT, timeout=120, env={**os.environ})
        assert done.returncode in (0, -9), done.stderr.decode()
        killed += done.returncode == -9
        for line in done.stdout.decode().splitlines():
            number, _, indexes = line.partition(" ")
            got = [int(index) for index in indexes.split(",")]
            assert told.setdefault(int(number), got) == got, "sent again, it got other indexes"
        with merklelog.open_reader(directory) as log:
            tree = check_log(log, seen=seen)
            seen.append(log.checkpoint())
            assert len(set(tree.entries)) == len(tree.entries), "an entry is there twice"
            for number, indexes in told.items():
                assert [log.entry(index) for index in indexes] == entries_of(number)
    assert killed == len(STEPS)
    assert len(told) > 40
