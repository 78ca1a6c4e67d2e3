"""The head of an HTTP/1.1 request, read strictly: what two readers could understand differently is refused.

That one reader sees two requests where another sees one is how requests are smuggled past a proxy, so nothing is
mended here: a bare line feed, a folded line, a space before a colon, two lengths, a length beside chunks.

Sources: RFC 9112 (HTTP/1.1), sections 2 to 6 and 9.3; RFC 9110, sections 5.5, 7.2 and 10.1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from merklelog.errors import FormatError
from merklelog.formats.wire import parse_decimal, quote

from .http_wishes import RefusedError
from .problems import Code, Problem

END: Final = b"\r\n\r\n"
MAX_LINE: Final = 8 << 10
Fields = tuple[tuple[bytes, bytes], ...]

_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE: Final = re.compile(rb"[^\t -~\x80-\xff]")
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(.*)", re.IGNORECASE)
_CHUNKED: Final = b"chunked"


@dataclass(frozen=True, slots=True)
class Head:
    """What a request's head says. `fields` have lower-case names and stand in their order.

    `length` is the body's in bytes, None for one in chunks. `keeps`: the connection may carry another request.
    `expects`: the client waits for 100 before it sends its body. `minor` is 0 for HTTP/1.0.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    fields: Fields
    minor: int
    length: int | None
    keeps: bool
    expects: bool


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bytes of a head, its line and its last empty line included; and how many fields it has at most."""

    head_bytes: int
    fields: int


def refusal(status: int, reason: str, message: str) -> RefusedError:
    """What is wrong with a request, to be raised; its sender is told so and the connection ends."""
    return RefusedError(Problem(Code.INVALID_ARGUMENT, status, reason, message))


def parse_head(raw: bytes, limits: HeadLimits) -> Head:
    """Read a head without its last empty line. Raises RefusedError, whose problem has the status."""
    line, *rest = raw.split(b"\r\n")
    method, target, minor = _request_line(line)
    if len(rest) > limits.fields:
        message = f"{len(rest)} header fields: this server takes at most {limits.fields}"
        raise refusal(431, "TOO_MANY_FIELDS", message)
    fields = tuple(parse_field(each, limits.head_bytes // 2) for each in rest)
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    host = _host(found, minor)
    authority, target = _origin_form(target)
    if (
        authority is not None and authority != host
    ):  # RFC 9112, section 3.2.2: the target goes before the field
        fields = ((b"host", authority), *(each for each in fields if each[0] != b"host"))
    raw_path, _, query = target.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return Head(
        method=method.decode("ascii"),
        path=path.decode("utf-8", "replace"),
        raw_path=raw_path,
        query=query,
        fields=fields,
        minor=minor,
        length=_length(found, minor),
        keeps=_keeps(found, minor),
        expects=_expects(found, minor),
    )


def _request_line(line: bytes) -> tuple[bytes, bytes, int]:
    if len(line) > MAX_LINE:
        raise refusal(414, "TARGET_TOO_LONG", f"the request line has more than {MAX_LINE:,} bytes")
    match = _LINE.fullmatch(line)
    if match is None:
        raise refusal(400, "BAD_REQUEST_LINE", f"the request line is {quote(line[:80])}")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in {b"0", b"1"}:
        message = f"HTTP/{major.decode()}.{minor.decode()}: this server speaks HTTP/1.1 here"
        raise refusal(505, "HTTP_VERSION", message)
    return method, target, int(minor == b"1")


def parse_field(line: bytes, most: int) -> tuple[bytes, bytes]:
    """A line's name, in lower case, and its value. Raises RefusedError."""
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if len(line) > most:
        raise refusal(431, "FIELD_TOO_LONG", f"a header field has more than {most:,} bytes")
    if not colon or _NAME.fullmatch(name) is None or _NO_VALUE.search(value) is not None:
        raise refusal(
            400, "BAD_FIELD", f"a header field begins {quote(name[:80])}"
        )  # its value may be secret
    return name.lower(), value


def _host(found: dict[bytes, list[bytes]], minor: int) -> bytes | None:
    hosts = found.get(b"host", [])
    if len(hosts) > 1 or (minor and not hosts):
        raise refusal(400, "BAD_HOST", f"host: it comes {len(hosts)} times, want it once")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise refusal(400, "BAD_HOST", f"host: got {quote(hosts[0][:80])}, want a host and perhaps a port")
    return hosts[0] if hosts else None


def _origin_form(target: bytes) -> tuple[bytes | None, bytes]:
    """The authority of an absolute target, None for another; and its path and query (RFC 9112, section 3.2)."""
    if b"#" in target:
        raise refusal(400, "BAD_TARGET", f"the target {quote(target[:80])} has a fragment")
    if target.startswith(b"/") or target == b"*":
        return None, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or _HOST.fullmatch(match[1]) is None:
        raise refusal(400, "BAD_TARGET", f"the target is {quote(target[:80])}: want a path")
    authority, rest = match.groups()
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def _length(found: dict[bytes, list[bytes]], minor: int) -> int | None:
    lengths, codings = found.get(b"content-length"), found.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None or not minor:
            message = "transfer-encoding: it stands beside a content-length, or in a request of HTTP/1.0"
            raise refusal(400, "BAD_LENGTH", message)
        if len(codings) > 1 or codings[0].lower() != _CHUNKED:
            message = f"transfer-encoding: got {quote(b', '.join(codings)[:80])}, want chunked"
            raise refusal(501, "TRANSFER_ENCODING", message)
        return None
    if lengths is None:
        return 0
    try:
        if len(lengths) > 1:
            raise FormatError(f"content-length: it comes {len(lengths)} times, want it once")
        return parse_decimal(lengths[0], "content-length")
    except FormatError as error:
        raise refusal(400, "BAD_LENGTH", str(error)) from None


def _keeps(found: dict[bytes, list[bytes]], minor: int) -> bool:
    options = {each.strip(b" \t").lower() for each in b",".join(found.get(b"connection", ())).split(b",")}
    return b"close" not in options and (bool(minor) or b"keep-alive" in options)


def _expects(found: dict[bytes, list[bytes]], minor: int) -> bool:
    expected = found.get(b"expect")
    if expected is None or not minor:
        return False
    if [each.lower() for each in expected] != [b"100-continue"]:
        raise refusal(417, "EXPECTATION", f"expect: got {quote(expected[0][:80])}, want 100-continue")
    return True


__all__ = ["END", "MAX_LINE", "Fields", "Head", "HeadLimits", "parse_field", "parse_head", "refusal"]
