"""The way to a log over gRPC: one AppendStream for the batches, unary calls for proofs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from merklelog.errors import FormatError, MerklelogError, UnavailableError
from merklelog.tree import Hash
from merklelog.v1 import log_pb2 as pb

from .producer_transport import Answer

_SERVICE: Final = "/merklelog.v1.LogService/"
_PROOF_SECONDS: Final = 30.0

Metadata = tuple[tuple[str, str], ...]


class _Waiting(NamedTuple):
    entries: int
    answer: asyncio.Future[Answer]


class GrpcStream:
    """A transport of a producer over a channel, which it owns.

    `failure` says which error of this project a call's end is.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        failure: Callable[[grpc.RpcError], MerklelogError],
        metadata: Metadata = (),
        origin: str = "",
    ) -> None:
        self._channel = channel
        self._failure = failure
        self._metadata = metadata
        self._origin = origin
        self._stream: _Stream | None = None

    def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
        """See Transport."""
        if self._stream is None:
            call = self._channel.stream_stream(f"{_SERVICE}AppendStream", _as_it_is, _as_it_is)
            self._stream = _Stream(call, self._metadata, self._failure)
        request = pb.AppendStreamRequest(
            origin=self._origin,
            entries=[pb.NewEntry(data=entry) for entry in entries],
            idempotency_key=key,
            detail=pb.DETAIL_CHECKPOINT,
        )
        return self._stream.send(request.SerializeToString(), len(entries))

    async def reset(self) -> None:
        """See Transport."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.cancel()

    async def close(self) -> None:
        """See Transport."""
        await self.reset()
        await self._channel.close(None)

    async def range_proof(self, start: int, end: int, size: int) -> Sequence[Hash]:
        """See Proofs."""
        request = pb.GetInclusionProofsRequest(
            origin=self._origin, range_start=start, range_end=end, tree_size=size
        )
        answer = await self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse)
        return [Hash(each) for each in answer.range_proof]

    async def inclusion_proofs(self, indexes: Sequence[int], size: int) -> Sequence[Sequence[Hash]]:
        """See Proofs."""
        request = pb.GetInclusionProofsRequest(origin=self._origin, indexes=indexes, tree_size=size)
        answer = await self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse)
        return [[Hash(each) for each in entry.proof] for entry in answer.entries]

    async def consistency_proof(self, old: int, new: int) -> Sequence[Hash]:
        """See Proofs."""
        request = pb.GetConsistencyProofRequest(origin=self._origin, old_size=old, new_size=new)
        answer = await self._ask("GetConsistencyProof", request, pb.GetConsistencyProofResponse)
        return [Hash(each) for each in answer.proof]

    async def _ask(self, method: str, request: Any, kind: Any) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=kind.FromString,
        )
        try:
            return await call(request, timeout=_PROOF_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._failure(error) from error


def _as_it_is(data: bytes) -> bytes:
    """Messages are made and read here, so that a batch is one pass."""
    return data


class _Stream:
    """One AppendStream call: requests go out in order, and so do the answers come in."""

    def __init__(
        self, call: Any, metadata: Metadata, failure: Callable[[grpc.RpcError], MerklelogError]
    ) -> None:
        self._failure = failure
        self._out: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._waiting: deque[_Waiting] = deque()
        self._error: MerklelogError | None = None
        self._call = call(self._requests(), metadata=metadata)
        self._reader = asyncio.create_task(self._read())

    def send(self, request: bytes, count: int) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._error is not None:
            answer.set_exception(self._error)
            return answer
        self._waiting.append(_Waiting(count, answer))
        self._out.append(request)
        self._more.set()
        return answer

    async def cancel(self) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            while self._out:
                yield self._out.popleft()
            self._more.clear()
            await self._more.wait()

    async def _read(self) -> None:
        try:
            async for data in self._call:
                self._take(pb.AppendStreamResponse.FromString(data))
            error: MerklelogError = UnavailableError("the server ended the stream of appends")
        except grpc.RpcError as failed:
            error = self._failure(failed)
            error.__cause__ = failed
        except MerklelogError as failed:
            error = failed
        except DecodeError as failed:
            error = FormatError(f"the server's answer to an append can not be read: {failed}")
        self._error = error
        self._call.cancel()
        for each in self._waiting:
            if not each.answer.done():
                each.answer.set_exception(error)

    def _take(self, response: pb.AppendStreamResponse) -> None:
        for appended in response.appended:
            if not self._waiting:
                raise FormatError("the server answered an append that was not sent")
            count, answer = self._waiting.popleft()
            indexes: Sequence[int] = appended.indexes
            if not indexes:
                indexes = range(appended.first_index, appended.first_index + appended.count)
            if not len(indexes) == appended.count == count:
                raise FormatError(
                    f"answer: got {appended.count} entries, {len(indexes)} indexes, want {count}"
                )
            if not answer.done():
                answer.set_result(Answer(indexes, response.tree_size, response.signed_note))
