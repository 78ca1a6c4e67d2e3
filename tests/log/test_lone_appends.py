"""Which thread syncs: the sequencer's where nothing else is to be done, the syncer where more comes meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from merklelog.log.syncer import BESIDE
from merklelog.log.world import World
from tests.support import logs

HERE, BESIDE_IT = "merklelog-sequencer", "merklelog-syncer"


class Threads(logs.FakeWorld):
    """Notes which thread synced; holds the first one that syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[str] = []
        self.holds, self.held, self.gate = True, threading.Event(), threading.Event()
        self.on_step = self._note

    def world(self) -> World:
        """Its clock stands still: a checkpoint that is kept is a commit beside the appends."""
        return World(lambda: 0.0, lambda: self.now, lambda: self.free, self._step)

    def _note(self, name: str) -> None:
        if name != "synced":
            return
        self.synced.append(threading.current_thread().name)
        if self.holds:
            self.holds = False
            self.held.set()
            assert self.gate.wait(60)


def test_an_append_alone_is_synced_by_the_thread_that_wrote_it(tmp_path: Path) -> None:
    world = Threads()
    world.gate.set()
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), world) as log:
        assert [log.append(b"entry %d" % i).index for i in range(3)] == [0, 1, 2]
        assert world.synced == [HERE] * 3
        assert log.size == 3


def test_what_comes_while_it_syncs_has_the_next_commits_synced_beside_it(tmp_path: Path) -> None:
    world = Threads()
    with logs.open_store(logs.new_memory(), tmp_path, logs.config(), world) as log:
        first = log.submit(b"held while it is synced")
        assert world.held.wait(60)
        second = log.submit(b"could have been hashed meanwhile")
        assert not first.done()
        assert log.size == 0
        world.gate.set()
        assert (first.result(60).index, second.result(60).index) == (0, 1)
        for number in range(BESIDE - 1):
            log.append(b"%d" % number)
        assert world.synced == [HERE] + [BESIDE_IT] * BESIDE
        end = time.monotonic() + 60
        while (
            world.synced[-1] != HERE and time.monotonic() < end
        ):  # the syncer may not be quite done with one
            log.append(b"alone again")
        assert world.synced[-1] == HERE
