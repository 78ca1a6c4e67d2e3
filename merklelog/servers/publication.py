"""What a server tells of the publication of its logs: to whoever asks whether it is ready, and in its own log."""

from __future__ import annotations

import logging
from typing import Final

from merklelog.log import Log

from .logging import event
from .served import has_targets, has_witnesses

NO_PROTECTION: Final = "none"
TARGETS: Final = "targets"
WITNESSES: Final = "witnesses"
# A start that waits for a target says so again after this many looks, which are a second apart.
_REPEAT: Final = 60

_log: Final = logging.getLogger("merklelog.server")


def rollback_protection(log: Log) -> str:
    """What keeps a log from forking what others saw when an old disk comes back: targets, witnesses or nothing."""
    there = ((TARGETS, has_targets(log)), (WITNESSES, has_witnesses(log)))
    return " and ".join(name for name, is_there in there if is_there) or NO_PROTECTION


class Teller:
    """Says what changes in the publication of one log, each thing once: call `look` now and then."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waits: str | None = None
        self._looks = 0
        self._epoch: int | None = 0  # before it is known that the log takes appends
        self._error: str | None = None

    def look(self) -> None:
        """Look at the log and tell what is new."""
        status = self._log.publishing
        if status is None or self._log.stopped:
            return
        if status.starting is not None:
            self._tell_waiting(status.starting)
            return
        if status.epoch != self._epoch:
            self._epoch = status.epoch
            self._say(
                logging.INFO,
                f"compared with its {rollback_protection(self._log)}: the log takes appends",
                epoch=status.epoch,
            )
        if status.last_error != self._error:
            self._error = status.last_error
            if self._error is None:
                self._say(logging.INFO, "publications go on", published=self._log.size)
            else:
                waits = {"unpublished": status.lag_entries}
                self._say(logging.WARNING, f"not published, tried again: {self._error}", **waits)

    def _tell_waiting(self, why: str) -> None:
        self._looks = 0 if why != self._waits else self._looks + 1
        self._waits = why
        if self._looks % _REPEAT == 0:
            self._say(logging.WARNING, f"takes no appends yet, asked again: {why}")

    def _say(self, level: int, message: str, **fields: object) -> None:
        event(_log, level, message, origin=self._log.origin, **fields)


__all__ = ["NO_PROTECTION", "TARGETS", "WITNESSES", "Teller", "rollback_protection"]
