"""One commit of the log, as plain data: what the sequencer decided and a store writes in one atomic batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from merklelog.tree import Growth

ENTRIES_A_BUNDLE = 256


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The note of the newest head to store (a checkpoint, or the receipt of a log with publish targets), and the
    size it is for. The newest is always kept; `keep` also files it under its size, where it stays.
    """

    size: int
    note: bytes
    keep: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one commit changes.

    `segments` are (index of the first entry, entries framed as in an entry bundle); none crosses a bundle.
    `identities` are (index, 32 bytes) of the entries that came with an identity of their own.
    `remember` are rows for idempotency keys, `forget` the keys of rows whose time is over.

    Of a log with publish targets: `filed` is a checkpoint to file under its size and nowhere else, `published` the
    checkpoint that readers are shown from now on, `epoch` the row of the epoch that begins.

    Of a log with witnesses: `witnessed` is the newest checkpoint with the cosignatures of a quorum, and `held`
    says whether `published` counts though there are no targets: see StoreReader.held.
    """

    checkpoint: Checkpointed | None = None
    segments: tuple[tuple[int, bytes], ...] = ()
    growth: Growth = field(default_factory=lambda: Growth((), ()))
    identities: tuple[tuple[int, bytes], ...] = ()
    remember: tuple[tuple[bytes, bytes], ...] = ()
    forget: tuple[bytes, ...] = ()
    filed: tuple[int, bytes] | None = None
    published: bytes | None = None
    epoch: bytes | None = None
    witnessed: bytes | None = None
    held: bytes | None = None


def split_segments(first: int, framed: list[bytes]) -> tuple[tuple[int, bytes], ...]:
    """Cut entries into segments at bundle borders (c2sp.org/tlog-tiles, "Log entries").

    `first` is the index of the first entry; `framed` alternates length prefix and entry, two items each.
    """
    count = len(framed) // 2
    segments = []
    start = 0
    while start < count:
        end = min(count, start + ENTRIES_A_BUNDLE - (first + start) % ENTRIES_A_BUNDLE)
        segments.append((first + start, b"".join(framed[2 * start : 2 * end])))
        start = end
    return tuple(segments)
