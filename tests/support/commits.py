"""Commits as a sequencer makes them, and what any store must answer after a row of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from merklelog.protocol.commit import Checkpointed, Commit, split_segments
from merklelog.store import StoreReader
from merklelog.tree import Frontier, Growth, leaf_hashes

from .checker import Rehashed


def framed(entries: Sequence[bytes]) -> list[bytes]:
    """Length and bytes of each entry, as `split_segments` takes them."""
    return [part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)]


def row(time: int, text: bytes = b"") -> bytes:
    """An idempotency row, as far as a store looks into it: its time."""
    return time.to_bytes(8, "big") + sha256(text).digest()


def key(number: int) -> bytes:
    """The 32 bytes of an idempotency key, or of an identity."""
    return sha256(b"key %d" % number).digest()


@dataclass(slots=True)
class Maker:
    """Makes commits one after the other, and keeps what they come to."""

    frontier: Frontier = field(default_factory=Frontier)
    entries: list[bytes] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    identities: dict[int, bytes] = field(default_factory=dict)
    remembered: dict[bytes, bytes] = field(default_factory=dict)
    kept: dict[int, bytes] = field(default_factory=dict)
    newest: bytes | None = None
    count: int = 0

    def commit(
        self,
        entries: Sequence[bytes] = (),
        *,
        own: Sequence[int] = (),
        remember: Sequence[tuple[bytes, bytes]] = (),
        forget: Sequence[bytes] = (),
        keep: bool | None = None,
    ) -> Commit:
        """One commit. `own` are positions of entries with an identity of their own; `keep` None: no checkpoint."""
        first = len(self.entries)
        self.count += 1
        self.entries += entries
        segments = split_segments(first, framed(entries))
        self.cuts += [start for start, _ in segments]
        given = {first + at: key(1000 * self.count + at) for at in own}
        self.identities |= given
        self.remembered |= dict(remember)
        for each in forget:
            self.remembered.pop(each, None)
        checkpoint = None
        if keep is not None:
            size = len(self.entries)
            checkpoint = Checkpointed(size, b"note %d of size %d" % (self.count, size), keep)
            self.newest = checkpoint.note
            if keep:
                self.kept[size] = checkpoint.note
        growth = self.frontier.extend(leaf_hashes(entries)) if entries else Growth((), ())
        return Commit(
            checkpoint=checkpoint,
            segments=segments,
            growth=growth,
            identities=tuple(given.items()),
            remember=tuple(remember),
            forget=tuple(forget),
        )

    def check(self, store: StoreReader) -> None:
        """Assert that a store says exactly this."""
        size = len(self.entries)
        assert store.newest() == self.newest
        assert list(store.stored_sizes()) == sorted(self.kept, reverse=True)
        for each in (*self.kept, size + 1, 2**40):
            assert store.checkpoint(each) == self.kept.get(each)
        self.check_segments(store, 0, size)
        self.check_tiles(store)
        assert list(store.identities(0, size + 1)) == sorted(self.identities.items())
        for index in {*self.identities, 0, max(0, size - 1), size}:
            assert store.identity(index) == self.identities.get(index)
        for name in {*self.remembered, key(-1)}:
            assert store.remembered(name) == self.remembered.get(name)
        self.check_remembered_before(store)

    def check_segments(self, store: StoreReader, start: int, end: int) -> None:
        """The segments that hold [start, end), cut as they were written."""
        if start >= end:
            return
        got = list(store.segments(start, end))
        cuts = sorted(self.cuts)
        begin = max(cut for cut in cuts if cut <= start)
        want = [cut for cut in cuts if begin <= cut < end]
        assert [first for first, _ in got] == want
        for first, data in got:
            after = min((cut for cut in cuts if cut > first), default=len(self.entries))
            assert data == b"".join(framed(self.entries[first:after]))
            assert first // 256 == (after - 1) // 256, "a segment crosses a bundle"

    def check_tiles(self, store: StoreReader) -> None:
        """Every full tile with its inner hashes, every partial one; nothing where there is none."""
        tree = Rehashed(self.entries)
        size = len(self.entries)
        for level in range(4):
            count = size >> 8 * level
            for index in range(count >> 8):
                assert store.tile(level, index) == tree.tile(level, index, 256)
                assert store.nodes(level, index) == tree.inner(level, index)
            assert store.tile(level, count >> 8) is None
            assert store.nodes(level, count >> 8) is None
            rest = count & 255
            assert store.edge(level, count >> 8) == (tree.tile(level, count >> 8, rest) if rest else b"")

    def check_remembered_before(self, store: StoreReader) -> None:
        """Rows by time, oldest first, and never one that was written anew since."""
        rows = [(int.from_bytes(value[:8], "big"), each) for each, value in self.remembered.items()]
        for time in {0, 2**62, *(made for made, _ in rows), *(made + 1 for made, _ in rows)}:
            want = {each: made for made, each in rows if made < time}
            got = store.remembered_before(time, 10_000)
            assert len(got) == len(set(got))
            assert set(got) == set(want)
            assert [want[each] for each in got] == sorted(want.values())
            assert len(store.remembered_before(time, 2)) == min(2, len(want))
