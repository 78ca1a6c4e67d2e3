"""Server reflection: a generic client asks which services there are, and what their messages look like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import aio  # type: ignore[attr-defined]  # its stubs have not heard

from .caller import Caller
from .rpc import Method

SERVICES: Final = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """Answers reflection requests about the services named and its own."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._servicer: Any = aio.ReflectionServicer((*services, *SERVICES))  # type: ignore[attr-defined]

    def info(
        self, requests: AsyncIterator[pb.ServerReflectionRequest], _caller: Caller
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        """One answer a request, in order."""
        answers: AsyncIterator[pb.ServerReflectionResponse] = self._servicer.ServerReflectionInfo(
            requests, None
        )
        return answers


_MESSAGES: Final = (pb.ServerReflectionRequest, pb.ServerReflectionResponse)
# v1 has v1alpha's messages under another package name, which the wire does not carry.
METHODS: Final = tuple(
    Method(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", *_MESSAGES, True, True, "info"
    )
    for version in ("v1", "v1alpha")
)
