"""A server's indexes: one feeder for each log that is to be searched, until it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from merklelog.log import Log

from .logging import event

if TYPE_CHECKING:
    from merklelog.index.feeder import Feeder

LOOK_SECONDS: Final = 0.5

_log: Final = logging.getLogger("merklelog.server")


class Indexes:
    """The feeders of one server."""

    def __init__(self) -> None:
        self._feeders: dict[str, Feeder] = {}

    async def run(self, logs: Callable[[], Iterable[Log]]) -> None:
        """Index every log of `logs` that is to be, those that come later too, until it is cancelled."""
        while True:
            for log in logs():
                if log.config.index.enabled and log.origin not in self._feeders:
                    self._feeders[log.origin] = _feeder(log)
            await asyncio.sleep(LOOK_SECONDS)

    def indexed(self) -> Mapping[str, int]:
        """How many entries of each log can be found, by its origin."""
        return {origin: feeder.indexed for origin, feeder in list(self._feeders.items())}

    def close(self) -> None:
        """Stop indexing, before the logs are closed; blocks."""
        for feeder in self._feeders.values():
            feeder.close()
        self._feeders.clear()


def _feeder(log: Log) -> Feeder:
    from merklelog.index.feeder import Feeder

    def tell(text: str, failed: bool) -> None:
        event(_log, logging.WARNING if failed else logging.INFO, text, origin=log.origin)

    return Feeder(log, tell)


__all__ = ["Indexes"]
