"""A whole answer to a search: hits, counts and histogram, with entries and proofs from the log itself."""

from __future__ import annotations

from typing import Final

from merklelog.client.searching import Search, SearchAnswer, SearchHit
from merklelog.errors import FieldError
from merklelog.log import LogReader

from .query import parse_query
from .search import Hit, Searcher

# What the entries of one answer may have in all; pages of fewer hits get the rest.
MAX_DATA: Final = 8 << 20


def answer(log: LogReader, searcher: Searcher, search: Search) -> SearchAnswer:
    """Ask the index of `log`; blocks while it reads.

    Raises FieldError for what can not be asked, NotFoundError while there is no index, DamagedError, StorageError.
    """
    condition = parse_query(search.query)
    found = searcher.find(
        condition, limit=search.limit, cursor=search.cursor, newest_first=search.newest_first
    )
    counts = searcher.counts(condition, search.count_by).counts if search.count_by else ()
    histogram = None if search.seconds is None else searcher.histogram(condition, search.seconds)
    hits: list[SearchHit] = []
    left = MAX_DATA
    for hit in found.hits:
        data: tuple[bytes, ...] = ()
        if search.entries:
            data = tuple(log.entries(hit.index, min(hit.index + hit.entries, log.size)))
            left -= sum(map(len, data))
            if left < 0 and hits:
                raise FieldError(
                    "limit",
                    f"the entries of these hits have more than {MAX_DATA:,} bytes: ask for fewer hits",
                )
        hits.append(_hit(hit, data, log.prove(hit.index).decode("utf-8") if search.proofs else ""))
    return SearchAnswer(
        tuple(hits),
        found.total,
        found.cursor,
        found.state.size,
        log.size,
        found.state.checkpoint,
        counts,
        () if histogram is None else histogram.buckets,
        0 if histogram is None else histogram.seconds,
        0 if histogram is None else histogram.untimed,
    )


def _hit(hit: Hit, data: tuple[bytes, ...], proof: str) -> SearchHit:
    return SearchHit(hit.index, hit.entries, hit.time, hit.fields, data, proof)


__all__ = ["MAX_DATA", "answer"]
