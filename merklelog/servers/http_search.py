"""GET search: what the log's index finds, as JSON."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from merklelog.client.searching import DEFAULT_LIMIT, Search, SearchAnswer
from merklelog.errors import FieldError
from merklelog.formats.wire import quote

from .http_values import UNCACHED, Response, decimal, json_answer

SEARCH: Final = "search"
_MAX_SECONDS: Final = 2**32 - 1
KNOWN: Final = {
    "query": "the query; without it every entry is meant",
    "limit": "how many hits at most, 1 to 1,000",
    "cursor": "the cursor of an answer, for the next page",
    "newest_first": "true or false",
    "entries": "true: with each hit's entry",
    "proofs": "true: with a proof of each hit",
    "count_by": "a field whose values are to be counted",
    "histogram_seconds": "seconds of each span of time to count in; 0: as long as makes some dozens",
}


class HitAnswer(msgspec.Struct, frozen=True):
    """A hit as JSON: its time is a decimal of nanoseconds since 1970, "0" for none; its entries are base64."""

    index: int
    entries: int
    time_unix_nano: str
    fields: dict[str, str]
    data: list[bytes]
    proof: str


class CountAnswer(msgspec.Struct, frozen=True):
    """A value of a field and how many entries have it."""

    value: str
    entries: int


class BucketAnswer(msgspec.Struct, frozen=True):
    """A span of time by its first second, and how many entries it has."""

    second: int
    entries: int


class FoundAnswer(msgspec.Struct, frozen=True):
    """The answer to a search as JSON; fields as in `SearchResponse` of the gRPC service."""

    hits: list[HitAnswer]
    total: int | None
    cursor: str
    indexed_size: int
    tree_size: int
    checkpoint: str
    counts: list[CountAnswer]
    buckets: list[BucketAnswer]
    bucket_seconds: int
    untimed: int


def search_asked(query: bytes) -> Search:
    """What a query string asks. Raises FieldError naming the parameter."""
    found: dict[str, str] = {}
    for part in query.split(b"&") if query else ():
        raw, equals, value = part.partition(b"=")
        name = _text(raw, "the query string")
        if name not in KNOWN:
            raise FieldError(quote(raw)[1:-1], f"no such parameter, want {' or '.join(KNOWN)}")
        if name in found or not equals:
            raise FieldError(name, f"want it once and with a value: {KNOWN[name]}")
        found[name] = _text(value, name)
    return Search(
        found.get("query", ""),
        decimal(found["limit"], "limit") if "limit" in found else DEFAULT_LIMIT,
        found.get("cursor", ""),
        _flag(found, "newest_first"),
        _flag(found, "entries"),
        _flag(found, "proofs"),
        found.get("count_by", ""),
        _seconds(found),
    )


def _text(raw: bytes, field: str) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise FieldError(field, f"got {quote(raw)}, which is not UTF-8") from None


def _flag(found: dict[str, str], name: str) -> bool:
    value = found.get(name, "false")
    if value not in {"true", "false"}:
        raise FieldError(name, f"got {value[:40]!r}, want true or false")
    return value == "true"


def _seconds(found: dict[str, str]) -> int | None:
    if "histogram_seconds" not in found:
        return None
    seconds = decimal(found["histogram_seconds"], "histogram_seconds")
    if seconds > _MAX_SECONDS:
        raise FieldError("histogram_seconds", f"{seconds}: want at most {_MAX_SECONDS}")
    return seconds


def search_answer(answer: SearchAnswer) -> Response:
    """The answer to a search."""
    told: Any = FoundAnswer(
        [
            HitAnswer(hit.index, hit.entries, str(hit.time), hit.fields, list(hit.data), hit.proof)
            for hit in answer.hits
        ],
        answer.total,
        answer.cursor,
        answer.indexed_size,
        answer.tree_size,
        answer.checkpoint,
        [CountAnswer(*each) for each in answer.counts],
        [BucketAnswer(*each) for each in answer.buckets],
        answer.bucket_seconds,
        answer.untimed,
    )
    return json_answer(told, UNCACHED)


__all__ = ["KNOWN", "SEARCH", "search_answer", "search_asked"]
