"""What a gRPC method is, apart from any wire: its path, its messages, and which of its sides are streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from merklelog.errors import FormatError

from .caller import Caller

MAX_MESSAGE_BYTES: Final = 16 << 20

# (request, caller) -> awaitable response, or with a streaming side: an async iterator of requests instead of the
# request, an async iterator of responses instead of the awaitable.
Call = Callable[[Any, Caller], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc. `path` is "/package.Service/Name"; `attribute` is the name of its handler.

    `vital`: answered whatever the load, and while draining too, as a health check is.
    """

    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    attribute: str
    vital: bool = False

    def parse(self, data: bytes) -> Any:
        """A request from its bytes. Raises FormatError."""
        try:
            return self.request.FromString(data)
        except DecodeError as error:
            raise FormatError(f"{len(data)} bytes that are no {self.request.DESCRIPTOR.full_name}") from error


@dataclass(frozen=True, slots=True)
class BytesMethod(Method):
    """An rpc whose handler takes the bytes of its request, and parses them when and where it likes."""

    def parse(self, data: bytes) -> bytes:
        """The bytes as they came."""
        return data


@dataclass(frozen=True, slots=True)
class Route:
    """A method and what answers it."""

    method: Method
    call: Call


def routes(methods: tuple[Method, ...], handlers: object) -> tuple[Route, ...]:
    """The routes of a service: each method with the handler of its name."""
    return tuple(Route(method, getattr(handlers, method.attribute)) for method in methods)
