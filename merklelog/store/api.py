"""What the log asks of a store.

The contract, for every implementation:

Durability. `write` makes a commit visible to this store's own reads and orders it after all before; it is durable
only after a `sync` that began later returned. After a crash a store holds a prefix of the commits written, and at
least those synced. A commit is whole or absent.

Failure. Any error of `write` or `sync` leaves open what is on the disk: the caller must stop writing and open the
store anew, which brings back at least everything that was synced. Reads may go on. Errors are this project's own:
StorageFullError, StorageError, DamagedError.

Concurrency. `write` is called by one thread, `sync` by one other, reads by any number at any time, also while
either runs. Reads may see commits that are not durable; the log above bounds them by its durable size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from merklelog.protocol.commit import Commit


class StoreReader(Protocol):
    """The reading half."""

    def meta(self, name: str) -> bytes | None:
        """A value written when the log was made."""
        ...

    def newest(self) -> bytes | None:
        """The note of the newest head, a checkpoint or a receipt; None in a store that never saw one."""
        ...

    def published(self) -> bytes | None:
        """The checkpoint that readers are shown, of a log that has or had publish targets; else None."""
        ...

    def epoch(self) -> bytes | None:
        """The row of the newest epoch that this log began; None in one that never had a publish target."""
        ...

    def witnessed(self) -> bytes | None:
        """The newest checkpoint with the cosignatures of a quorum; None in a log that never had one."""
        ...

    def held(self) -> bytes | None:
        """b"1" where `published` is what readers are shown of a log without publish targets, which holds it until
        witnesses cosigned more; b"0" where it held once and does not any more; else None.
        """
        ...

    def checkpoint(self, size: int) -> bytes | None:
        """The checkpoint note kept under this size."""
        ...

    def stored_sizes(self) -> Iterator[int]:
        """Sizes of the kept checkpoints, largest first."""
        ...

    def segments(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The segments that hold entries of [start, end), in order; the first may begin before `start`."""
        ...

    def tile(self, level: int, index: int) -> bytes | None:
        """A full tile, 8,192 bytes; None while it is not full."""
        ...

    def nodes(self, level: int, index: int) -> bytes | None:
        """The inner hashes of heights 4 to 7 of a full tile, 960 bytes."""
        ...

    def edge(self, level: int, index: int) -> bytes:
        """The hashes of the unfinished tile of a level, joined; empty when it has none.

        Asked only of the tile at the right edge of the tree: the pieces of earlier ones are not kept.
        """
        ...

    def identity(self, index: int) -> bytes | None:
        """The 32-byte identity given with this entry; None when its identity is its leaf hash."""
        ...

    def identities(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """All given identities of entries in [start, end), in order."""
        ...

    def remembered(self, key: bytes) -> bytes | None:
        """The row of an idempotency key."""
        ...

    def remembered_before(self, time: int, limit: int) -> list[bytes]:
        """At most `limit` keys of rows remembered before this time (seconds since the epoch), oldest first."""
        ...

    def close(self) -> None:
        """Let go of everything; the store takes no call after it."""
        ...


class Store(StoreReader, Protocol):
    """Reading and writing."""

    def write(self, commit: Commit) -> None:
        """Write one commit: whole, ordered, not yet durable."""
        ...

    def sync(self) -> None:
        """Make every commit written before this call durable."""
        ...

    def settle(self) -> None:
        """Move what only the write-ahead log holds into sorted, compressed files; may take a second."""
        ...
