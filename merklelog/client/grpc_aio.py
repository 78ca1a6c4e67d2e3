"""A transport over gRPC for tasks: what `grpc_transport` asks, awaited."""

# ruff: noqa: ARG002 - the seam has arguments that not every transport needs
from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from merklelog.client import grpc_wire as wire
from merklelog.client.grpc_wire import SERVICE, Place
from merklelog.client.transport import Appended, Batch, Included, Stretch
from merklelog.errors import UnavailableError, UsageError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.tree.hashing import Hash
from merklelog.v1 import log_pb2 as pb


def open_channel(place: Place) -> grpc.aio.Channel:
    """A channel for the running event loop; connects when it is first used."""
    if place.credentials is None:
        return grpc.aio.insecure_channel(place.address, options=place.options)
    return grpc.aio.secure_channel(place.address, place.credentials, options=place.options)


class GrpcAioTransport:
    """Over one channel, for the event loop it is made in. `origin` is that of GrpcTransport."""

    def __init__(self, place: Place, origin: str) -> None:
        """Connects when it is first used."""
        self._place = place
        self._origin = origin
        self._channel = open_channel(place)

    async def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        request = wire.checkpoint_request(self._origin, size)
        return bytes(
            (await self._ask("GetCheckpoint", request, pb.GetCheckpointResponse, seconds)).checkpoint
        )

    async def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        newest: bytes = b""
        request = pb.WatchCheckpointsRequest(origin=self._origin, level=pb.LEVEL_INTEGRATED)
        stream = self._stream("WatchCheckpoints", request, pb.WatchCheckpointsResponse, seconds)
        try:
            async with aclosing(stream) as answers:
                async for answer in answers:
                    newest = answer.checkpoint
                    if parse_checkpoint(newest).checkpoint.size > size:
                        return newest
        except UnavailableError:
            if not newest:
                raise
        if not newest:
            raise UnavailableError(f"{self._place.target}: a stream of checkpoints ended without one")
        return newest  # its time is over, and a client that wants more asks again

    async def inclusions(
        self,
        indexes: Sequence[int],
        size: int,
        root: Hash,
        seconds: float,
    ) -> list[Included]:
        """See Transport."""
        request = pb.GetInclusionProofsRequest(origin=self._origin, indexes=indexes, tree_size=size)
        answer = await self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse, seconds)
        return wire.included(answer, indexes)

    async def range_proof(
        self,
        start: int,
        end: int,
        size: int,
        root: Hash,
        seconds: float,
    ) -> tuple[Hash, ...]:
        """See Transport."""
        request = pb.GetInclusionProofsRequest(
            origin=self._origin, range_start=start, range_end=end, tree_size=size
        )
        answer = await self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse, seconds)
        return wire.hashes(answer.range_proof)

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        request = pb.GetConsistencyProofRequest(origin=self._origin, old_size=old, new_size=size)
        answer = await self._ask("GetConsistencyProof", request, pb.GetConsistencyProofResponse, seconds)
        return wire.hashes(answer.proof)

    async def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        collected = wire.Collected(start, end)
        request = pb.GetEntriesRequest(
            origin=self._origin, start=start, end=min(end, start + wire.STRETCH_ENTRIES)
        )
        async with aclosing(self._stream("GetEntries", request, pb.GetEntriesResponse, seconds)) as answers:
            async for answer in answers:
                if collected.take(answer):
                    break
        if not collected.entries:
            return Stretch([], ())
        return Stretch(collected.entries, await self.range_proof(start, collected.end, size, root, seconds))

    async def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""
        if len(batch.entries) == 1 and batch.keys is None:
            request = wire.append_request(self._origin, batch)
            return wire.appended_one(await self._ask("Append", request, pb.AppendResponse, seconds))
        many = wire.batch_request(self._origin, batch)
        answer = await self._ask("AppendBatch", many, pb.AppendBatchResponse, seconds)
        return wire.appended_batch(answer, len(batch.entries))

    async def close(self) -> None:
        """See Transport."""
        await self._channel.close(None)

    async def _ask(self, name: str, request: Any, answer: Any, seconds: float) -> Any:
        try:
            call = self._channel.unary_unary(
                SERVICE + name, type(request).SerializeToString, answer.FromString
            )
            return self._read(await call(request, timeout=seconds, metadata=self._place.metadata))
        except grpc.RpcError as error:
            raise wire.error_of(self._place.target, error) from error
        except grpc.aio.UsageError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error

    def _read(self, answer: Any) -> Any:
        if answer is None:  # so grpc.aio says that it could not read it
            raise wire.no_message(self._place.target)
        return answer

    async def _stream(
        self, name: str, request: Any, answer: Any, seconds: float
    ) -> AsyncGenerator[Any, None]:
        method = self._channel.unary_stream(
            SERVICE + name, type(request).SerializeToString, answer.FromString
        )
        try:
            call = method(request, timeout=seconds, metadata=self._place.metadata)
        except grpc.aio.UsageError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        try:
            async for each in call:
                yield self._read(each)
        except grpc.RpcError as error:
            raise wire.error_of(self._place.target, error) from error
        finally:
            call.cancel()
