"""Partitions: the published entries once more, as compressed JSON lines by the time of their publication.

For analysts, beside the tiles (`partitions_layout`: names; `partitions_lines`: lines). A period's files are
written when it is over, from what was under the target's `checkpoint` by then, and never change: they carry the
retention of full tiles. The time of an entry is that of its publication, for the log itself keeps no other.

What keeps a locked file from being written twice, with other entries or under another hour, is the target's
`partitions.json`: before the first file of a period is put, its range and its period are written down there by
compare-and-swap, so that whoever goes on (after a crash, or as the next writer) writes the same bytes under the
same names. Everything in a file is under a checkpoint that readers have seen, so a writer that was fenced
meanwhile can write nothing else either. After each file `end` moves past it, so that no file is made twice but the
one that was under way; where the next one ends follows from where it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from merklelog.errors import (
    DamagedError,
    FormatError,
    FormatVersionError,
    NotALogError,
    NotFoundError,
    UnreachableError,
)
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

_ATTEMPTS: Final = 8
_FILES: Final = 1  # of one call: what one waits for who publishes beside


class PartitionWriter:
    """Writes the partitions of one target. Not safe for threads: its owner is the publisher.

    `origin` is the log's. Errors are those of the store, and DamagedError, FormatVersionError and NotALogError
    for a `partitions.json` that is damaged, of a newer version, or of another log; UnreachableError also where
    that object moves on each time that it is written. Every call may be repeated.
    """

    def __init__(self, store: ObjectStore, every: Partitioning, origin: str) -> None:
        self._store = store
        self._every = every
        self._origin = origin
        self._state: PartitionState | None = None
        self._version: str | None = None

    def due(self, now: int, size: int) -> bool:
        """Whether `run` would write files: asked while nothing is published, and answered without a request.

        True also while it is not known, before `run` has read what is there. `now` is a POSIX time, `size` what
        the target's `checkpoint` shows.
        """
        state = self._state
        if self._every is Partitioning.NONE or state is None:
            return self._every is not Partitioning.NONE
        return state.closing is not None or (state.end < size and self._is_over(state, now))

    def run(self, now: int, shown: tuple[int, Hash], tiles: TileReads) -> int:
        """Write the next file of a period that is over; gives how many objects were created.

        `now` is when the target's `checkpoint` moved on from `shown` (its size and root), or will: what is
        published next belongs to the period of `now`, and what is there already to the one before. `tiles` are
        those of a tree that `shown` is a prefix of; each entry is verified against its root. There is more to
        write while `due` says so.
        """
        if self._every is Partitioning.NONE:
            return 0
        created, files, lost = 0, 0, 0
        while lost < _ATTEMPTS:
            state = self._state or self._load()
            if state is None:
                lost += not self._swap(PartitionState(self._origin, 0, period_at(self._every, now)))
            elif (state.closing.end if state.closing else state.end) > shown[0]:
                return created  # of another writer that is ahead of this one
            elif state.closing is not None:
                if files == _FILES:
                    return created
                end, made = self._write(state.end, state.closing, shown, tiles)
                files, created = files + 1, created + made
                closing = state.closing if end < state.closing.end else None
                lost += not self._swap(msgspec.structs.replace(state, end=end, closing=closing))
            elif not self._is_over(state, now):
                return created
            else:
                closing = Closing(state.open, shown[0]) if state.end < shown[0] else None
                opened = period_at(self._every, now)
                lost += not self._swap(msgspec.structs.replace(state, open=opened, closing=closing))
        raise UnreachableError(
            f"{self._store.location}/{STATE_KEY}: {lost} times it was not what was read: others write there, or "
            "the store shows an older state than it has"
        )

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

    def _swap(self, state: PartitionState) -> bool:
        """Write the state down; False: somebody else wrote another one, and it is to be read again."""
        try:
            version = self._store.put_if_version(STATE_KEY, format_state(state), self._version, STATE_KIND)
        except BaseException:
            self._state = None  # it may have been stored: read before the next step
            raise
        self._state, self._version = (None, None) if version is None else (state, version)
        return version is not None

    def _write(
        self, start: int, closing: Closing, shown: tuple[int, Hash], tiles: TileReads
    ) -> tuple[int, int]:
        """Write the file that begins with entry `start`; where it ends, and how many objects were created."""
        verified = VerifiedTiles(tiles, *shown)
        entries = next(_parts(verified, start, closing.end), (start, []))[1]
        if not entries:
            return closing.end, 0
        end = start + len(entries)
        part = Part(closing.period, start, end, root_hash(end, verified.read))
        new = NewObject(part.key, compress(format_lines(start, entries)), PART_KIND)
        return end, self._store.put_many([new])


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
