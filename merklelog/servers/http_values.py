"""An HTTP request and its answer as plain values, and what every answer of this server has in common.

Nothing here knows a server or a log: what is made here is carried by whichever front runs the application.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from merklelog.errors import FieldError, FormatError
from merklelog.formats.wire import parse_decimal, quote

from .problems import Code, Problem

Headers = Iterable[tuple[bytes, bytes]]

TEXT: Final = b"text/plain; charset=utf-8"
BYTES: Final = b"application/octet-stream"
JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
EVENTS: Final = b"text/event-stream"

# A checkpoint is asked for again each time, and an If-None-Match makes that cheap.
REVALIDATE: Final = (b"cache-control", b"no-cache")
# tlog-tiles: "This endpoint is immutable, so its caching headers SHOULD be long-lived."
IMMUTABLE: Final = (b"cache-control", b"public, max-age=31536000, immutable")
# What is not there now may be there in a second.
UNCACHED: Final = (b"cache-control", b"no-store")
# Reads carry no cookies and hold nothing that the reader could not fetch by itself: a page may verify a log.
CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Retry-After"),
)
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")

NO_SUCH_PATH: Final = Problem(Code.NOT_FOUND, 404, "NO_SUCH_PATH", "nothing is served at this path")


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body. Header names are lower case; `path` starts with a slash, `query` has no "?".

    `certificate` is the name of the client's certificate (`peer.client_name`), where there is one.
    """

    method: str
    path: str
    query: bytes = b""
    headers: Headers = ()
    certificate: str | None = None

    def header(self, name: bytes) -> bytes | None:
        """All values of that header, joined by commas (RFC 9110, section 5.3); None without one."""
        values = [value for known, value in self.headers if known == name]
        return b", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its headers are complete but for `date`, which the front adds."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


def answer(
    body: bytes, content_type: bytes, cache: tuple[bytes, bytes], etag: bytes | None = None
) -> Response:
    """A 200 answer to a read; without `etag` its entity tag is made from the body."""
    tag = entity_tag(body) if etag is None else etag
    fixed = ((b"content-type", content_type), (b"content-length", b"%d" % len(body)), cache, (b"etag", tag))
    return Response(200, (*fixed, NO_SNIFFING, *CORS), body)


def for_one_caller(response: Response) -> Response:
    """The same for who showed a token: no cache that others share may keep it (RFC 9111, section 3.5)."""
    kept = (
        (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
        for name, value in response.headers
    )
    return replace(response, headers=tuple(kept))


def no_cors(headers: Headers) -> list[tuple[bytes, bytes]]:
    """These headers without those that let pages of other sites see the answer."""
    return [header for header in headers if not header[0].startswith(b"access-control-")]


def for_no_page(response: Response) -> Response:
    """The same, but for pages of other sites."""
    return replace(response, headers=tuple(no_cors(response.headers)))


def unauthenticated(problem: Problem, request: Request) -> Response:
    """401 with the scheme that is wanted (RFC 9110, section 11.6.1; RFC 6750, section 3)."""
    shown = request.header(b"authorization") is not None
    challenge = b'Bearer realm="merklelog"' + (b', error="invalid_token"' if shown else b"")
    return problem_answer(problem, (b"www-authenticate", challenge))


def json_answer(value: object, cache: tuple[bytes, bytes]) -> Response:
    """A 200 answer with a value as JSON; bytes in it become base64."""
    return answer(msgspec.json.encode(value), JSON, cache)


async def refuse_socket(scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer what is no HTTP request: a WebSocket is closed before it begins, which its client sees as 403.

    Source: ASGI, "HTTP & WebSocket ASGI Message Format", "Close - send event".
    """
    if scope["type"] != "websocket":
        raise ValueError(f"ASGI scope of type {scope['type']!r}: this application speaks HTTP only")
    await send({"type": "websocket.close"})


def problem_answer(problem: Problem, *extra: tuple[bytes, bytes]) -> Response:
    """The answer that tells a problem: application/problem+json (RFC 9457) with `reason` and `message`, and
    `field` where one is to blame.
    """
    told: dict[str, Any] = {
        "status": problem.http,
        "reason": problem.reason,
        "message": problem.message,
        **({"field": problem.field} if problem.field is not None else {}),
    }
    return framed_problem(problem, PROBLEM, msgspec.json.encode(told), *CORS, *extra)


def framed_problem(
    problem: Problem, content_type: bytes, body: bytes, *extra: tuple[bytes, bytes]
) -> Response:
    """The answer with this body that tells a problem: its status, when to come again, and never from a cache."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        UNCACHED,
        NO_SNIFFING,
    ]
    if problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(problem.retry_after))))
    return Response(problem.http, (*headers, *extra), body)


def not_allowed(allowed: str) -> Response:
    """405, with the methods that are (RFC 9110, section 15.5.6)."""
    message = f"this path takes {allowed}"
    problem = Problem(Code.UNIMPLEMENTED, 405, "METHOD_NOT_ALLOWED", message)
    return problem_answer(problem, (b"allow", allowed.encode()))


def entity_tag(body: bytes, suffix: str = "") -> bytes:
    """A strong entity tag (RFC 9110, section 8.8.3). Each encoding of a body needs its own `suffix`."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}{suffix}"'.encode()


def unless_known(request: Request, response: Response) -> Response:
    """The answer, or 304 without a body when If-None-Match names its entity tag (RFC 9110, section 13.1.2)."""
    known = request.header(b"if-none-match")
    if known is None or response.status != 200:
        return response
    tag = dict(response.headers).get(b"etag")
    tags = [each.strip().removeprefix(b"W/") for each in known.split(b",")]
    if tag is None or (tag not in tags and known.strip() != b"*"):
        return response
    kept = tuple(
        header for header in response.headers if header[0] not in {b"content-type", b"content-length"}
    )
    return Response(304, kept)


def without_body(response: Response) -> Response:
    """What HEAD answers: the same headers, the length of what GET would send included."""
    return replace(response, body=b"")


_QUALITY: Final = re.compile(rb"[ \t]*q=0(\.0{0,3})?[ \t]*", re.IGNORECASE)


def accepts_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip, or anything, and does not refuse it (RFC 9110, section 12.5.3)."""
    accepted: dict[bytes, bool] = {}
    for part in (request.header(b"accept-encoding") or b"").lower().split(b","):
        name, _, quality = part.partition(b";")
        accepted[name.strip()] = _QUALITY.fullmatch(quality) is None
    return accepted.get(b"gzip", accepted.get(b"x-gzip", accepted.get(b"*", False)))


def parameters(query: bytes, known: Mapping[str, str]) -> dict[str, bytes]:
    """The parameters of a query string; their values are decimals or hex, so nothing is percent-decoded.

    `known` has what each is. Raises FieldError for one that is not known, has no value, or comes twice.
    """
    found: dict[str, bytes] = {}
    for part in query.split(b"&") if query else ():
        raw, _, value = part.partition(b"=")
        name = raw.decode("ascii", "replace")
        if name not in known:
            raise FieldError(quote(raw)[1:-1], f"no such parameter, want {' or '.join(known)}")
        if name in found or not value:
            raise FieldError(name, f"want it once and with a value: {known[name]}")
        found[name] = value
    return found


def decimal(text: bytes | str, field: str) -> int:
    """A canonical decimal below 2**63. Raises FieldError naming the field."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        return parse_decimal(raw, field)
    except FormatError as error:
        raise FieldError(field, str(error).removeprefix(f"{field}: ")) from None
