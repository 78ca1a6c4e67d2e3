"""Server reflection: a generic client asks which services there are, and what their messages look like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import aio  # type: ignore[attr-defined]  # its stubs have not heard

from .caller import Caller
from .rpc import Method

SERVICES: Final = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")


class _Pool:
    """What this process knows of messages and services; here methods are found too, for clients ask for them
    ("package.Service.Method") and protobuf's own pool does not know them by name.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's own name
        """The file that defines it. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


class Reflection:
    """Answers reflection requests about the services named and its own."""

    def __init__(self, services: tuple[str, ...]) -> None:
        names = (*services, *SERVICES)
        self._servicer: Any = aio.ReflectionServicer(names, pool=_Pool())  # type: ignore[attr-defined]

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
