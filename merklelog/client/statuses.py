"""From what a server says went wrong to this project's errors: the other side of the servers' table.

A server's word is not evidence: an error made here says what it claims, and which server claims it.
"""

from __future__ import annotations

from typing import Final

from merklelog import errors

_SHOWN: Final = 400

# The stable words of google.rpc.ErrorInfo and of problem+json.
REASONS: Final[dict[str, type[errors.MerklelogError]]] = {
    "UNAUTHENTICATED": errors.UnauthenticatedError,
    "FORBIDDEN": errors.ForbiddenError,
    "IDEMPOTENCY_KEY_REUSED": errors.ConflictError,
    "ENTRY_REFUSED": errors.EntryError,
    "ENTRY_TOO_LARGE": errors.EntryError,
    "OUT_OF_RANGE": errors.RangeError,
    "LOG_FROZEN": errors.FrozenError,
    "LEVEL_NOT_CONFIGURED": errors.LevelError,
    "INVALID_REQUEST": errors.UsageError,
    "UNKNOWN_LOG": errors.UnknownLogError,
    "NOT_FOUND": errors.NotFoundError,
    "NO_SUCH_PATH": errors.NotFoundError,
    "OVERLOADED": errors.OverloadedError,
    "STORAGE_FULL": errors.UnavailableError,
    "STORAGE_FAILED": errors.UnavailableError,
    "NOT_READY": errors.UnavailableError,
    "LOG_STOPPED": errors.UnavailableError,
    "SHUTTING_DOWN": errors.UnavailableError,
    # What a server says of its own disk proves nothing; what it then does not show is the finding.
    "DATA_DAMAGED": errors.UnreachableError,
    "INTERNAL": errors.UnreachableError,
}

# Servers of others, and what stands between: RFC 9110, section 15.
HTTP: Final[dict[int, type[errors.MerklelogError]]] = {
    400: errors.UsageError,
    401: errors.UnauthenticatedError,
    404: errors.NotFoundError,
    408: errors.UnavailableError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    413: errors.EntryError,
    429: errors.OverloadedError,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.UnavailableError,
}

# google.rpc.Code, where there is no ErrorInfo.
GRPC: Final[dict[int, type[errors.MerklelogError]]] = {
    3: errors.UsageError,
    4: errors.UnavailableError,
    5: errors.NotFoundError,
    6: errors.ConflictError,
    8: errors.OverloadedError,
    11: errors.RangeError,
    14: errors.UnavailableError,
    16: errors.UnauthenticatedError,
}


def error_for(
    kind: type[errors.MerklelogError], where: str, message: str, retry_after: float | None
) -> errors.MerklelogError:
    """An error of that class; `where` is the server, `message` its words, shown no longer than they need be."""
    text = f"{where}: {shown(message)}" if message else where
    if issubclass(kind, errors.OverloadedError):
        return kind(text) if retry_after is None else kind(text, retry_after)
    if issubclass(kind, errors.UnavailableError):
        return kind(text, retry_after)
    return kind(text)


def shown(text: str) -> str:
    """Words of a stranger, without what could do something to a terminal, and cut."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
