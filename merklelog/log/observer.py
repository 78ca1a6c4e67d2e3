"""What a log tells, while it works, to whoever counts: the seam that metrics and traces hang on.

Everything here happens once a commit and never once an entry, so that a log that is watched is as quick as one
that is not. What can be asked for at any time (size, what waits, whether it stopped) is a property of `Log`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Observer(Protocol):
    """Hears of a log's commits from the log's own two threads: it must be quick, and must not raise.

    Commits overlap: while the syncer's thread makes some durable, the sequencer's makes the next. Each thread
    calls in its own order, and an implementation keeps the two apart.
    """

    def step(self, name: str) -> None:
        """A step was passed.

        From the sequencer's thread, for each commit: "drained" (its requests were taken from the queue),
        "planned", "hashed", "signed", "written"; beside commits "kept". From the syncer's thread, for all that
        was written by then: "gathered", "synced" (it is durable), "settled" (callers were told). The sequencer's
        thread passes these three too, for a commit with nothing else under way; never both at a time.
        """
        ...

    def committed(self, requests: int, entries: Sequence[bytes]) -> None:
        """A commit was written: of so many requests, with these new entries, none where all were repeats.

        Called by the sequencer's thread after "written". Not to be kept: entries are large.
        """
        ...
