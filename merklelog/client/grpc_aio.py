"""A transport over gRPC for tasks: what `grpc_wire.Questions` asks, awaited."""

# ruff: noqa: ARG002 - the seam has arguments that not every transport needs
from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from merklelog.client.grpc_wire import (
    SERVICE,
    Collected,
    Found,
    Place,
    Question,
    Questions,
    error_of,
    no_message,
)
from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch
from merklelog.errors import UnavailableError, UsageError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.tree.hashing import Hash


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
        self._questions = Questions(origin)
        self._channel = open_channel(place)

    async def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        return await self._ask(self._questions.checkpoint(size), seconds)

    async def witnessed(self, seconds: float) -> bytes:
        """See Transport."""
        return await self._ask(self._questions.witnessed(), seconds)

    async def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        newest: bytes = b""
        try:
            async with aclosing(self._stream(self._questions.checkpoints(), seconds)) as notes:
                async for newest in notes:
                    if parse_checkpoint(newest).checkpoint.size > size:
                        return newest
        except UnavailableError:
            if not newest:
                raise
        if not newest:
            raise UnavailableError(f"{self._place.target}: a stream of checkpoints ended without one")
        return newest  # its time is over, and a client that wants more asks again

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> list[Included]:
        """See Transport."""
        return await self._ask(self._questions.inclusions(indexes, size), seconds)

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> tuple[Hash, ...]:
        """See Transport."""
        return await self._ask(self._questions.range_proof(start, end, size), seconds)

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return await self._ask(self._questions.consistency(old, size), seconds)

    async def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        collected = Collected(start, end)
        async with aclosing(self._stream(self._questions.entries(start, end), seconds)) as answers:
            async for answer in answers:
                if collected.take(answer):
                    break
        if not collected.entries:
            return Stretch([], ())
        return Stretch(collected.entries, await self.range_proof(start, collected.end, size, root, seconds))

    async def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""
        return await self._ask(self._questions.append(batch), seconds)

    async def epoch(self, seconds: float) -> Epoch:
        """See Transport."""
        return await self._ask(self._questions.epoch(), seconds)

    async def close(self) -> None:
        """See Transport."""
        await self._channel.close(None)

    async def _ask(self, question: Question[Found], seconds: float) -> Found:
        try:
            call = self._channel.unary_unary(
                SERVICE + question.name,
                type(question.request).SerializeToString,
                question.answer.FromString,
            )
            answer = await call(question.request, timeout=seconds, metadata=self._place.metadata)
        except grpc.RpcError as error:
            raise error_of(self._place.target, error) from error
        except grpc.aio.UsageError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        return question.read(self._message(answer))

    def _message(self, answer: Any) -> Any:
        if answer is None:  # so grpc.aio says that it could not read it
            raise no_message(self._place.target)
        return answer

    async def _stream(self, question: Question[Found], seconds: float) -> AsyncGenerator[Found, None]:
        method = self._channel.unary_stream(
            SERVICE + question.name, type(question.request).SerializeToString, question.answer.FromString
        )
        try:
            call = method(question.request, timeout=seconds, metadata=self._place.metadata)
        except grpc.aio.UsageError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        try:
            async for each in call:
                yield question.read(self._message(each))
        except grpc.RpcError as error:
            raise error_of(self._place.target, error) from error
        finally:
            call.cancel()
