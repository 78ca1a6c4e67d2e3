"""What a log must answer, as plainly as it can be said: a list of entries and two dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from .checker import Rehashed

DAY = 86_400


class Conflict(Exception):
    """The model's own word for an idempotency key used with other bytes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One append, or a batch. `key` is for all of it, `keys` and `identities` are one for each entry."""

    entries: tuple[bytes, ...]
    identities: tuple[bytes | None, ...] | None = None
    key: bytes | None = None
    keys: tuple[bytes | None, ...] | None = None
    submitter: str = ""


@dataclass(slots=True)
class Model:
    """A log as the design describes it, without any of what makes it fast or durable."""

    dedupe: bool = False
    days: int = 30
    entries: list[bytes] = field(default_factory=list)
    first: dict[bytes, int] = field(default_factory=dict)
    rows: dict[tuple[str, bytes], tuple[int, tuple[bytes, ...], tuple[int, ...]]] = field(
        default_factory=dict
    )

    def append(self, asked: Asked, now: int) -> list[int]:
        """The index of each entry. Raises Conflict, and then nothing is changed."""
        if asked.key is not None:
            known = self._row(asked.submitter, asked.key, asked.entries, now)
            if known is not None:
                return list(known)
        keys = asked.keys or (None,) * len(asked.entries)
        answered = [
            None if key is None else self._row(asked.submitter, key, (entry,), now)
            for key, entry in zip(keys, asked.entries, strict=True)
        ]
        bytes_of: dict[bytes, bytes] = {}
        for key, entry in zip(keys, asked.entries, strict=True):
            if key is not None and bytes_of.setdefault(key, entry) != entry:
                raise Conflict
        indexes: list[int] = []
        for position, entry in enumerate(asked.entries):
            known = answered[position]
            key = keys[position]
            if known is None and key is not None and key in keys[:position]:
                known = (indexes[keys.index(key)],)
            index = known[0] if known is not None else self._place(entry, self._identity(asked, position))
            indexes.append(index)
            if key is not None and answered[position] is None:
                self.rows.setdefault((asked.submitter, key), (now, (entry,), (index,)))
                if self.rows[asked.submitter, key][0] < now - self.days * DAY:
                    self.rows[asked.submitter, key] = (now, (entry,), (index,))
        if asked.key is not None:
            self.rows[asked.submitter, asked.key] = (now, asked.entries, tuple(indexes))
        return indexes

    def _row(
        self, submitter: str, key: bytes, entries: tuple[bytes, ...], now: int
    ) -> tuple[int, ...] | None:
        row = self.rows.get((submitter, key))
        if row is None or row[0] < now - self.days * DAY:
            return None
        if row[1] != entries:
            raise Conflict
        return row[2]

    def _identity(self, asked: Asked, position: int) -> bytes:
        own = asked.identities[position] if asked.identities is not None else None
        return own if own is not None else sha256(b"\0" + asked.entries[position]).digest()

    def _place(self, entry: bytes, identity: bytes) -> int:
        if self.dedupe and identity in self.first:
            return self.first[identity]
        self.entries.append(entry)
        self.first.setdefault(identity, len(self.entries) - 1)
        return len(self.entries) - 1

    def grew(self, entries: Sequence[bytes]) -> None:
        """Plain entries that turned out to be stored."""
        for entry in entries:
            self._place(entry, sha256(b"\0" + entry).digest())

    def tree(self) -> Rehashed:
        """The tree over all entries."""
        return Rehashed(self.entries)
