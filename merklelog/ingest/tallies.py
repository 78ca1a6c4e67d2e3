"""What an intake counts of its records; written by one thread at a time, read by whoever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .verdict import Verdict


class Stored(Protocol):
    """What became of a record; `intake.Placed` is one."""

    @property
    def duplicate(self) -> bool:
        """Whether nothing was stored."""
        ...

    @property
    def conflict_with(self) -> int | None:
        """The entry with the same ID and other content."""
        ...

    @property
    def verdict(self) -> Verdict | None:
        """What its content hash was worth."""
        ...

    @property
    def entries(self) -> int:
        """How many entries it has."""
        ...


@dataclass(slots=True)
class Tallies:
    """Numbers since the intake was opened. `records` are those stored, `split` those of several entries."""

    records: int = 0
    duplicates: int = 0
    conflicts: int = 0
    split: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))

    def count(self, placed: Sequence[Stored | None], positions: Sequence[int]) -> None:
        """Count the records at these positions, which were just sent to the log."""
        repeated = 0
        for position in positions:
            each = placed[position]
            if each is None:
                continue
            if each.duplicate:
                repeated += 1
                continue
            if each.conflict_with is not None:
                self.conflicts += 1
            if each.verdict is not None:
                self.verdicts[each.verdict] += 1
            if each.entries > 1:
                self.split += 1
        self.duplicates += repeated
        self.records += len(positions) - repeated


__all__ = ["Stored", "Tallies"]
