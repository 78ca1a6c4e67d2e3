"""The entries of a watched log, each verified and given to the caller's matcher, in order and none passed over.

How far it is is kept after what was found is kept, so an entry may be matched twice after a crash, and never not
at all. A matcher that fails is given the same entry again in the next round, until it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from merklelog.audit.monitor_files import Journal
from merklelog.audit.monitor_findings import MonitorKind, Observation, of_entry
from merklelog.audit.monitor_log import WatchedLog, trouble
from merklelog.audit.monitor_patterns import Matcher, Patterns
from merklelog.audit.monitor_statements import statements_in
from merklelog.audit.monitor_target import MonitoredTarget
from merklelog.client.source import Expectant
from merklelog.errors import MerklelogError
from merklelog.protocol import TrustedHead
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import TILE_HEIGHT, TILE_WIDTH

_KEEP_SECONDS: Final = 0.5
_KEEP_BYTES: Final = 4 << 20
_MATCHING: Final = "matcher"

Now = Callable[[], int]


class MatcherFailedError(Exception):
    """The caller's matcher raised, at the entry where reading goes on."""


class _EntryFailedError(Exception):
    """The matcher raised at the entry of that index."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"entry {index}: {type(error).__name__}: {error}; it is tried again")
        self.index = index


class SourceFailedError(Exception):
    """A target did not give what the tree has; `error` is its answer."""

    def __init__(self, error: MerklelogError) -> None:
        super().__init__(str(error))
        self.error = error


class EntryReader:
    """Reads one log's entries on from where it is. `entries` counts those that were read."""

    def __init__(self, log: WatchedLog, journal: Journal, matcher: Matcher | None, now: Now) -> None:
        self._log = log
        self._journal = journal
        self._matcher = matcher
        self._now = now
        self._found: list[bytes] = []
        self._bytes = 0
        self.entries = 0

    def read(self, seconds: float) -> list[Observation]:
        """Read for so long, or all there is; gives what was in the way. Raises StorageError and kin."""
        ends = time.monotonic() + seconds
        observed: list[Observation] = []
        for target in self._log.able():
            if not self._log.behind:
                break
            try:
                self._read_from(target, ends)
                break
            except MatcherFailedError as error:
                origin = self._log.origin
                observed.append(Observation(MonitorKind.MATCHER, origin, _MATCHING, str(error), mark=origin))
                break
            except SourceFailedError as failed:
                observed.append(trouble(self._log.origin, target.name, failed.error))
        return [*observed, *self._log.thawed()]

    def _read_from(self, target: MonitoredTarget, ends: float) -> None:
        """Read from one target."""
        log, trusted = self._log, self._log.trusted
        if trusted is None:
            return
        tiles = self._open(target, trusted)
        keep = time.monotonic() + _KEEP_SECONDS
        try:
            for number in range(log.position >> TILE_HEIGHT, -(-trusted.size // TILE_WIDTH)):
                try:
                    entries = tiles.entries(number)
                except MerklelogError as error:
                    raise SourceFailedError(error) from error
                self._match(target, entries[log.position - number * TILE_WIDTH :])
                at = time.monotonic()
                if at > ends:
                    break
                if at > keep or self._bytes > _KEEP_BYTES:
                    self._keep()
                    keep = at + _KEEP_SECONDS
        finally:
            self._keep()

    def _open(self, target: MonitoredTarget, trusted: TrustedHead) -> VerifiedTiles:
        try:
            source = target.source
        except MerklelogError as error:
            raise SourceFailedError(error) from error
        if isinstance(source, Expectant):
            source.expect(self._log.position, trusted.size, trusted.size)
        return VerifiedTiles(source, trusted.size, trusted.root)

    def _match(self, target: MonitoredTarget, entries: list[bytes]) -> None:
        log, start = self._log, self._log.position
        try:
            for index, found in self._picked(entries, start):
                self._add(MonitorKind.MATCH, target, found, index, entries[index - start])
        except _EntryFailedError as failed:
            self._take_statements(target, entries[: failed.index - start], start)
            log.position = failed.index
            self.entries += failed.index - start
            raise MatcherFailedError(str(failed)) from failed.__cause__
        self._take_statements(target, entries, start)
        log.position = start + len(entries)
        self.entries += len(entries)

    def _picked(self, entries: list[bytes], start: int) -> Iterable[tuple[int, str]]:
        """Index of each entry that the matcher picks, and why. Raises _EntryFailedError after those before."""
        matcher = self._matcher
        if matcher is None:
            return ()
        if isinstance(matcher, Patterns):
            try:
                return matcher.among(start, entries)
            except Exception:  # noqa: BLE001 - one by one tells which entry it is
                return _one_by_one(matcher, entries, start)
        return _one_by_one(matcher, entries, start)

    def _take_statements(self, target: MonitoredTarget, entries: list[bytes], start: int) -> None:
        for each in statements_in(entries, start, self._log.origin, self._log.keys):
            self._add(MonitorKind.STATEMENT, target, each.words, each.index, entries[each.index - start])
            if each.frozen and self._log.frozen is None:
                self._log.frozen = each.index

    def _add(self, kind: MonitorKind, target: MonitoredTarget, detail: str, index: int, entry: bytes) -> None:
        line = of_entry(kind, self._now(), self._log.origin, target.name, detail, index, entry).line()
        self._found.append(line)
        self._bytes += len(line)

    def _keep(self) -> None:
        """What was found first: only then is it behind us."""
        self._journal.append(self._found)
        self._found, self._bytes = [], 0
        self._log.save()


def _one_by_one(matcher: Matcher, entries: list[bytes], start: int) -> Iterator[tuple[int, str]]:
    for index, entry in enumerate(entries, start):
        try:
            found = matcher(index, entry)
        except Exception as error:  # the caller's code may raise anything, and its entry must not be lost
            raise _EntryFailedError(index, error) from error
        if found is not None:
            yield index, found


__all__ = ["EntryReader"]
