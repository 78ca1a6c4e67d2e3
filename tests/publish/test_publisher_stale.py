"""A store that loses read-after-write: any read may show it as it was some writes ago.

Only its conditional writes are what they should be, and they are all that a publication stands on: a writer may
have to come again, an old disk may have to be told more than once, and nothing is ever signed or locked beside.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import WrittenOnce
from publication_path import Path as ModelPath
from publication_path import look
from published_log import DiskLog
from publisher_tools import CALLS, drain, dump, insist, publisher, shown

from merklelog.errors import BehindError, DamagedError, UnreachableError
from merklelog.publish.memory import MemoryStore

LIVES = 24


class Stale(MemoryStore):
    """Reads show what was there up to `late` writes ago, by chance; 0: what is there."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.late = 0
        self.stale_reads = 0
        self.shown: dict[str, Any] | None = None  # all that any read shows
        self._chance = random.Random(seed)
        self._past: list[dict[str, Any]] = [{}]

    def _before(self) -> MemoryStore:
        if self.objects != self._past[-1]:
            self._past.append(dict(self.objects))
        back = self._chance.randint(0, min(self.late, len(self._past) - 1))
        self.stale_reads += back > 0
        seen = MemoryStore()
        seen.objects = self._past[-1 - back] if self.shown is None else self.shown
        return seen

    def get(self, key: str, **limits: int) -> Any:
        return self._before().get(key, **limits)

    def stat(self, key: str) -> Any:
        return self._before().stat(key)

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        return self._before().list_keys(prefix)

    def put_immutable(self, key: str, data: bytes, kind: Any = None) -> bool:
        self._before()  # each write is one that a read may not see yet
        return super().put_immutable(key, data, kind)

    def put_if_version(self, key: str, data: bytes, expected: str | None, kind: Any = None) -> str | None:
        self._before()
        return super().put_if_version(key, data, expected, kind)


class Life:
    """A log on such a store; each step it logs is one of the model."""

    def __init__(self, seed: int) -> None:
        self.target = Stale(seed)
        self.kept = WrittenOnce(self.target)
        self.log = DiskLog().grow(seed + 1)
        told = self.log.told
        self.path = ModelPath(self._look, told.entries)
        self.path.disk(0, self._entries())

    def _look(self) -> Any:
        told, late = self.log.told, self.target.late
        self.target.late = 0
        try:
            return look(self.target, told.entries, told.signed)
        finally:
            self.target.late = late

    def _entries(self) -> tuple[str, ...]:
        return self.log.told.entries[self.log.integrated().root]

    def start(self) -> None:
        """What reads show may make a start refuse; started again, it goes on."""
        for _ in range(CALLS):
            self.made = publisher(self.log, self.kept, step=lambda step: self.path.passed(0, step))
            try:
                self.made.start()
            except (UnreachableError, DamagedError):
                self.path.quietly(0)
                self.path.crashed(0)
            else:
                return
        raise AssertionError(f"{CALLS} starts, and none came through")

    def grow(self, count: int) -> None:
        self.log.grow(count)
        self.path.appended(0, self._entries())


def refuses(target: Stale, kept: Any, old: DiskLog, then: dict[str, Any]) -> None:
    """An old disk that is shown the target as it was then: it never has an epoch, nor signs, nor locks."""
    signed, locked = dict(old.notes), dict(kept.locked)
    target.shown = then
    with pytest.raises(UnreachableError, match="the store shows an older state than it has"):
        publisher(old, kept).start()
    target.shown, target.late = None, 0
    with pytest.raises(BehindError):
        insist(publisher(old, kept).start)
    assert (old.notes, kept.locked) == (signed, locked)


def test_nothing_is_signed_beside_what_reads_do_not_show(check: ModuleType, tmp_path: Path) -> None:
    for seed in range(LIVES):
        life = Life(seed)
        life.start()
        insist(lambda life=life: drain(life.made))
        old, then = life.log.copy(), dict(life.target.objects)
        life.target.late = 6
        for count in (300, 1, 40):
            life.grow(count)
            insist(lambda life=life: drain(life.made))
        life.path.crashed(0)
        life.path.disk(0, life._entries())
        life.start()
        life.grow(200)
        insist(lambda life=life: drain(life.made))
        assert life.target.stale_reads > 3
        refuses(life.target, life.kept, old, then)
        life.grow(1)
        drain(life.made)
        entries = life.log.entries
        assert shown(life.target, life.log.verifiers) == len(entries) == seed + 543
        by_size = {head.size: head.root for head in life.log.told.signed}
        assert all(head.root == by_size[head.size] for head in life.log.told.signed)
        check.complete(dump(life.target, tmp_path / str(seed)), life.log.verifiers, entries)
