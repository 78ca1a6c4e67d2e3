"""What both gRPC fronts share: limits, who calls, how many calls are under way, and what a failure is told as."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from merklelog.errors import ClosedError, MerklelogError, OverloadedError

from .caller import Caller
from .problems import Code, Problem, problem_of
from .rpc import MAX_MESSAGE_BYTES

OK: Final = "OK"
CANCELLED: Final = Code.CANCELLED.name  # the caller went away
LOGGER: Final = logging.getLogger("merklelog.grpc")

# Says who calls, by the value of the metadatum "authorization" and the name in the client's certificate; None for
# what the call has not. Raises UnauthenticatedError.
Identify = Callable[[str | None, str | None], Caller]


class CallTally(Protocol):
    """Counts the calls of one method. Called in the event loop for each: it must be quick, and not raise."""

    def begin(self) -> float:
        """A call came; gives what `end` wants back."""
        ...

    def end(self, began: float, code: str) -> None:
        """That call ended with this status ("OK", else a name of problems.Code)."""
        ...


# Gives the tally of a method by its path.
Tallies = Callable[[str], CallTally]


class _NoTally:
    """Counts nothing."""

    __slots__ = ()

    def begin(self) -> float:
        return 0.0

    def end(self, began: float, code: str) -> None:
        pass


_NO_TALLY: Final = _NoTally()


def uncounted(_path: str) -> CallTally:
    """The tally of calls that nobody counts."""
    return _NO_TALLY


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What a front takes: bytes of a message and of metadata, and calls at a time.

    Streams count apart from short calls, so that many watchers leave room for appends. Beyond `max_calls` or
    `max_streams`, or with `max_unread_bytes` held in messages that have not come whole yet, a call is answered
    RESOURCE_EXHAUSTED with RetryInfo; beyond `max_streams_per_connection` HTTP/2 has the client wait. A stream
    whose caller takes no message for `stall_seconds` is cut off. (grpcio answers so itself beyond twice both
    together, without details, before it reads a message; it neither counts unread bytes nor cuts off.)
    """

    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_metadata_bytes: int = 16 << 10
    max_calls: int = 2_048
    max_streams: int = 1_024
    max_streams_per_connection: int = 1_024
    max_unread_bytes: int = 256 << 20
    stall_seconds: float = 30.0
    idle_seconds: int = 600
    ping_seconds: int = 60


DEFAULT_LIMITS: Final = GrpcLimits()


class Admission:
    """Counts the calls under way, and refuses what is too much."""

    __slots__ = ("_limits", "calls", "draining", "streams", "unread")

    def __init__(self, limits: GrpcLimits) -> None:
        self._limits = limits
        self.calls = 0
        self.streams = 0
        self.unread = 0
        self.draining = False

    def admit_call(self) -> None:
        """Raises ClosedError while draining, OverloadedError when `calls`, this one included, are too many."""
        if self.draining or self.calls > self._limits.max_calls:
            self._refuse(self._limits.max_calls, "calls")

    def admit_stream(self) -> None:
        """As `admit_call`, for a call that has a stream on either side."""
        if self.draining or self.streams > self._limits.max_streams:
            self._refuse(self._limits.max_streams, "streams")

    def hold(self, size: int) -> None:
        """Count bytes of a message that has not come whole. Raises OverloadedError."""
        if self.unread + size > self._limits.max_unread_bytes:
            raise OverloadedError("too many large messages are on their way to this server: try again")
        self.unread += size

    def _refuse(self, most: int, what: str) -> None:
        if self.draining:
            raise ClosedError("the server is shutting down")
        raise OverloadedError(f"{most:,} {what} are under way, as many as this server takes: try again")


def told(path: str, error: Exception) -> Problem:
    """What a caller is told of an error. What is more than it may know is logged here."""
    problem = problem_of(error)
    if problem.http >= 500 and not isinstance(error, ClosedError):
        # A caller is told no more than the reason; here is the rest. That the server shuts down is no news to it.
        trace = None if isinstance(error, MerklelogError) else error
        LOGGER.error("%s: %s: %s", path, type(error).__name__, error, exc_info=trace)
    return problem
