"""Asking an index: hits in order of time, page by page; counts by field, and by time.

Every answer says how far the index has come (`State`): what the log has beyond that was not looked at.
Order is by time, then by index; entries without a time come first (last, newest first). A page's cursor names the
last hit's time and index, so that paging goes on rightly while the log grows.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import tantivy

from merklelog.errors import DamagedError, FieldError, FormatError
from merklelog.formats.wire import parse_decimal

from .document import MAX_TIME
from .engine import engine, open_index
from .files import current
from .indexer import read_state
from .query import Condition
from .schema import State, as_query, between
from .words import SEPARATOR, fold

MAX_HITS: Final = 1_000
MAX_COUNTS: Final = 1_000
MAX_BUCKETS: Final = 1_000
_CURSOR: Final = re.compile(r"(a|d)([0-9]{1,20})-([0-9]{1,19})", re.ASCII)
_SOME_BUCKETS: Final = 60
_STEPS: Final = (1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that meets the condition: its first index, how many entries it spans, its time and its fields."""

    index: int
    entries: int
    time: int
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of hits. `total` counts all, None on later pages; `cursor` gets the next page, "" on the last."""

    hits: tuple[Hit, ...]
    total: int | None
    cursor: str
    state: State


@dataclass(frozen=True, slots=True)
class Counts:
    """How many entries have each value of a field, the most frequent first; values are in lower case."""

    counts: tuple[tuple[str, int], ...]
    state: State


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many entries there are in each span of `seconds`; a bucket is (its first second since 1970, its count).

    Spans without entries are left out, and so are entries without a time, which `untimed` counts.
    """

    seconds: int
    buckets: tuple[tuple[int, int], ...]
    untimed: int
    state: State


class Searcher:
    """The index of one log, to be asked by any number of threads. It sees each commit with the next question.

    Every method raises NotFoundError while there is no index, DamagedError, StorageError; FieldError for a
    question that can not be taken.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._seen: object = None
        self._index: tantivy.Index | None = None
        self._state = State()
        self._path = place

    def _newest(self) -> tuple[tantivy.Index, tantivy.Searcher, State]:
        with self._lock:
            while True:
                path = current(self._place)
                try:
                    index = self._opened(path)
                    return index, index.searcher(), self._state
                except DamagedError:
                    if current(self._place) == path:
                        raise
                    # Another one took its place meanwhile, and what was read of it is deleted.

    def _opened(self, path: Path) -> tantivy.Index:
        """The index at `path` as it is now."""
        seen = (path, _stamp(path / "meta.json"))
        with engine(path):
            index = self._index
            if index is None or path != self._path:
                index = open_index(path)
                index.config_reader("manual")
                self._seen = None
            if seen != self._seen:
                index.reload()
                self._state = read_state(index)
            self._index, self._path, self._seen = index, path, seen
            return index

    def state(self) -> State:
        """How far the index has come."""
        return self._newest()[2]

    def path(self) -> Path:
        """The directory that the index is in."""
        return current(self._place)

    def find(
        self, condition: Condition, *, limit: int = 100, cursor: str = "", newest_first: bool = False
    ) -> Found:
        """A page of at most `limit` hits."""
        if not 1 <= limit <= MAX_HITS:
            raise FieldError("limit", f"{limit}: want 1 to {MAX_HITS:,}")
        after = _parse_cursor(cursor, newest_first=newest_first)
        index, searcher, state = self._newest()
        with engine(self._path):
            query = _Query(index.schema, searcher, as_query(index.schema, condition), newest_first)
            hits, total = query.page(limit + 1, after)
            found = tuple(query.hit(*each) for each in hits[:limit])
        more = len(hits) > limit
        order = "d" if newest_first else "a"
        next_cursor = f"{order}{found[-1].time}-{found[-1].index}" if more else ""
        return Found(found, total, next_cursor, state)

    def count(self, condition: Condition) -> tuple[int, State]:
        """How many entries meet the condition."""
        index, searcher, state = self._newest()
        with engine(self._path):
            return _total(searcher.search(as_query(index.schema, condition), 1)), state

    def counts(self, condition: Condition, field: str, *, limit: int = 10) -> Counts:
        """How many entries have each value of the field."""
        if not field or SEPARATOR in field:
            raise FieldError("field", f"{field!r}: want the name of a field")
        if not 1 <= limit <= MAX_COUNTS:
            raise FieldError("limit", f"{limit}: want 1 to {MAX_COUNTS:,}")
        index, searcher, state = self._newest()
        begin = f"{fold(field)}{SEPARATOR}"
        with engine(self._path):
            query = as_query(index.schema, condition)
            terms = searcher.terms_with_prefix("terms", begin, filter_query=query, limit=limit)
        counts = ((term.removeprefix(begin).partition(SEPARATOR)[0], int(count)) for term, count in terms)
        return Counts(tuple(each for each in counts if each[1]), state)

    def histogram(self, condition: Condition, seconds: int = 0) -> Histogram:
        """How many entries there are in each span of so many seconds; 0: as long as makes some dozens of them."""
        index, searcher, state = self._newest()
        schema = index.schema
        with engine(self._path):
            base = as_query(schema, condition)
            every = _both(base, between(schema, "time", 1, MAX_TIME))
            untimed = _total(searcher.search(_both(base, between(schema, "time", 0, 0)), 1))
            first, last = (
                searcher.search(every, 1, order_by_field="second", order=order).hits
                for order in (tantivy.Order.Asc, tantivy.Order.Desc)
            )
            if not first:
                return Histogram(seconds or 1, (), untimed, state)
            low, high = int(first[0][0]), int(last[0][0])
            step = seconds or next((s for s in _STEPS if (high - low) // s < _SOME_BUCKETS), _STEPS[-1])
            told = _buckets(searcher, every, step)
        if len(told) > MAX_BUCKETS:
            raise _too_many(step)
        buckets = tuple((int(each["key"]), int(each["doc_count"])) for each in told)
        return Histogram(step, buckets, untimed, state)


def _buckets(searcher: tantivy.Searcher, query: tantivy.Query, step: int) -> list[dict[str, Any]]:
    """The spans that have entries: a stray time far from all others makes one more, and no empty ones between."""
    wanted = {"time": {"histogram": {"field": "second", "interval": step, "min_doc_count": 1}}}
    try:
        told: dict[str, Any] = searcher.aggregate(query, wanted)
    except ValueError as error:
        if "bucket" not in str(error).lower():
            raise
        raise _too_many(step) from error
    return [each for each in told["time"]["buckets"] if each["doc_count"]]


def _too_many(step: int) -> FieldError:
    wanted = f"want at most {MAX_BUCKETS:,}; narrow it by after: and before:"
    return FieldError("seconds", f"more than {MAX_BUCKETS:,} spans of {step} s have entries, {wanted}")


class _Query:
    """One query on one state of the index."""

    def __init__(
        self, schema: tantivy.Schema, searcher: tantivy.Searcher, base: tantivy.Query, newest_first: bool
    ) -> None:
        self._schema = schema
        self._searcher = searcher
        self._base = base
        self._down = newest_first
        self._order = tantivy.Order.Desc if newest_first else tantivy.Order.Asc

    def page(
        self, want: int, after: tuple[int, int] | None
    ) -> tuple[list[tuple[int, int, tantivy.DocAddress]], int | None]:
        """At most `want` hits behind `after` as (time, index, address), and how many hits there are in all."""
        found: list[tuple[int, int, tantivy.DocAddress]] = []
        query, total = self._base, None
        if after is not None:
            time, index = after
            found = self._alike(time, want, index)
            beyond = (0, time - 1) if self._down else (time + 1, MAX_TIME)
            query = _both(query, between(self._schema, "time", *beyond))
        left = want - len(found)
        if left:
            result = self._searcher.search(
                query, left, count=after is None, order_by_field="time", order=self._order
            )
            total = _total(result) if after is None else None
            hits = self._with_index(result.hits)
            if (
                len(hits) == left
            ):  # of those with the last one's time these may be any: they are asked for anew
                last = hits[-1][0]
                hits = [hit for hit in hits if hit[0] != last]
                hits += self._alike(last, left - len(hits), None)
            found += hits
        return found, total

    def _alike(self, time: int, want: int, after: int | None) -> list[tuple[int, int, tantivy.DocAddress]]:
        """The first hits with exactly this time, by index."""
        query = _both(self._base, between(self._schema, "time", time, time))
        if after is not None:
            beyond = (0, after - 1) if self._down else (after + 1, MAX_TIME)
            query = _both(query, between(self._schema, "index", *beyond))
        hits = self._searcher.search(query, want, count=False, order_by_field="index", order=self._order).hits
        return [(time, int(index), address) for index, address in hits]

    def _with_index(
        self, hits: list[tuple[Any, tantivy.DocAddress]]
    ) -> list[tuple[int, int, tantivy.DocAddress]]:
        indexes = self._searcher.fast_field_values("index", [address for _, address in hits])
        found = [
            (int(time), int(index or 0), address)
            for (time, address), index in zip(hits, indexes, strict=True)
        ]
        found.sort(key=lambda hit: hit[:2], reverse=self._down)
        return found

    def hit(self, time: int, index: int, address: tantivy.DocAddress) -> Hit:
        """A hit with what is stored of it."""
        entries = self._searcher.fast_field_values("entries", [address])[0]
        try:
            fields = _FIELDS.decode(self._searcher.doc(address)["shown"][0])
        except (msgspec.MsgspecError, IndexError, KeyError) as error:
            raise DamagedError(f"what the index shows of entry {index} can not be read: {error}") from error
        return Hit(index, int(entries or 1), time, fields)


_FIELDS: Final = msgspec.json.Decoder(dict[str, str])


def _total(result: Any) -> int:
    """How many hits there are in all, of which a search gave some; its stub does not say that it counts them."""
    return int(result.count)


def _both(one: tantivy.Query, other: tantivy.Query) -> tantivy.Query:
    must = tantivy.Occur.Must
    return tantivy.Query.boolean_query([(must, one), (must, other)])


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _parse_cursor(cursor: str, *, newest_first: bool) -> tuple[int, int] | None:
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    try:
        if found is None:
            raise FormatError("another form")
        time = parse_decimal(found[2].encode(), "time", MAX_TIME)
        index = parse_decimal(found[3].encode(), "index")
    except FormatError:
        raise FieldError("cursor", f"got {cursor[:60]!r}, want one that an answer gave") from None
    if (found[1] == "d") is not newest_first:
        raise FieldError("cursor", "it is of the other order")
    return time, index


__all__ = ["MAX_BUCKETS", "MAX_COUNTS", "MAX_HITS", "Counts", "Found", "Histogram", "Hit", "Searcher"]
