"""Searches of a server's logs: in threads of their own, bounded, so that no append waits for one."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from merklelog.client.searching import DEFAULT_LIMIT, Search, SearchAnswer
from merklelog.errors import ConfigError, DamagedError, NotFoundError, OverloadedError
from merklelog.log import Log
from merklelog.v1 import log_pb2 as pb

from .logging import event

if TYPE_CHECKING:
    from merklelog.index.search import Searcher

THREADS: Final = 2
WAITING: Final = 64

_log: Final = logging.getLogger("merklelog.server")


def check_index(log: Log) -> None:
    """Raises ConfigError for a log that is to be indexed where tantivy is not installed."""
    if log.config.index.enabled and find_spec("tantivy") is None:
        raise ConfigError(
            f"{log.path}: index.enabled = true needs tantivy, which is not there: pip install 'merklelog[search]'"
        )


class Searches:
    """The searches of one server, for one event loop."""

    def __init__(self) -> None:
        self._searchers: dict[str, Searcher] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._under_way = 0
        self._damaged: dict[str, Path] = {}  # the index of each log that was last found damaged

    async def search(self, log: Log, search: Search) -> SearchAnswer:
        """The answer to a search.

        Raises FieldError for what can not be asked, NotFoundError for a log without an index, OverloadedError
        when too many wait already.
        """
        if not log.config.index.enabled:
            raise NotFoundError("this log keeps no index (index.enabled = false)")
        if self._under_way >= WAITING:
            raise OverloadedError(
                f"{WAITING} searches are under way, as many as this server takes: try again"
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="merklelog-search")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, log, search)
        finally:
            self._under_way -= 1

    def _answer(self, log: Log, search: Search) -> SearchAnswer:
        from merklelog.index.answer import answer

        try:
            found = answer(log, self._searcher(log), search)
            self._damaged.pop(log.origin, None)
            return found
        except DamagedError as error:
            self._renew(log, error)
            raise NotFoundError("the index is damaged, and is made anew: ask again in a while") from error

    def _renew(self, log: Log, error: DamagedError) -> None:
        """Ask for another index, once for each: until that is whole, searches find the same one damaged."""
        from merklelog.index.files import ask_for_rebuild, current, search_directory

        place = search_directory(log.path)
        damaged = current(place)
        if self._damaged.get(log.origin) != damaged:
            self._damaged[log.origin] = damaged
            # The log itself is read too: if it is that which is damaged, the new index will not come far.
            event(_log, logging.ERROR, f"search index: {error}; it is made anew", origin=log.origin)
            ask_for_rebuild(place)

    def _searcher(self, log: Log) -> Searcher:
        found = self._searchers.get(log.origin)
        if found is None:
            from merklelog.index.files import search_directory
            from merklelog.index.search import Searcher

            found = self._searchers.setdefault(log.origin, Searcher(search_directory(log.path)))
        return found


def search_of(request: pb.SearchRequest) -> Search:
    """What a request over gRPC asks."""
    return Search(
        request.query,
        request.limit or DEFAULT_LIMIT,
        request.cursor,
        request.newest_first,
        request.entries,
        request.proofs,
        request.count_by,
        request.histogram_seconds if request.HasField("histogram_seconds") else None,
    )


def response_of(answer: SearchAnswer) -> pb.SearchResponse:
    """The answer over gRPC."""
    made = pb.SearchResponse(
        total=answer.total,
        cursor=answer.cursor,
        indexed_size=answer.indexed_size,
        tree_size=answer.tree_size,
        checkpoint=answer.checkpoint.encode("utf-8"),
        bucket_seconds=answer.bucket_seconds,
        untimed=answer.untimed,
    )
    for hit in answer.hits:
        made.hits.add(
            index=hit.index,
            entries=hit.entries,
            time_unix_nano=hit.time,
            fields=hit.fields,
            data=hit.data,
            proof=hit.proof.encode("utf-8"),
        )
    for value, entries in answer.counts:
        made.counts.add(value=value, entries=entries)
    for second, entries in answer.buckets:
        made.buckets.add(second=second, entries=entries)
    return made


__all__ = ["Searches", "check_index", "response_of", "search_of"]
