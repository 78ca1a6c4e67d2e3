"""Which entries of a drained queue are new, and which index every entry gets.

Runs in the sequencer's thread, before anything is written. Idempotency keys come first (the same bytes again: the
same indexes; other bytes: that one append is refused), then, where the log asks for it, exact dedupe by identity.
A log that uses neither pays one slice a request.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from merklelog.errors import ConflictError
from merklelog.formats import LENGTHS
from merklelog.protocol.commit import Checkpointed, Commit, split_segments
from merklelog.tree import Growth, Hash, leaf_hashes

from .head import Head
from .request import Request

DAY = 86_400
FINGERPRINT_BYTES = 32


@dataclass(slots=True)
class Plan:
    """What a commit is made of: the new entries in index order with their leaf hashes, and what to note beside."""

    first: int
    entries: list[bytes] = field(default_factory=list)
    hashes: list[Hash] = field(default_factory=list)
    identities: list[tuple[int, bytes]] = field(default_factory=list)
    remember: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Known:
    """What the planner may ask of the log.

    `duplicates` maps positions of the given 32-byte identities to the index of the entry that already has it,
    exactly; None when the log keeps duplicates. `leaf` is the leaf hash of an entry already in the log.
    `remembered` is the row of an idempotency key.
    """

    remembered: Callable[[bytes], bytes | None]
    leaf: Callable[[int], Hash]
    duplicates: Callable[[Sequence[bytes]], dict[int, int]] | None


def plan(requests: list[Request], first: int, now: int, keep_seconds: int, known: Known) -> Plan:
    """Give every request its indexes and leaf hashes, or its error; returns what has to be committed."""
    made = Plan(first)
    if known.duplicates is None and all(r.key is None and r.keys is None for r in requests):
        _place_all_new(requests, made)
        return made
    planner = _Planner(made, now, keep_seconds, known)
    if planner.look_up(requests):
        planner.place_new(requests)
        return made
    for request in requests:
        planner.take(request)
    return made


def _place_all_new(requests: list[Request], made: Plan) -> None:
    """All at once: a call a request would cost as much as its hash, where each has one entry."""
    if len(requests) == 1:
        made.entries = requests[0].entries
    else:
        made.entries = [entry for request in requests for entry in request.entries]
    made.hashes = leaf_hashes(made.entries)
    start = 0
    for request in requests:
        end = start + len(request.entries)
        request.first = made.first + start
        request.hashes = made.hashes[start:end]
        start = end


class _Planner:
    """The thorough way, one request after the other, so that a repeat within the drained queue is seen too."""

    def __init__(self, made: Plan, now: int, keep_seconds: int, known: Known) -> None:
        self.made = made
        self.now = now
        self.oldest = now - keep_seconds
        self.known = known
        # Identities of this plan's own entries: the store and the index do not know them yet.
        self.fresh: dict[bytes, int] = {}
        # Identities of the drained queue that the log has: asked once for all, since a question costs as much
        # for one identity as for a hundred.
        self.old: dict[bytes, int] = {}

    def look_up(self, requests: list[Request]) -> bool:
        """Hash, and ask the log. True: none has a key, and no identity is in the log or here twice."""
        asked: list[bytes] = []
        for request in requests:
            request.hashes = leaf_hashes(request.entries)
            asked.extend(_identities(request))
        if self.known.duplicates is None:
            return False
        self.old = {asked[at]: index for at, index in self.known.duplicates(asked).items()}
        keyless = all(request.key is None and request.keys is None for request in requests)
        return keyless and not self.old and len(set(asked)) == len(asked)

    def place_new(self, requests: list[Request]) -> None:
        """The usual end: nothing to be looked at one by one."""
        for request in requests:
            request.first = self._append(request.entries, request.hashes)
            self._note_given(request.identities, request.first)

    def take(self, request: Request) -> None:
        try:
            done = self._repeated(request)
        except ConflictError as error:
            request.error = error
            return
        if done is not None and None not in done:
            request.indexes = [index for index in done if index is not None]
            request.hashes = [self._leaf(index) for index in request.indexes]
            return
        self._place(request, done)
        self._note(request)

    def _repeated(self, request: Request) -> list[int | None] | None:
        """The indexes that idempotency keys already name; None when no key of the request is known."""
        if request.key is not None:
            row = self._row(request.key)
            return None if row is None else list(_same(row, request.entries))
        if request.keys is None:
            return None
        found: list[int | None] = []
        for key, entry in zip(request.keys, request.entries, strict=True):
            row = None if key is None else self._row(key)
            found.append(None if row is None else _same(row, [entry])[0])
        self._refuse_clash(request)
        return found if any(index is not None for index in found) else None

    def _refuse_clash(self, request: Request) -> None:
        """One key twice in one batch must mean the same bytes twice."""
        seen: dict[bytes, bytes] = {}
        for position, (key, entry) in enumerate(zip(request.keys or (), request.entries, strict=True)):
            if key is not None and seen.setdefault(key, entry) != entry:
                raise ConflictError(
                    f"entry {position} of the batch repeats an idempotency key with other bytes"
                )

    def _row(self, key: bytes) -> bytes | None:
        row = self.made.remember.get(key) or self.known.remembered(key)
        return row if row is not None and int.from_bytes(row[:8], "big") >= self.oldest else None

    def _place(self, request: Request, done: list[int | None] | None) -> None:
        hashes = request.hashes
        if self.known.duplicates is None and done is None and request.keys is None:
            request.first = self._append(request.entries, hashes)
            return
        identities = _identities(request)
        if done is None and request.keys is None and self._all_fresh(identities):
            request.first = self._append(request.entries, hashes)
            self.fresh.update(zip(identities, itertools.count(request.first)))
            self._note_given(request.identities, request.first)
            return
        given = request.identities or [None] * len(hashes)
        indexes = []
        by_key: dict[bytes, int] = {}
        for position, identity in enumerate(identities):
            index = done[position] if done is not None else None
            key = request.keys[position] if request.keys is not None else None
            if index is None and key is not None:
                index = by_key.get(key)
            if index is None:
                index = self.old.get(identity)
            if index is None and self.known.duplicates is not None:
                index = self.fresh.get(identity)
            if index is None:
                index = self._append([request.entries[position]], [hashes[position]])
                self._fresh(identity, given[position], index)
            if key is not None:
                by_key[key] = index
            indexes.append(index)
        request.indexes = indexes
        request.hashes = [self._leaf(index) for index in indexes]

    def _all_fresh(self, identities: Sequence[bytes]) -> bool:
        """None of these stands in the log or in this plan, or twice among themselves."""
        if len(set(identities)) != len(identities):
            return False
        return self.old.keys().isdisjoint(identities) and self.fresh.keys().isdisjoint(identities)

    def _note_given(self, given: Sequence[bytes | None] | None, first: int) -> None:
        if given is not None:
            own = ((index, identity) for index, identity in enumerate(given, first) if identity is not None)
            self.made.identities.extend(own)

    def _append(self, entries: list[bytes], hashes: list[Hash]) -> int:
        first = self.made.first + len(self.made.entries)
        self.made.entries.extend(entries)
        self.made.hashes.extend(hashes)
        return first

    def _fresh(self, identity: bytes, own: bytes | None, index: int) -> None:
        self.fresh[identity] = index
        if own is not None:
            self.made.identities.append((index, own))

    def _leaf(self, index: int) -> Hash:
        """The leaf hash of an entry, in the log or in this plan."""
        return (
            self.made.hashes[index - self.made.first] if index >= self.made.first else self.known.leaf(index)
        )

    def _note(self, request: Request) -> None:
        if request.key is None and request.keys is None:
            return
        indexes = request.indexes or range(request.first, request.first + len(request.hashes))
        if request.key is not None:
            self.made.remember[request.key] = format_row(self.now, request.entries, indexes)
        for key, entry, index in zip(request.keys or (), request.entries, indexes, strict=False):
            if key is not None and self._row(key) is None:
                self.made.remember[key] = format_row(self.now, [entry], [index])


def _identities(request: Request) -> Sequence[bytes]:
    """What each entry is told apart by: the identity given with it, else its leaf hash."""
    if request.identities is None:
        return request.hashes
    return [own or leaf for own, leaf in zip(request.identities, request.hashes, strict=True)]


def format_row(now: int, entries: Sequence[bytes], indexes: Sequence[int]) -> bytes:
    """An idempotency row: time (8 bytes, seconds), fingerprint of the entries (32), then runs of indexes as
    (first, count) of 8 and 4 bytes, all big endian.
    """
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][0] + runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    packed = b"".join(first.to_bytes(8, "big") + count.to_bytes(4, "big") for first, count in runs)
    return now.to_bytes(8, "big") + _fingerprint(entries) + packed


def _same(row: bytes, entries: Sequence[bytes]) -> list[int]:
    """The row's indexes. Raises ConflictError when it was made for other bytes."""
    if row[8 : 8 + FINGERPRINT_BYTES] != _fingerprint(entries):
        raise ConflictError("this idempotency key was used before with other bytes")
    indexes: list[int] = []
    for at in range(8 + FINGERPRINT_BYTES, len(row), 12):
        first, count = int.from_bytes(row[at : at + 8], "big"), int.from_bytes(row[at + 8 : at + 12], "big")
        indexes.extend(range(first, first + count))
    return indexes


def _fingerprint(entries: Sequence[bytes]) -> bytes:
    """BLAKE3 over the entries, each behind its length, so that no two lists of entries look alike."""
    hasher = blake3()
    for entry in entries:
        hasher.update(len(entry).to_bytes(4, "big"))
        hasher.update(entry)
    return hasher.digest()


def commit_of(made: Plan, growth: Growth, head: Head, before: Head, *, keep: bool = False) -> Commit:
    """What a store has to write for a plan, the tree's growth by it, and the head that signs it.

    With `keep` the head's checkpoint is filed under its size.
    """
    lengths = [LENGTHS[len(entry)] for entry in made.entries]
    framed: list[bytes] = [b""] * (2 * len(lengths))
    framed[::2] = lengths
    framed[1::2] = made.entries
    return Commit(
        checkpoint=Checkpointed(head.size, head.note, keep=keep) if head is not before else None,
        segments=split_segments(made.first, framed),
        growth=growth,
        identities=tuple(made.identities),
        remember=tuple(made.remember.items()),
    )
