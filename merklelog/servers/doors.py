"""The doors of a server: each listens at one address and can be drained. What is behind them is not known here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from merklelog.errors import StorageError

from .grpcio_front import GrpcioFront
from .native import Application, FrontLimits, serve

# What h2corn 2.0.0 calls the tasks that its requests run in.
_REQUEST: Final = "h2corn.request"


class Door(Protocol):
    """One address that is listened at; `name` is its key of the configuration."""

    name: str

    async def open(self) -> str:
        """Listen; gives the address with the port that was had. Raises ConfigError, StorageError."""
        ...

    async def closed(self) -> None:
        """Wait until it serves no more. Raises what made it end."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take no more, answer what is under way, and let go of the address; 0 seconds cut off what is left."""
        ...


class GrpcioDoor:
    """gRPC on grpcio, at one address."""

    def __init__(self, front: GrpcioFront, address: str) -> None:
        self.name = "grpc"
        self._front = front
        self._address = address
        self._ended = asyncio.Event()

    async def open(self) -> str:
        """See Door."""
        port = self._front.bind(self._address)
        await self._front.start()
        if self._address.startswith("unix:"):
            return self._address
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def closed(self) -> None:
        """See Door."""
        await self._ended.wait()

    async def drain(self, seconds: float) -> None:
        """See Door."""
        await self._front.drain(seconds, linger=0.5 if seconds else 0.0)
        self._ended.set()


class NativeDoor:
    """An ASGI application on the native server, at one address. `draining` ends what would go on for ever."""

    def __init__(
        self,
        name: str,
        application: Application,
        address: str,
        limits: FrontLimits,
        draining: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._application = application
        self._address = address
        self._limits = limits
        self._draining = draining
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """See Door."""
        listening: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(
            serve(
                self._application,
                [self._address],
                self._stop,
                limits=self._limits,
                ready=listening.set_result,
                draining=self._draining,
            )
        )
        ends: tuple[asyncio.Future[Any], ...] = (self._serving, listening)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await self._serving
            raise StorageError(f"{self.name} address {self._address}: the server ended as it began")
        return self._address if self._address.startswith("unix:") else listening.result()[0]

    async def closed(self) -> None:
        """See Door."""
        if self._serving is not None:
            await asyncio.wait({self._serving})
            self._serving.result()

    async def drain(self, seconds: float) -> None:
        """See Door; how many seconds is among its limits already."""
        if self._serving is None:
            return
        self._stop.set()
        if not seconds:
            # The server itself can not be hurried: it is done when its requests are, so these are ended.
            for task in asyncio.all_tasks():
                if task.get_name() == _REQUEST:
                    task.cancel()
        await asyncio.wait({self._serving})
