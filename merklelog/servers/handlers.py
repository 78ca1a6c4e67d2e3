"""`Handlers` answers every rpc of merklelog.v1.LogService: a message in, a message out.

No wire is known here. A front turns bytes into these messages, says who the caller is, and turns what is raised
into a status by `problems`. What only takes a few tiles is read in the event loop, which is quicker than asking a
thread; what takes more is read in one. Where a caller is not allowed something, it is told before it learns
whether the thing exists.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from google.protobuf.message_factory import GetMessageClass

from merklelog.errors import ClosedError, FieldError, ForbiddenError, NotFoundError, RangeError
from merklelog.formats import MAX_ENTRY, format_vkey
from merklelog.log import Log
from merklelog.tree import TILE_HEIGHT
from merklelog.v1 import log_pb2 as pb

from . import appending, proving, searching
from .asked import check_level, check_size
from .caller import Caller, Scope
from .growth import Growth
from .rpc import MAX_MESSAGE_BYTES, Method
from .served import MAX_BATCH_ENTRIES, ServedLog, ServedLogs, has_targets, has_witnesses
from .waits import Waits

SERVICE: Final = "merklelog.v1.LogService"
CHUNK_ENTRIES: Final = 1_024
CHUNK_BYTES: Final = 256 << 10  # what each stream whose reader is slow holds
# So many proofs are made in the event loop at most: anywhere in the tree, and out of a tile or two.
_FEW: Final = 16
_NEAR: Final = 512
_TILES: Final = 2


class Handlers:
    """The answers of one server, for one event loop, over the logs it serves.

    Every method takes a request (or an async iterator of them) and the caller, and gives the response (or an async
    iterator). They raise this project's errors; see `problems` for the status of each. What goes on for long asks
    again and again what its caller may: a token that is revoked ends it.
    """

    def __init__(
        self,
        logs: ServedLogs,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        waits: Waits | None = None,
        searches: searching.Searches | None = None,
    ) -> None:
        self._logs = logs
        self._waits = Waits() if waits is None else waits
        self._searches = searching.Searches() if searches is None else searches
        self._max_message_bytes = max_message_bytes
        self._growth: dict[str, Growth] = {}
        self._streams: set[appending.AppendStream] = set()
        self._draining = False

    def drain(self) -> None:
        """End what would go on for ever: watches, and append streams once what they read is answered.

        Appends under way, and whatever else is short, are left to finish.
        """
        self._draining = True
        for growth in self._growth.values():
            growth.end()
        for stream in self._streams:
            stream.stop()

    def _log(self, origin: str, scope: Scope, caller: Caller) -> Log:
        return self._served(origin, scope, caller).log

    def _served(self, origin: str, scope: Scope, caller: Caller) -> ServedLog:
        if origin and not caller.may(scope, origin):
            raise ForbiddenError(f"{caller.name or 'an unnamed caller'} may not {scope} here")
        served = self._logs.find(origin)
        if not origin and not caller.may(scope, served.log.origin):
            raise ForbiddenError(f"{caller.name or 'an unnamed caller'} may not {scope} here")
        return served

    def _grown(self, log: Log) -> Growth:
        if self._draining:
            raise ClosedError("the server is shutting down")
        if log.origin not in self._growth:
            self._growth[log.origin] = Growth(log)
        return self._growth[log.origin]

    # --- appending ---------------------------------------------------------------------------------------------

    async def append(self, request: pb.AppendRequest, caller: Caller) -> pb.AppendResponse:
        """Append one entry. Cancelled, it may still have been stored."""
        log = self._log(request.origin, Scope.APPEND, caller)
        return await appending.append(log, request, caller.name, self._waits)

    async def append_batch(self, request: pb.AppendBatchRequest, caller: Caller) -> pb.AppendBatchResponse:
        """Append entries, all or none. Cancelled, they may still have been stored."""
        log = self._log(request.origin, Scope.APPEND, caller)
        return await appending.append_batch(log, request, caller.name, self._waits)

    async def append_stream(
        self, requests: AsyncIterator[pb.AppendStreamRequest], caller: Caller
    ) -> AsyncIterator[pb.AppendStreamResponse]:
        """Append what a stream brings, pipelined; answers come in order. The first error ends it."""
        first = await anext(requests, None)
        if first is None:
            return
        log = self._log(first.origin, Scope.APPEND, caller)
        stream = appending.AppendStream(log, caller.name, self._waits)
        self._streams.add(stream)
        if self._draining:
            stream.stop()
        try:
            async with aclosing(stream.answers(first, requests)) as answers:
                async for answer in answers:
                    self._log(first.origin, Scope.APPEND, caller)
                    yield answer
        finally:
            self._streams.discard(stream)

    # --- checkpoints -------------------------------------------------------------------------------------------

    async def get_checkpoint(
        self, request: pb.GetCheckpointRequest, caller: Caller
    ) -> pb.GetCheckpointResponse:
        """The newest checkpoint of a level, or the one stored for a size."""
        log = self._log(request.origin, Scope.READ, caller)
        if request.WhichOneof("which") == "tree_size":
            return pb.GetCheckpointResponse(
                checkpoint=log.checkpoint(check_size("tree_size", request.tree_size))
            )
        if check_level("level", request.level, log) == pb.LEVEL_WITNESSED:
            if (head := log.witnessed) is None:
                raise NotFoundError("no checkpoint has the cosignatures of the log's policy yet")
            return pb.GetCheckpointResponse(checkpoint=head.note)
        return pb.GetCheckpointResponse(checkpoint=log.checkpoint())

    async def watch_checkpoints(
        self, request: pb.WatchCheckpointsRequest, caller: Caller
    ) -> AsyncIterator[pb.WatchCheckpointsResponse]:
        """The newest checkpoint, then each newer one: those between are left out for who reads slowly."""
        log = self._log(request.origin, Scope.READ, caller)
        growth = self._grown(log)
        if check_level("level", request.level, log) == pb.LEVEL_WITNESSED:
            head = log.witnessed
            while True:
                if head is not None:
                    yield pb.WatchCheckpointsResponse(checkpoint=head.note)
                head = await growth.witnessed_beyond(-1 if head is None else head.size)
                self._log(request.origin, Scope.READ, caller)
        while True:
            size, note = proving.newest(log)
            yield pb.WatchCheckpointsResponse(checkpoint=note)
            await growth.beyond(size)
            self._log(request.origin, Scope.READ, caller)

    # --- proofs ------------------------------------------------------------------------------------------------

    async def get_inclusion_proof(
        self, request: pb.GetInclusionProofRequest, caller: Caller
    ) -> pb.GetInclusionProofResponse:
        """One entry's proof."""
        log = self._log(request.origin, Scope.READ, caller)
        if request.WhichOneof("entry") == "leaf_hash":
            return await asyncio.to_thread(proving.inclusion, log, request)
        return proving.inclusion(log, request)

    async def get_inclusion_proofs(
        self, request: pb.GetInclusionProofsRequest, caller: Caller
    ) -> pb.GetInclusionProofsResponse:
        """Many entries' proofs, or a range's."""
        log = self._log(request.origin, Scope.READ, caller)
        if request.leaf_hashes or not _is_quick(request.indexes):
            return await asyncio.to_thread(proving.inclusions, log, request, MAX_BATCH_ENTRIES)
        return proving.inclusions(log, request, MAX_BATCH_ENTRIES)

    async def get_consistency_proof(
        self, request: pb.GetConsistencyProofRequest, caller: Caller
    ) -> pb.GetConsistencyProofResponse:
        """The proof that one tree extends another."""
        return proving.consistency(self._log(request.origin, Scope.READ, caller), request)

    # --- entries -----------------------------------------------------------------------------------------------

    async def get_entries(
        self, request: pb.GetEntriesRequest, caller: Caller
    ) -> AsyncIterator[pb.GetEntriesResponse]:
        """The entries of a range, some at a time."""
        log = self._log(request.origin, Scope.READ, caller)
        size = log.size
        start, end = request.start, request.end or size
        if request.end and start > end:
            raise FieldError("end", f"{end}: want at least start, {start}")
        if not start <= end <= size:
            raise RangeError(f"entries {start}:{end}: the log has {size}")
        while start < end:
            entries = await asyncio.to_thread(_chunk, log, start, end)
            yield pb.GetEntriesResponse(start=start, entries=entries)
            start += len(entries)
            self._log(request.origin, Scope.READ, caller)

    async def watch_entries(
        self, request: pb.WatchEntriesRequest, caller: Caller
    ) -> AsyncIterator[pb.WatchEntriesResponse]:
        """Entries from an index on, as they come."""
        log = self._log(request.origin, Scope.READ, caller)
        growth = self._grown(log)
        start = check_size("start", request.start)
        while True:
            end = await growth.beyond(start)
            self._log(request.origin, Scope.READ, caller)
            entries = await asyncio.to_thread(_chunk, log, start, end)
            yield pb.WatchEntriesResponse(start=start, entries=entries)
            start += len(entries)

    # --- searching ---------------------------------------------------------------------------------------------

    async def search(self, request: pb.SearchRequest, caller: Caller) -> pb.SearchResponse:
        """What the log's index finds."""
        log = self._log(request.origin, Scope.READ, caller)
        return searching.response_of(await self._searches.search(log, searching.search_of(request)))

    # --- the log itself ----------------------------------------------------------------------------------------

    async def get_log(self, request: pb.GetLogRequest, caller: Caller) -> pb.GetLogResponse:
        """What the log is and what it takes."""
        served = self._served(request.origin, Scope.READ, caller)
        log = served.log
        return pb.GetLogResponse(
            origin=log.origin,
            verifier_keys=[format_vkey(key) for key in log.vkeys],
            receipt_key="" if log.receipt_vkey is None else format_vkey(log.receipt_vkey),
            epoch=log.epoch or 0,
            sizes=_sizes(log),
            limits=pb.Limits(
                max_entry_bytes=MAX_ENTRY,
                max_batch_entries=MAX_BATCH_ENTRIES,
                max_message_bytes=self._max_message_bytes,
                max_wait_seconds=int(self._waits.seconds),
            ),
            http_prefix=served.prefix,
            dedupe=log.config.dedupe,
            lookup=log.config.lookup or log.config.dedupe,
        )


def _sizes(log: Log) -> list[pb.LevelSize]:
    """How far the log has come at each level; what is published is never more than what is integrated."""
    shown = log.size
    sizes = [pb.LevelSize(level=pb.LEVEL_INTEGRATED, tree_size=log.integrated.size)]
    if has_targets(log):
        sizes.append(pb.LevelSize(level=pb.LEVEL_PUBLISHED, tree_size=shown))
    if has_witnesses(log):
        witnessed = 0 if log.witnessed is None else log.witnessed.size
        sizes.append(pb.LevelSize(level=pb.LEVEL_WITNESSED, tree_size=witnessed))
    return sizes


def _chunk(log: Log, start: int, end: int) -> list[bytes]:
    """The next entries of [start, end): at least one, else about as many as CHUNK_BYTES hold."""
    entries: list[bytes] = []
    held = 0
    for entry in log.entries(start, min(end, start + CHUNK_ENTRIES)):
        entries.append(entry)
        held += len(entry)
        if held >= CHUNK_BYTES:
            break
    return entries


def _methods() -> tuple[Method, ...]:
    service = pb.DESCRIPTOR.services_by_name[SERVICE.rpartition(".")[2]]
    return tuple(
        Method(
            path=f"/{service.full_name}/{method.name}",
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
            attribute=re.sub("(?<!^)(?=[A-Z])", "_", method.name).lower(),
        )
        for method in service.methods
    )


def _is_quick(indexes: Sequence[int]) -> bool:
    """Whether these proofs take the event loop no longer than handing them to a thread and back would hold it up.

    Proofs out of one tile cost some microseconds each; every other tile costs a read of the disk at worst.
    """
    if len(indexes) <= _FEW:
        return True
    return len(indexes) <= _NEAR and len({index >> TILE_HEIGHT for index in indexes}) <= _TILES


# Every rpc of the service, as the compiled definition has it.
METHODS: Final = _methods()
