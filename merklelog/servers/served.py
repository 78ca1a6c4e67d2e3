"""The logs that one server has open, by origin and by HTTP prefix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from merklelog.errors import ConfigError, MerklelogError, UnknownLogError
from merklelog.log import Log

MAX_BATCH_ENTRIES: Final = 10_000
CLOSINGS: Final = 8


def has_targets(log: Log) -> bool:
    """Whether the log publishes what is appended, and so has the level PUBLISHED."""
    return bool(log.config.publish.targets)


def has_witnesses(log: Log) -> bool:
    """Whether witnesses cosign the log's checkpoints, and so it has the level WITNESSED."""
    return bool(log.config.witness.policy)


@dataclass(frozen=True, slots=True)
class ServedLog:
    """An open log, and the path below which HTTP serves it: "/" for the only one, else "/name/"."""

    log: Log
    prefix: str


class ServedLogs:
    """All logs of a server. Adding and taking away is for the server's own thread."""

    def __init__(self) -> None:
        self._by_origin: dict[str, ServedLog] = {}

    def __iter__(self) -> Iterator[ServedLog]:
        return iter(tuple(self._by_origin.values()))

    def __len__(self) -> int:
        return len(self._by_origin)

    def add(self, log: Log, prefix: str) -> None:
        """Serve one more log. Raises ConfigError when its origin or prefix is taken."""
        for other in self._by_origin.values():
            if other.log.origin == log.origin:
                raise ConfigError(
                    f"{log.path}: origin {log.origin!r} is served already, from {other.log.path}"
                )
            if other.prefix == prefix:
                raise ConfigError(f"{log.path}: the path {prefix} is taken by {other.log.origin!r}")
        self._by_origin[log.origin] = ServedLog(log, prefix)

    def find(self, origin: str) -> ServedLog:
        """The log of that origin; the only one for an empty origin. Raises UnknownLogError."""
        if origin:
            found = self._by_origin.get(origin)
            if found is None:
                raise UnknownLogError(f"no log of origin {origin[:255]!r} is served here")
            return found
        if len(self._by_origin) != 1:
            raise UnknownLogError(
                f"{len(self._by_origin)} logs are served here: the request must name an origin"
            )
        return next(iter(self._by_origin.values()))

    def close(self) -> None:
        """Close every log: what waits is committed first, and published where there are targets.

        Several at a time, as one may wait for its targets. Raises the first error, once all are closed.
        """
        logs = [served.log for served in self]
        with ThreadPoolExecutor(max_workers=CLOSINGS, thread_name_prefix="merklelog-close") as pool:
            failed = [error for error in pool.map(_close, logs) if error is not None]
        self._by_origin.clear()
        if failed:
            raise failed[0]


def _close(log: Log) -> MerklelogError | None:
    try:
        log.close()
    except MerklelogError as error:
        return error
    return None
