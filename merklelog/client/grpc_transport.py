"""A transport over gRPC for threads."""

# ruff: noqa: ARG002 - the seam has arguments that not every transport needs
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from merklelog.client import grpc_wire as wire
from merklelog.client.grpc_wire import SERVICE, Place
from merklelog.client.transport import Appended, Batch, Included, Stretch
from merklelog.errors import UnavailableError, UsageError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.tree.hashing import Hash
from merklelog.v1 import log_pb2 as pb


class GrpcTransport:
    """Over one channel. `origin` names the log; empty: the only one the server has."""

    def __init__(self, place: Place, origin: str) -> None:
        """Connects when it is first used."""
        self._place = place
        self._origin = origin
        if place.credentials is None:
            self._channel = grpc.insecure_channel(place.address, options=place.options)
        else:
            self._channel = grpc.secure_channel(place.address, place.credentials, options=place.options)
        self._calls: dict[str, Any] = {}

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        request = wire.checkpoint_request(self._origin, size)
        return bytes(self._ask("GetCheckpoint", request, pb.GetCheckpointResponse, seconds).checkpoint)

    def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        newest: bytes = b""
        request = pb.WatchCheckpointsRequest(origin=self._origin, level=pb.LEVEL_INTEGRATED)
        try:
            for answer in self._stream("WatchCheckpoints", request, pb.WatchCheckpointsResponse, seconds):
                newest = answer.checkpoint
                if parse_checkpoint(newest).checkpoint.size > size:
                    return newest
        except UnavailableError:
            if not newest:
                raise
        if not newest:
            raise UnavailableError(f"{self._place.target}: a stream of checkpoints ended without one")
        return newest  # its time is over, and a client that wants more asks again

    def inclusions(self, indexes: Sequence[int], size: int, root: Hash, seconds: float) -> list[Included]:
        """See Transport."""
        request = pb.GetInclusionProofsRequest(origin=self._origin, indexes=indexes, tree_size=size)
        answer = self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse, seconds)
        return wire.included(answer, indexes)

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        request = pb.GetInclusionProofsRequest(
            origin=self._origin, range_start=start, range_end=end, tree_size=size
        )
        answer = self._ask("GetInclusionProofs", request, pb.GetInclusionProofsResponse, seconds)
        return wire.hashes(answer.range_proof)

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        request = pb.GetConsistencyProofRequest(origin=self._origin, old_size=old, new_size=size)
        return wire.hashes(
            self._ask("GetConsistencyProof", request, pb.GetConsistencyProofResponse, seconds).proof
        )

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        collected = wire.Collected(start, end)
        request = pb.GetEntriesRequest(
            origin=self._origin, start=start, end=min(end, start + wire.STRETCH_ENTRIES)
        )
        for answer in self._stream("GetEntries", request, pb.GetEntriesResponse, seconds):
            if collected.take(answer):
                break
        if not collected.entries:
            return Stretch([], ())
        return Stretch(collected.entries, self.range_proof(start, collected.end, size, root, seconds))

    def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""
        if len(batch.entries) == 1 and batch.keys is None:
            request = wire.append_request(self._origin, batch)
            return wire.appended_one(self._ask("Append", request, pb.AppendResponse, seconds))
        many = wire.batch_request(self._origin, batch)
        answer = self._ask("AppendBatch", many, pb.AppendBatchResponse, seconds)
        return wire.appended_batch(answer, len(batch.entries))

    def close(self) -> None:
        """See Transport."""
        self._channel.close()

    def _ask(self, name: str, request: Any, answer: Any, seconds: float) -> Any:
        call = self._calls.get(name)
        if call is None:
            call = self._channel.unary_unary(
                SERVICE + name, type(request).SerializeToString, answer.FromString
            )
            self._calls[name] = call
        try:
            return call(request, timeout=seconds, metadata=self._place.metadata)
        except grpc.RpcError as error:
            raise wire.error_of(self._place.target, error) from error
        except ValueError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error

    def _stream(self, name: str, request: Any, answer: Any, seconds: float) -> Iterator[Any]:
        try:
            call = self._channel.unary_stream(
                SERVICE + name, type(request).SerializeToString, answer.FromString
            )(request, timeout=seconds, metadata=self._place.metadata)
        except ValueError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        try:
            yield from call
        except grpc.RpcError as error:
            raise wire.error_of(self._place.target, error) from error
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # its stubs forgot
