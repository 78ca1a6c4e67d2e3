"""An HTTP/1.1 request as bytes, and the head of a plain answer: what http.client spends most of its time on.

A head that is in any way out of the ordinary is not read here: http.client, which knows them all, gets its bytes.

Sources: RFC 9112, sections 3 to 6; RFC 9110, sections 5.5, 5.6.2 and 7.2.
"""

from __future__ import annotations

import http.client
import re
from typing import Final, NamedTuple

END: Final = b"\r\n\r\n"
# What http.client takes: fields of a head, and bytes of one of them.
_FIELDS: Final = 100
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t -~\x80-\xff]*")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_METHOD: Final = re.compile(r"[A-Z]+")
_PATH: Final = re.compile(r"/[!-~]*")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_BODILESS: Final = frozenset((204, 304))
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


class Plain(NamedTuple):
    """A head that was read: `length` bytes of body follow it, and `may_go_on` is whether another answer may."""

    status: int
    headers: dict[str, str]
    length: int
    may_go_on: bool


def request_head(
    method: str, path: str, host: str, port: int | None, headers: dict[str, str], body: bytes | None
) -> bytes:
    """A request up to its body; `port` is None where the scheme's own is meant.

    Raises http.client.HTTPException for what no request can hold, without saying it: it may be a secret.
    """
    if _METHOD.fullmatch(method) is None or _PATH.fullmatch(path) is None:
        raise http.client.InvalidURL("the method or the path has a character that a request can not hold")
    name = f"[{host}]" if ":" in host else host if host.isascii() else host.encode("idna").decode("ascii")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {name}" if port is None else f"Host: {name}:{port}"]
    if not any(key.lower() == "accept-encoding" for key in headers):
        lines.append("Accept-Encoding: identity")
    if body is not None or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    for key, value in headers.items():
        if _NAME.fullmatch(key) is None or _VALUE.fullmatch(value) is None:
            raise http.client.InvalidURL(
                f"the field {key[:40]!a} has a character that a request can not hold"
            )
        lines.append(f"{key}: {value}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def plain_head(raw: bytes, method: str) -> Plain | None:
    """What the head `raw` of an answer says, without its last empty line; None where http.client is to read it."""
    line, *rest = raw.split(b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None or len(rest) > _FIELDS or method == "HEAD":
        return None
    status, headers, length = int(match[1]), dict[str, str](), None  # three digits of ASCII, matched above
    for each in rest:
        field = _FIELD.fullmatch(each)
        if field is None:
            return None
        name, value = field[1].lower(), field[2].rstrip(b" \t")
        if name == b"transfer-encoding" or (name == b"content-length" and length is not None):
            return None
        if name == b"content-length":
            if _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)  # decimal digits of ASCII, matched above
        headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
    if length is None or status in _BODILESS:
        return None
    return Plain(status, headers, length, "close" not in headers.get("connection", "").lower())


__all__ = ["END", "Plain", "plain_head", "request_head"]
