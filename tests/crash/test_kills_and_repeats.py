"""Kills of a log that dedupes, with clients that send again what they heard nothing of."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import merklelog
from tests.support.checker import check_log
from tests.support.lives import lives_of
from tests.support.logs import make

CLIENT = Path(__file__).with_name("repeating_client.py")
STEPS = ("planned", "hashed", "signed", "written", "synced", "settled", "kept")


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
        done = lives_of(CLIENT).run(str(directory), str(start), step, str(count))
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
