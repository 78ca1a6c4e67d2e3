"""Where a connection of the lean front stands, and what it tells a client that it refuses by itself."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from .http_quick import PlainAdd, PlainRead, Quick
from .http_values import Response
from .lean_exchange import head_of
from .lean_head import Head
from .problems import Code, Problem

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# What HTTP/2 without TLS begins with, and what its client is told: an empty SETTINGS frame, and GOAWAY with
# HTTP_1_1_REQUIRED (RFC 9113, sections 3.4, 6.8 and 7).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
NO_HTTP2: Final = bytes.fromhex("000000040000000000000008070000000000000000000000000d")
LEFT: Final = 499  # the client left without an answer
TIMED_OUT: Final = Problem(Code.DEADLINE_EXCEEDED, 408, "TOO_SLOW", "the request did not come in time")
# A head that is longer is read anew each time, so that what connections keep of theirs stays little.
KEPT_HEAD: Final = 1 << 10


class Phase(IntEnum):
    """Where a connection stands. From ANSWER on, what comes is kept for later or thrown away.

    REST: the answer is whole, and what is left of the request's body is read and thrown away.
    """

    IDLE = 0
    HEAD = 1
    BODY = 2
    REST = 3
    ANSWER = 4
    LINGER = 5
    OVER = 6


class Known:
    """A head as it came, what it says, and what answers it quickly: the next one is mostly the same."""

    __slots__ = ("add", "head", "raw", "read")

    def __init__(self, raw: bytes, head: Head, quick: Quick | None) -> None:
        self.raw = raw
        self.head = head
        self.add = quick if isinstance(quick, PlainAdd) else None
        self.read = quick if isinstance(quick, PlainRead) else None


def overloaded(what: str) -> Problem:
    """There are as many of these as the front takes."""
    message = f"as many {what} as this server takes are under way: try again"
    return Problem(Code.RESOURCE_EXHAUSTED, 503, f"TOO_MANY_{what.upper()}", message, None, 1.0)


def whole_answer(response: Response, date: bytes, *, keep: bool) -> bytes:
    """An answer as it is sent; without `keep` it says that the connection ends."""
    fields = response.headers if keep else (*response.headers, (b"connection", b"close"))
    return head_of(response.status, fields, date) + b"\r\n" + response.body


__all__ = [
    *("CONTINUE", "KEPT_HEAD", "LEFT", "NO_HTTP2", "PREFACE", "TIMED_OUT"),
    *("Known", "Phase", "overloaded", "whole_answer"),
]
