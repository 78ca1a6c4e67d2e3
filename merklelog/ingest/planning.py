"""What of a submission goes to the log next, and as which entries. No lock and no log: what is known is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .canonical import record_identity
from .entry import MAX_ENTRY_BYTES, LogPart, encode_log_part
from .placed import Placed
from .ready import Special
from .repeats import Found
from .split import part_identity, split_entry
from .submission import OVERHEAD, Batch, Submission


class Planner:
    """Makes batches of about `most` bytes; `dedupes` says that the log wants identities."""

    def __init__(self, most: int, *, dedupes: bool) -> None:
        self._most = most
        self._dedupes = dedupes

    def some(self, submission: Submission) -> Sequence[int]:
        """What of a submission the next batch is made of: as much as would fill it, were all of it new."""
        todo, size = submission.todo, 0
        if submission.size > self._most:
            for count, position in enumerate(todo):
                size += len(submission.records.data[position])
                if size > self._most and count:
                    return todo[:count]
        return todo

    def plain(self, submission: Submission, time_ns: int) -> Batch | None:
        """All of a submission as one batch, where nothing of it is special and it is not too much."""
        todo, data = submission.todo, submission.records.data
        if submission.records.specials or self._dedupes or not data or len(todo) != len(data):
            return None
        batch = Batch(time_ns, positions=todo)
        before, after = _around(LogPart(batch.time_ns, submission.submitter))
        batch.entries = [before + each + after for each in data]
        sizes = list(map(len, batch.entries))
        batch.size = sum(sizes) + OVERHEAD * len(sizes)
        return batch if max(sizes) <= MAX_ENTRY_BYTES and batch.size <= self._most else None

    def plan(
        self,
        submission: Submission,
        some: Sequence[int],
        time_ns: int,
        flight: Mapping[bytes, Batch],
        found: Mapping[int, Found],
    ) -> Batch:
        """The next batch of a submission, of `some`; where it has no entries, it may have one to wait for.

        `flight` is who is on the way, by key; `found` what the log has, by position.
        """
        batch = Batch(time_ns)
        todo, specials = submission.todo, submission.records.specials
        positions: list[int] = []
        batch.positions = positions
        plain = LogPart(batch.time_ns, submission.submitter)
        around = _around(plain)
        forms: dict[object, tuple[LogPart, tuple[bytes, bytes]]] = {}  # what many entries say alike, by what
        later: list[int] = []
        mine: set[bytes] = set()
        done = 0
        for position in some:
            data, special = submission.records.data[position], specials.get(position)
            if batch.entries and batch.size + len(data) > self._most:
                break  # a very long record goes alone
            done += 1
            if special is None:
                positions.append(position)
                self._put(batch, position, data, plain, around)
                continue
            key, known = special.key, found.get(position)
            if key is not None and (key in flight or key in mine):
                batch.waits_for = flight.get(key, batch.waits_for)
                later.append(position)
                continue
            if known is not None and known.same:
                repeat = Placed(known.index, duplicate=True, verdict=special.content)
                submission.placed.put(position, repeat)
                batch.repeats += 1
                continue
            if known is not None:
                batch.conflicts[position] = known.index
            if key is not None:
                mine.add(key)
            positions.append(position)
            if known is not None:
                part = _part(plain, special, known.index)
                self._put(batch, position, data, part, _around(part))
                continue
            says = (special.content, special.protected, special.incomplete)
            form = forms.get(says)
            if form is None:
                part = _part(plain, special)
                form = forms[says] = part, _around(part)
            self._put(batch, position, data, *form)
        batch.keys = list(mine)
        batch.rest = [*later, *todo[done:]] if later else todo[done:]
        return batch

    def _put(
        self,
        batch: Batch,
        position: int,
        data: bytes,
        part: LogPart,
        around: tuple[bytes, bytes],
    ) -> None:
        before, after = around
        size = len(before) + len(data) + len(after)
        if size <= MAX_ENTRY_BYTES:
            batch.entries.append(before + data + after)
            batch.size += size + OVERHEAD
            count = 1
        else:
            entries = split_entry(part, data)
            count = batch.counts[position] = len(entries)
            batch.entries += entries
            batch.size += sum(map(len, entries)) + OVERHEAD * count
        if self._dedupes:
            identity = record_identity(data)
            batch.identities += [part_identity(identity, number) for number in range(count)]


def _part(plain: LogPart, special: Special, conflict_with: int | None = None) -> LogPart:
    """The log part of a record of which something is special."""
    return LogPart(plain.time, plain.submitter, special.verdicts(conflict_with), special.protected)


def _around(part: LogPart) -> tuple[bytes, bytes]:
    """What stands before and after a record in its entry, as `entry.encode_entry` has it."""
    return b'{"log":%s,"record":' % encode_log_part(part), b"}"


__all__ = ["Planner"]
