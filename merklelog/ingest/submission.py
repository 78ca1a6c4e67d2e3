"""The records of one call on their way into a log, and what of them goes there together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from merklelog.errors import EntryError

from .placed import Placements
from .ready import Ready

# What an entry counts for beside its bytes, as the log's queue counts it.
OVERHEAD: Final = 160


@dataclass(slots=True)
class Batch:
    """What goes to the log together: entries, of which records (by position), with one intake time.

    `rest` is what is to be done of the submission afterwards, `waits_for` a batch on its way that has a key of
    these. `waiting` is who waits for one of its own `keys`; once it is `over` nobody may any more.
    """

    time_ns: int
    entries: list[bytes] = field(default_factory=list)
    identities: list[bytes | None] = field(default_factory=list)
    positions: Sequence[int] = ()
    counts: dict[int, int] = field(default_factory=dict)  # where it is not 1
    conflicts: dict[int, int] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    waiting: list[Submission] = field(default_factory=list)
    waits_for: Batch | None = None
    over: bool = False
    size: int = 0
    rest: list[int] | range = range(0)
    repeats: int = 0


class Submission:
    """The records of one call: which are still to be sent, and where the others stand."""

    __slots__ = ("begun", "cost", "future", "placed", "records", "refused", "size", "submitter", "todo")

    def __init__(self, records: Ready, submitter: str) -> None:
        self.begun = False  # whether something of it is stored
        self.refused: EntryError | None = None  # why one of its records could never be stored
        self.records = records
        self.size = sum(map(len, records.data))  # bytes
        self.cost = self.size + OVERHEAD * len(records.data)  # what it takes of what may wait
        self.submitter = submitter
        self.placed = Placements(len(records.data))
        self.todo: list[int] | range = range(len(records.data))
        self.future: Future[Placements] = Future()
        self.future.set_running_or_notify_cancel()  # what is queued can not be called back

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits for it, and let go of the records, which the error's traceback would keep."""
        self.records = Ready([], {})
        self.future.set_exception(error)

    def finish(self) -> None:
        """Nothing is left to do: tell whoever waits for it."""
        if self.refused is not None:
            self.fail(self.refused)
        else:
            self.future.set_result(self.placed)


__all__ = ["OVERHEAD", "Batch", "Submission"]
