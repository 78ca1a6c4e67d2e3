"""What an intake counts of its records; each number written by one thread at a time, read by whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .placed import Placed
from .verdict import Verdict


@dataclass(slots=True)
class Tallies:
    """Numbers since the intake was opened. `records` are those stored, `split` those of several entries.

    `known` are those that were looked up and found; `deduped` those that the log itself had.
    """

    records: int = 0
    known: int = 0
    deduped: int = 0
    conflicts: int = 0
    split: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))

    @property
    def duplicates(self) -> int:
        """Records that were there already."""
        return self.known + self.deduped

    def count(self, placed: Placed) -> None:
        """Count one record that went to the log."""
        if placed.duplicate:
            self.deduped += 1
            return
        self.records += 1
        self.conflicts += placed.conflict_with is not None
        self.split += placed.entries > 1
        if placed.verdict is not None:
            self.verdicts[placed.verdict] += 1


__all__ = ["Tallies"]
