"""A transport over gRPC for threads: what `grpc_wire.Questions` asks, by blocking calls."""

# ruff: noqa: ARG002 - the seam has arguments that not every transport needs
from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import grpc

from merklelog.client.grpc_wire import SERVICE, Collected, Found, Place, Question, Questions, error_of
from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch
from merklelog.errors import UnavailableError, UsageError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.tree.hashing import Hash


class GrpcTransport:
    """Over one channel. `origin` names the log; empty: the only one the server has."""

    def __init__(self, place: Place, origin: str) -> None:
        """Connects when it is first used."""
        self._place = place
        self._questions = Questions(origin)
        if place.credentials is None:
            self._channel = grpc.insecure_channel(place.address, options=place.options)
        else:
            self._channel = grpc.secure_channel(place.address, place.credentials, options=place.options)
        self._calls: dict[str, Any] = {}

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        return self.ask(self._questions.checkpoint(size), seconds)

    def witnessed(self, seconds: float) -> bytes:
        """See Transport."""
        return self.ask(self._questions.witnessed(), seconds)

    def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        newest: bytes = b""
        try:
            with closing(self._stream(self._questions.checkpoints(), seconds)) as notes:
                for newest in notes:
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
        return self.ask(self._questions.inclusions(indexes, size), seconds)

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return self.ask(self._questions.range_proof(start, end, size), seconds)

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return self.ask(self._questions.consistency(old, size), seconds)

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        collected = Collected(start, end)
        with closing(self._stream(self._questions.entries(start, end), seconds)) as answers:
            for answer in answers:
                if collected.take(answer):
                    break
        if not collected.entries:
            return Stretch([], ())
        return Stretch(collected.entries, self.range_proof(start, collected.end, size, root, seconds))

    def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""
        return self.ask(self._questions.append(batch), seconds)

    def epoch(self, seconds: float) -> Epoch:
        """See Transport."""
        return self.ask(self._questions.epoch(), seconds)

    def close(self) -> None:
        """See Transport."""
        self._channel.close()

    def ask(self, question: Question[Found], seconds: float) -> Found:
        """One call, and what its answer says."""
        call = self._calls.get(question.name)
        if call is None:
            call = self._channel.unary_unary(
                SERVICE + question.name,
                type(question.request).SerializeToString,
                question.answer.FromString,
            )
            self._calls[question.name] = call
        try:
            answer = call(question.request, timeout=seconds, metadata=self._place.metadata)
        except grpc.RpcError as error:
            raise error_of(self._place.target, error) from error
        except ValueError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        return question.read(answer)

    def _stream(self, question: Question[Found], seconds: float) -> Generator[Found, None, None]:
        try:
            call = self._channel.unary_stream(
                SERVICE + question.name,
                type(question.request).SerializeToString,
                question.answer.FromString,
            )(question.request, timeout=seconds, metadata=self._place.metadata)
        except ValueError as error:
            raise UsageError(f"{self._place.target}: the client was closed") from error
        try:
            for answer in call:
                yield question.read(answer)
        except grpc.RpcError as error:
            raise error_of(self._place.target, error) from error
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # its stubs forgot
