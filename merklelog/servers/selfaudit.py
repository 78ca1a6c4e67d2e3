"""A server's audits of its own logs, one after the other and for ever: databases and published copies.

Each runs in a process of its own, at the lowest priority and at a set pace, so that no request waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from merklelog.client.access import Access
from merklelog.log import Log
from merklelog.publish.s3_options import SCHEME

from .logging import event

if TYPE_CHECKING:
    from merklelog.audit.selfaudit import SelfAuditReport

PAUSE_SECONDS: Final = 3_600.0
FIRST_SECONDS: Final = 300.0  # after a start there is enough to do

_log: Final = logging.getLogger("merklelog.server")


class SelfAudits:
    """The audits of one server. `logs` gives those that are open, `pace` is in entries a second, 0 for none."""

    def __init__(
        self, logs: Callable[[], Iterable[Log]], pace: int, *, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._logs = logs
        self._pace = pace
        self._pause_seconds = pause_seconds

    async def run(self) -> None:
        """Audit all logs, pause, and begin anew, until it is cancelled."""
        if not self._pace:
            await asyncio.Event().wait()
        stop = threading.Event()
        pause = min(FIRST_SECONDS, self._pause_seconds)
        try:
            while True:
                await asyncio.sleep(pause)
                pause = self._pause_seconds
                for log in list(self._logs()):
                    await asyncio.to_thread(self._audit, log, stop)
        finally:
            stop.set()  # the thread ends its process, and itself

    def _audit(self, log: Log, stop: threading.Event) -> None:
        from merklelog.audit.selfaudit import SelfAudit, SelfAuditReport
        from merklelog.log.mending import mend

        targets, mending = log.config.publish.targets, partial(mend, log)
        audit = SelfAudit(log.path, log.vkeys, targets, _access(log), self._pace, mending)
        for found in audit.run(stop):
            if isinstance(found, SelfAuditReport):
                _tell(log, found)
            elif not stop.is_set():
                event(_log, logging.WARNING, f"self-audit: {found}", origin=log.origin)


def _tell(log: Log, found: SelfAuditReport) -> None:
    report = found.report
    for each in report.findings:
        level = logging.ERROR if each.disproven else logging.WARNING
        event(_log, level, f"self-audit: {each}", origin=log.origin, kind=str(each.kind))
    for place in found.repaired:
        event(
            _log,
            logging.WARNING,
            f"self-audit: written anew, from a verified copy: {place}",
            origin=log.origin,
        )
    for remark in found.remarks:
        event(_log, logging.ERROR, f"self-audit: {remark}", origin=log.origin)
    message = "self-audit: everything is as it was signed" if not report.findings else "self-audit: done"
    event(
        _log,
        logging.INFO,
        message,
        origin=log.origin,
        target=found.target,
        size=report.size,
        findings=len(report.findings) + report.unlisted,
        seconds=round(report.seconds, 1),
    )


def _access(log: Log) -> Access:
    """How the log itself gets to its targets."""
    if not any(target.startswith(SCHEME) for target in log.config.publish.targets):
        return Access()
    # Brings boto3, which a server without such a target does without.
    from merklelog.log.publishing_targets import s3_options

    return Access(s3=s3_options(log.config.publish))


__all__ = ["FIRST_SECONDS", "PAUSE_SECONDS", "SelfAudits"]
