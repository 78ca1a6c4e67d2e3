"""Which status every error has at each door: one table, so that no two doors differ.

An error that is not in the table is not for the caller to see: it becomes "internal" without its text, and is
logged where it happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from merklelog import errors


class Code(IntEnum):
    """The canonical gRPC status codes used here (google.rpc.Code)."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reason` is the stable word a program compares (google.rpc.ErrorInfo)."""

    error: type[errors.MerklelogError]
    reason: str
    code: Code
    http: int


# The first row whose class fits counts: narrower classes stand before wider ones.
TABLE: Final = (
    Row(errors.UnauthenticatedError, "UNAUTHENTICATED", Code.UNAUTHENTICATED, 401),
    Row(errors.ForbiddenError, "FORBIDDEN", Code.PERMISSION_DENIED, 403),
    Row(errors.ConflictError, "IDEMPOTENCY_KEY_REUSED", Code.ALREADY_EXISTS, 409),
    Row(errors.EntryError, "ENTRY_REFUSED", Code.INVALID_ARGUMENT, 400),
    Row(errors.RangeError, "OUT_OF_RANGE", Code.OUT_OF_RANGE, 404),
    Row(errors.FrozenError, "LOG_FROZEN", Code.FAILED_PRECONDITION, 410),
    Row(errors.LevelError, "LEVEL_NOT_CONFIGURED", Code.FAILED_PRECONDITION, 400),
    Row(errors.UsageError, "INVALID_REQUEST", Code.INVALID_ARGUMENT, 400),
    Row(errors.FormatError, "INVALID_REQUEST", Code.INVALID_ARGUMENT, 400),
    Row(errors.UnknownLogError, "UNKNOWN_LOG", Code.NOT_FOUND, 404),
    Row(errors.NotFoundError, "NOT_FOUND", Code.NOT_FOUND, 404),
    Row(errors.OverloadedError, "OVERLOADED", Code.RESOURCE_EXHAUSTED, 429),
    Row(errors.UnavailableError, "NOT_READY", Code.UNAVAILABLE, 503),
    Row(errors.StorageFullError, "STORAGE_FULL", Code.UNAVAILABLE, 503),
    Row(errors.StoppedError, "LOG_STOPPED", Code.UNAVAILABLE, 503),
    Row(errors.ClosedError, "SHUTTING_DOWN", Code.UNAVAILABLE, 503),
    Row(errors.DamagedError, "DATA_DAMAGED", Code.DATA_LOSS, 500),
    Row(errors.StorageError, "STORAGE_FAILED", Code.UNAVAILABLE, 503),
)
_RETRY_LATER: Final = {Code.UNAVAILABLE: 5.0, Code.RESOURCE_EXHAUSTED: 1.0}
# Their texts name paths and files of the server: for its own log, not for a caller.
_PRIVATE: Final = (errors.LocalError, errors.DamagedError)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller is told. `retry_after` is in seconds, None where trying again would not help."""

    code: Code
    http: int
    reason: str
    message: str
    field: str | None = None
    retry_after: float | None = None


INTERNAL: Final = Problem(Code.INTERNAL, 500, "INTERNAL", "the server failed; its log says why")


def problem_of(error: BaseException) -> Problem:
    """The problem for any exception that a handler raised."""
    for row in TABLE:
        if isinstance(error, row.error):
            return Problem(
                row.code,
                row.http,
                row.reason,
                _message(error, row),
                error.field if isinstance(error, errors.FieldError) else None,
                getattr(error, "retry_after", _RETRY_LATER.get(row.code)),
            )
    return INTERNAL


def _message(error: errors.MerklelogError, row: Row) -> str:
    if isinstance(error, errors.StorageFullError):
        return "the log's disk has too little room; appends come back by themselves when there is some"
    if isinstance(error, errors.UnavailableError):  # its own text names targets, and what they answered
        return "the log takes no appends until it has compared itself with its publish targets and witnesses"
    if isinstance(error, _PRIVATE):
        return f"the log can not do this now ({row.reason.lower()}); its operator's log says why"
    return str(error)
