"""What a client of POST /add asks for beside its entry, in headers: read, and refused where it can not be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from merklelog.errors import FieldError, ForbiddenError, LevelError
from merklelog.formats.wire import quote
from merklelog.log import Log

from .exposure import is_local
from .problems import Code, Problem
from .served import has_targets, has_witnesses

ENCODED: Final = Problem(
    Code.INVALID_ARGUMENT,
    415,
    "ENCODED_BODY",
    "content-encoding: the body is stored as it comes, so it may not be encoded",
    "content-encoding",
)
OPTIONS: Final = frozenset(
    (
        *(b"idempotency-key", b"merklelog-wait", b"content-encoding", b"origin", b"sec-fetch-site"),
        *(b"accept", b"prefer"),
    )
)
# These may come several times, and are then one (RFC 9110, section 5.3).
_LISTS: Final = frozenset((b"accept", b"prefer"))
_WAIT: Final = re.compile(rb"(?:^|,)[ \t]*wait[ \t]*=[ \t]*([0-9]{1,6})[ \t]*(?:[;,]|$)", re.IGNORECASE)
_JSON: Final = b"application/json"


class RefusedError(Exception):
    """Refused for a reason that only HTTP has; `problem` says it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Wishes(NamedTuple):
    """What was asked for: an idempotency key, the level to wait for (integrated, published or witnessed; at most
    so many seconds, None: as long as the server does), and an answer in JSON.
    """

    key: bytes | None
    level: str
    seconds: float | None
    json: bool


def option(options: dict[bytes, bytes] | None, header: tuple[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The options so far with this header. Raises FieldError for one that came before."""
    name, value = header
    if name in _LISTS:
        if name == b"accept" and _JSON not in value:
            return options  # "anything": the answer is as it is for who says nothing
        if options is not None and name in options:
            value = options[name] + b", " + value
    elif options is not None and name in options:
        raise FieldError(name.decode("ascii"), "want it once")
    if options is None:
        return {name: value}
    options[name] = value
    return options


def wishes(
    options: dict[bytes, bytes], headers: Iterable[tuple[bytes, bytes]], submitter: str, log: Log
) -> Wishes:
    """What these options ask of that log.

    Raises RefusedError, FieldError, LevelError, ForbiddenError for one that can not be met.
    """
    encoding = options.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise RefusedError(ENCODED)
    _check_page(options, headers, submitter)
    level = _level(options.get(b"merklelog-wait", b"integrated"), log)
    key = options.get(b"idempotency-key")
    if key is not None and not 1 <= len(key) <= 128:
        raise FieldError("idempotency-key", f"got {len(key)} bytes, want 1 to 128")
    # RFC 7240, section 2: a preference that is not understood is as good as none.
    preferred = _WAIT.search(options.get(b"prefer", b""))
    return Wishes(key, level, float(preferred[1]) if preferred else None, b"accept" in options)


def _level(level: bytes, log: Log) -> str:
    if level not in {b"integrated", b"published", b"witnessed"}:
        raise FieldError("merklelog-wait", f"got {quote(level)}, want integrated, published or witnessed")
    wanted = level.decode()
    there = {"integrated": True, "published": has_targets(log), "witnessed": has_witnesses(log)}
    if not there[wanted]:
        raise LevelError(f"merklelog-wait: this log has nothing configured that makes an entry {wanted}")
    return wanted


def _check_page(options: dict[bytes, bytes], headers: Iterable[tuple[bytes, bytes]], submitter: str) -> None:
    """A page of another site may read a log but not write to it, also where no token is asked for.

    Without this any page that someone opens could fill the log on their own machine (Fetch standard, "CORS
    protocol": a POST of text needs no preflight). A name that its owner lets lead to this machine makes their page
    one of this server (DNS rebinding), so a page that shows no token has to come from a local name as well.
    """
    origin = options.get(b"origin")
    if (
        origin is not None
        and origin.partition(b"://")[2].lower() != (dict(headers).get(b"host") or b"").lower()
    ):
        raise ForbiddenError(f"origin {quote(origin)}: a page of another site may not append")
    if origin is not None and not submitter and not _is_local_page(origin):
        raise ForbiddenError(f"origin {quote(origin)}: a page may append with a token only")
    if options.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}:
        raise ForbiddenError("sec-fetch-site: a page of another site may not append")


def _is_local_page(origin: bytes) -> bool:
    host = origin.decode("latin-1").partition("://")[2].lower()
    return is_local(host if ":" in host.rpartition("]")[2] else f"{host}:80")


__all__ = ["OPTIONS", "RefusedError", "Wishes", "option", "wishes"]
