"""Partitions: the published entries once more, as compressed JSON lines by the time of their publication.

For analysts, beside the tiles (`partitions_layout`: names; `partitions_lines`: lines). A period's files are
written when it is over, from what was under the target's `checkpoint` by then, and never change: they carry the
retention of full tiles. The time of an entry is that of its publication, for the log itself keeps no other.

What keeps a locked file from being written twice, with other entries or under another hour, is the target's
`partitions.json`: before the first file of a period is put, its range and its period are written down there by
compare-and-swap, so that whoever goes on (after a crash, or as the next writer) writes the same bytes under the
same names. Everything in a file is under a checkpoint that readers have seen, so a writer that was fenced
meanwhile can write nothing else either.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from merklelog.errors import DamagedError, FormatError, FormatVersionError, NotALogError, NotFoundError
from merklelog.formats.wire import quote
from merklelog.publish.encoding import compress
from merklelog.publish.objects import NewObject, ObjectStore
from merklelog.publish.partitions_layout import (
    MAX_STATE_BYTES,
    PART_KIND,
    STATE_KEY,
    STATE_KIND,
    Closing,
    Part,
    Partitioning,
    PartitionState,
    format_state,
    parse_state,
    period_at,
)
from merklelog.publish.partitions_lines import MAX_BYTES, MAX_ENTRIES, format_lines
from merklelog.publish.source import TileReads
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import Hash
from merklelog.tree.prove import root_hash
from merklelog.tree.tiles import TILE_WIDTH


class PartitionWriter:
    """Writes the partitions of one target. Not safe for threads: its owner is the publisher.

    `origin` is the log's. Errors are those of the store, and DamagedError, FormatVersionError and NotALogError
    for a `partitions.json` that is damaged, of a newer version, or of another log. Every call may be repeated.
    """

    def __init__(self, store: ObjectStore, every: Partitioning, origin: str) -> None:
        self._store = store
        self._every = every
        self._origin = origin
        self._state: PartitionState | None = None
        self._version: str | None = None

    def due(self, now: int, size: int) -> bool:
        """Whether `run` would write files: asked while nothing is published, and answered without a request.

        `now` is a POSIX time, `size` what the target's `checkpoint` shows.
        """
        state = self._state
        if self._every is Partitioning.NONE or state is None:
            return False
        return state.closing is not None or (state.end < size and self._is_over(state, now))

    def run(self, now: int, shown: tuple[int, Hash], tiles: TileReads) -> int:
        """Write the files of a period that is over; gives how many objects were created.

        To be called before the target's `checkpoint` moves on from `shown` (its size and root): what is
        published next belongs to the period of `now`, and what is there already to the one before. `tiles` are
        those of a tree that `shown` is a prefix of; each entry is verified against its root.
        """
        if self._every is Partitioning.NONE:
            return 0
        created = 0
        while True:
            state = self._state or self._load()
            if state is None:
                self._swap(PartitionState(self._origin, 0, period_at(self._every, now)))
            elif (state.closing.end if state.closing else state.end) > shown[0]:
                return created  # of another writer that is ahead of this one
            elif state.closing is not None:
                created += self._write(state.end, state.closing, shown, tiles)
                self._swap(msgspec.structs.replace(state, end=state.closing.end, closing=None))
            elif not self._is_over(state, now):
                return created
            else:
                closing = Closing(state.open, shown[0]) if state.end < shown[0] else None
                opened = period_at(self._every, now)
                self._swap(msgspec.structs.replace(state, open=opened, closing=closing))

    def _is_over(self, state: PartitionState, now: int) -> bool:
        # A clock that was set back opens no period again: files of one period would stand among those of others.
        return now >= state.open.end or state.open.every is not self._every

    def _load(self) -> PartitionState | None:
        name = f"{self._store.location}/{STATE_KEY}"
        try:
            found = self._store.get(STATE_KEY, limit=MAX_STATE_BYTES)
            state = parse_state(found.data)
        except NotFoundError:
            self._state = self._version = None
            return None
        except FormatVersionError as error:
            raise FormatVersionError(f"{name}: {error}") from None
        except FormatError as error:
            raise DamagedError(f"{name}: {error}") from error
        if state.origin != self._origin:
            raise NotALogError(f"{name}: partitions of {quote(state.origin)}, want {quote(self._origin)}")
        self._state, self._version = state, found.version
        return state

    def _swap(self, state: PartitionState) -> None:
        """Write the state down, unless somebody else wrote another one: then it is read again."""
        try:
            version = self._store.put_if_version(STATE_KEY, format_state(state), self._version, STATE_KIND)
        except BaseException:
            self._state = None  # it may have been stored: read before the next step
            raise
        self._state, self._version = (None, None) if version is None else (state, version)

    def _write(self, start: int, closing: Closing, shown: tuple[int, Hash], tiles: TileReads) -> int:
        verified = VerifiedTiles(tiles, *shown)
        return self._store.put_many(_objects(verified, start, closing))


def _objects(tiles: VerifiedTiles, start: int, closing: Closing) -> Iterator[NewObject]:
    for first, entries in _parts(tiles, start, closing.end):
        end = first + len(entries)
        part = Part(closing.period, first, end, root_hash(end, tiles.read))
        yield NewObject(part.key, compress(format_lines(first, entries)), PART_KIND)


def _parts(tiles: VerifiedTiles, start: int, end: int) -> Iterator[tuple[int, list[bytes]]]:
    """The entries [start, end), cut into files: always in the same places, for their names have to be the same."""
    first, taken, size = start, list[bytes](), 0
    for bundle in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
        base = bundle * TILE_WIDTH
        for entry in tiles.entries(bundle)[max(0, start - base) : end - base]:
            if taken and (len(taken) == MAX_ENTRIES or size + len(entry) > MAX_BYTES):
                yield first, taken
                first, taken, size = first + len(taken), [], 0
            taken.append(entry)
            size += len(entry)
    if taken:
        yield first, taken


__all__ = ["PartitionWriter", "Partitioning"]
