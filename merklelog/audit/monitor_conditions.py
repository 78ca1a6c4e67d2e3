"""What lasts: an observation becomes a finding once it was so for longer than its kind may, and is told once.

When it ends after it was told, that is told too. Kept in a file, so that a monitor that is started every minute by
somebody else's clock finds the same as one that runs for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.audit.monitor_files import read_json, write_json
from merklelog.audit.monitor_findings import MonitorFinding, MonitorKind, Observation
from merklelog.errors import DamagedError

Silent = tuple[str, str | None]

_FOREVER: Final = frozenset((MonitorKind.SPLIT,))  # two histories of one log are never one again


@dataclass(slots=True)
class _Lasting:
    seen: Observation
    since: int
    told: bool


class Conditions:
    """What lasts now. `graces` are seconds by kind; a kind that is not there is told at once."""

    def __init__(self, path: Path, graces: Mapping[MonitorKind, float]) -> None:
        """Raises DamagedError for a file that can not be read, StorageError."""
        self._path = path
        self._graces = graces
        self._lasting: dict[str, _Lasting] = {}
        self._saved: dict[str, object] = read_json(path)
        for key, row in self._saved.items():
            try:
                if not isinstance(row, list):
                    raise TypeError("want a list")
                kind, origin, source, detail, evidence, mark, since, told = row
                seen = Observation(MonitorKind(kind), origin, source, detail, tuple(evidence), mark)
                self._lasting[key] = _Lasting(seen, since, told is True)
            except (TypeError, ValueError) as error:
                raise DamagedError(f"{path}: a row of it can not be read: {error}") from error

    def update(
        self, observations: Iterable[Observation], silent: Collection[Silent], now: int
    ) -> list[MonitorFinding]:
        """All that is so now, of one look; gives what is to be told. `save` keeps it.

        What was so of a source that is `silent` now (about one log, or None: at all) is neither so nor over:
        nobody could look.
        """
        found: list[MonitorFinding] = []
        there: set[str] = set()
        for each in observations:
            there.add(each.key)
            lasting = self._lasting.setdefault(each.key, _Lasting(each, now, told=False))
            lasting.seen = each
            lasting.since = min(lasting.since, now)  # a clock that was put back
            if not lasting.told and now - lasting.since >= self._graces.get(each.kind, 0):
                lasting.told = True
                found.append(_finding(each, now))
        for key in [key for key in self._lasting if key not in there]:
            ended = self._lasting[key]
            source, origin = ended.seen.source, ended.seen.origin
            if ended.seen.kind in _FOREVER or (source, None) in silent or (source, origin) in silent:
                continue
            del self._lasting[key]
            if ended.told:
                found.append(_finding(ended.seen, now, over=True))
        return found

    def save(self) -> None:
        """Keep it. Raises StorageError."""
        rows: dict[str, object] = {}
        for key, each in self._lasting.items():
            seen = each.seen
            rows[key] = [
                *(seen.kind, seen.origin, seen.source, seen.detail, list(seen.evidence), seen.mark),
                *(each.since, each.told),
            ]
        if rows != self._saved:
            write_json(self._path, rows)
            self._saved = rows

    @property
    def told(self) -> list[Observation]:
        """What lasts and was told."""
        return [each.seen for each in self._lasting.values() if each.told]

    @property
    def waiting(self) -> list[Observation]:
        """What lasts and is not told yet: its grace is not over."""
        return [each.seen for each in self._lasting.values() if not each.told]


def _finding(seen: Observation, now: int, *, over: bool = False) -> MonitorFinding:
    return MonitorFinding(
        now, seen.kind, seen.origin, seen.source, seen.detail, seen.disproven, over, seen.evidence
    )


__all__ = ["Conditions", "Silent"]
