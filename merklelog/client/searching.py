"""Searching a log on a server: what is asked, what comes back, and the two ways to ask.

Nothing that comes back is believed: an index is a hint where to look. Whoever needs to know proves each hit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from merklelog.client.access import Access
from merklelog.client.targets import GRPC_SCHEMES, HTTP_SCHEMES, scheme_of
from merklelog.errors import DamagedError, FormatError, UsageError
from merklelog.formats.wire import decode_base64, parse_decimal

DEFAULT_LIMIT: Final = 100
MAX_ANSWER: Final = 32 << 20
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and what of it is wanted: see `SearchRequest` of the protocol.

    `seconds` is the length of the histogram's spans, 0 for as long as makes some dozens of them, None for none.
    """

    query: str
    limit: int = DEFAULT_LIMIT
    cursor: str = ""
    newest_first: bool = False
    entries: bool = False
    proofs: bool = False
    count_by: str = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One hit: the first index of the `entries` that its record stands in, its time (nanoseconds since 1970, 0 for
    none), its fields, and where it was asked for the bytes of its entries and a proof file.
    """

    index: int
    entries: int
    time: int
    fields: dict[str, str]
    data: tuple[bytes, ...] = field(default=(), repr=False)
    proof: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits in order of time, how many there are in all (None on later pages), and the next page's cursor ("" for
    none).

    The index has the first `indexed_size` entries, which are under `checkpoint`; the log has `tree_size`. `counts`
    has (value, entries), `buckets` (first second, entries); `untimed` are in no bucket.
    """

    hits: tuple[SearchHit, ...]
    total: int | None
    cursor: str
    indexed_size: int
    tree_size: int
    checkpoint: str = field(repr=False)
    counts: tuple[tuple[str, int], ...] = ()
    buckets: tuple[tuple[int, int], ...] = ()
    bucket_seconds: int = 0
    untimed: int = 0


def search_server(target: str, search: Search, access: Access, origin: str = "") -> SearchAnswer:
    """What a server answers. `origin` names the log on one of several, over gRPC.

    Raises UsageError for another kind of target, and for a query that the server refuses (with its words);
    NotFoundError for a log without an index, DamagedError for what is no answer, and what asking a server raises.
    """
    scheme = scheme_of(target)
    if scheme in GRPC_SCHEMES:
        from merklelog.client.grpc_search import search_grpc

        return search_grpc(target, search, access, origin)
    if scheme not in HTTP_SCHEMES:
        raise UsageError(
            f"target {target[:200]!r}: a published copy has no index; search a server, or a data directory"
        )
    from merklelog.client.http_source import HttpObjects

    with closing(HttpObjects(target, access)) as objects:
        answer = objects.ask("GET", f"search?{_asked(search)}", headers={}, limit=MAX_ANSWER)
    try:
        return _answer(json.loads(answer.body))
    except (ValueError, RecursionError, FormatError) as error:
        raise DamagedError(f"{target}: the answer to a search can not be read: {error}") from error


def _asked(search: Search) -> str:
    asked: dict[str, str] = {"query": search.query}
    if search.limit != DEFAULT_LIMIT:
        asked["limit"] = str(search.limit)
    for name in ("newest_first", "entries", "proofs"):
        if getattr(search, name):
            asked[name] = "true"
    for name in ("cursor", "count_by"):
        if value := getattr(search, name):
            asked[name] = value
    if search.seconds is not None:
        asked["histogram_seconds"] = str(search.seconds)
    return urlencode({name: value for name, value in asked.items() if value or name != "query"})


# --- JSON, as strictly as anything else from outside -------------------------------------------------------------


def _answer(told: Any) -> SearchAnswer:
    top = _object(told)
    total = top.get("total")
    return SearchAnswer(
        tuple(_hit(each) for each in _list(top, "hits")),
        None if total is None else _number(total),
        _get(top, "cursor", str),
        _number(top.get("indexed_size")),
        _number(top.get("tree_size")),
        _get(top, "checkpoint", str),
        tuple(_pair(each, "value", _text) for each in _list(top, "counts")),
        tuple(_pair(each, "second", _number) for each in _list(top, "buckets")),
        _number(top.get("bucket_seconds")),
        _number(top.get("untimed")),
    )


def _hit(told: Any) -> SearchHit:
    hit = _object(told)
    fields = _object(hit.get("fields"))
    return SearchHit(
        _number(hit.get("index")),
        _number(hit.get("entries")),
        _decimal(_get(hit, "time_unix_nano", str)),
        {name: _text(value) for name, value in fields.items()},
        tuple(decode_base64(_text(each).encode(), "data") for each in _list(hit, "data")),
        _get(hit, "proof", str),
    )


def _object(told: Any) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise FormatError(f"got {type(told).__name__}, want an object")
    return told


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    return _get(told, name, list)


def _get(told: Mapping[str, Any], name: str, kind: type[_Value]) -> _Value:
    value = told.get(name)
    if not isinstance(value, kind):
        raise FormatError(f"{name}: got {type(value).__name__}, want {kind.__name__}")
    return value


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise FormatError(f"got {type(told).__name__}, want a string")
    return told


def _number(told: Any) -> int:
    if type(told) is not int or not 0 <= told < 2**64:
        raise FormatError(f"got {str(told)[:40]}, want a whole number from 0 on")
    return told


def _decimal(text: str) -> int:
    return parse_decimal(text.encode(), "time_unix_nano", 2**64 - 1)


def _pair(told: Any, name: str, read: Callable[[Any], _Value]) -> tuple[_Value, int]:
    pair = _object(told)
    return read(pair.get(name)), _number(pair.get("entries"))


__all__ = ["DEFAULT_LIMIT", "Search", "SearchAnswer", "SearchHit", "search_server"]
