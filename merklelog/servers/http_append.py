"""POST /add: the bytes of an entry in, its index as a decimal and a newline out, once it is durable.

This is the path that carries the load, so it does nothing twice: headers are looked at in one pass, the answers'
headers are made beforehand, and a body that came whole is not copied.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from merklelog.errors import FieldError, ForbiddenError, LevelError
from merklelog.formats import MAX_ENTRY
from merklelog.formats.wire import quote
from merklelog.log import Log

from .exposure import is_local
from .http_values import TEXT
from .problems import Code, Problem

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A client that sends too much is listened to this long, so that it reads the answer instead of a reset.
MAX_BODY: Final = 2 << 20
TOO_LARGE: Final = Problem(
    Code.INVALID_ARGUMENT,
    413,
    "ENTRY_TOO_LARGE",
    f"the body has more than {MAX_ENTRY:,} bytes, which is the most an entry has (c2sp.org/tlog-tiles)",
    "body",
)
ENCODED: Final = Problem(
    Code.INVALID_ARGUMENT,
    415,
    "ENCODED_BODY",
    "content-encoding: the body is stored as it comes, so it may not be encoded",
    "content-encoding",
)

_OPTIONS: Final = frozenset(
    (b"idempotency-key", b"merklelog-wait", b"content-encoding", b"origin", b"sec-fetch-site")
)


class GoneError(Exception):
    """The client went away before its body was whole: nothing was stored and nobody waits for an answer."""


class RefusedError(Exception):
    """Refused for a reason that only HTTP has; `problem` says it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _started(digits: int) -> Message:
    length = (b"content-length", b"%d" % (digits + 1))
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", TEXT), length],
    }


_STARTS: Final = tuple(_started(digits) for digits in range(20))


async def add(
    log: Log, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send, submitter: str = ""
) -> None:
    """Append the request's body and answer with its index. `submitter` is the caller's name, empty for none.

    Raises RefusedError, GoneError and what `Log.append` raises; then nothing was sent.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise GoneError
    body = message.get("body", b"")
    if message.get("more_body", False):
        body = await _whole(body, receive)
    if len(body) > MAX_ENTRY:
        raise RefusedError(TOO_LARGE)
    options = None
    for header in headers:
        if header[0] in _OPTIONS:
            options = _option(options, header)
    if options is None:
        receipt = await log.append_async(body)
    else:
        key = _checked(options, headers, submitter)
        receipt = await log.append_async(body, idempotency_key=key, submitter=submitter)
    text = b"%d\n" % receipt.index
    await send(_STARTS[len(text) - 1])
    await send({"type": "http.response.body", "body": text})


async def _whole(first: bytes, receive: Receive) -> bytes:
    parts, length, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise GoneError
        body = message.get("body", b"")
        length += len(body)
        if length <= MAX_ENTRY:
            parts.append(body)
        more = message.get("more_body", False) and length <= MAX_BODY
    if length > MAX_ENTRY:
        raise RefusedError(TOO_LARGE)
    return b"".join(parts)


def _option(options: dict[bytes, bytes] | None, header: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    name, value = header
    if options is None:
        return {name: value}
    if name in options:
        raise FieldError(name.decode("ascii"), "want it once")
    options[name] = value
    return options


def _checked(
    options: dict[bytes, bytes], headers: Iterable[tuple[bytes, bytes]], submitter: str
) -> bytes | None:
    """The idempotency key. Raises for every other option that can not be met."""
    encoding = options.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise RefusedError(ENCODED)
    _check_page(options, headers, submitter)
    level = options.get(b"merklelog-wait", b"integrated")
    if level in {b"published", b"witnessed"}:
        raise LevelError(
            f"merklelog-wait: this log has nothing configured that makes an entry {level.decode()}"
        )
    if level != b"integrated":
        raise FieldError("merklelog-wait", f"got {quote(level)}, want integrated, published or witnessed")
    key = options.get(b"idempotency-key")
    if key is not None and not 1 <= len(key) <= 128:
        raise FieldError("idempotency-key", f"got {len(key)} bytes, want 1 to 128")
    return key


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
