"""The doors of a server: each listens at one address and can be drained. What is behind them is not known here."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc

from merklelog.errors import ConfigError, StorageError

from . import lean
from .grpcio_front import GrpcioFront
from .native import Application, Draining, FrontLimits, serve
from .rpc import Method
from .tls import TlsFiles

_BACKLOG: Final = 1_024
REFUSE_SECONDS: Final = 1.0
# The least after which the system may end a connection whose client takes nothing, and how many `write_seconds` it
# is. It sees a client read only as the window opens, which may be by half a megabyte at a time.
ABANDON_SECONDS: Final = 600.0
_ABANDON_TIMES: Final = 2.0
# What the tasks are called that requests run in; the first is h2corn's 2.0.0.
_REQUESTS: Final = frozenset(("h2corn.request", lean.REQUEST))


class Door(Protocol):
    """One address that is listened at; `name` is its key of the configuration."""

    name: str

    async def open(self) -> str:
        """Listen; gives the address with the port that was had. Raises ConfigError, StorageError."""
        ...

    async def closed(self) -> None:
        """Wait until it serves no more. Raises what made it end."""
        ...

    async def renew(self) -> None:
        """New connections are served with what the TLS files hold now. Raises as `open`; then the old stay."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take no more, answer what is under way, and let go of the address; 0 seconds cut off what is left."""
        ...


class GrpcioDoor:
    """gRPC on grpcio, at one address. Its credentials ask for the newest certificate by themselves."""

    def __init__(
        self, front: GrpcioFront, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.name = "grpc"
        self._front = front
        self._address = address
        self._credentials = credentials
        self._ended = asyncio.Event()

    async def open(self) -> str:
        """See Door."""
        if self._address.startswith("unix:"):
            self._front.bind(self._address)
            await self._front.start()
            return self._address
        try:
            port = self._front.bind(self._address, self._credentials)
        except ConfigError:
            _listen(self._address).close()  # says why not, which grpcio does not
            raise
        await self._front.start()
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def closed(self) -> None:
        """See Door."""
        await self._ended.wait()

    async def renew(self) -> None:
        """See Door."""

    async def drain(self, seconds: float) -> None:
        """See Door."""
        await self._front.drain(seconds, linger=0.5 if seconds else 0.0)
        self._ended.set()


@dataclass(frozen=True, slots=True)
class Behind:
    """What a native door serves, and how; `draining` ends what would go on for ever, once the server stops.

    With `quick` it is the lean front that serves where there is no TLS.
    """

    application: Application
    limits: FrontLimits
    draining: Draining = lambda: None
    methods: Sequence[Method] = ()
    tls: TlsFiles | None = None
    json_log: bool = False
    quick: lean.FindQuick | None = None


class NativeDoor:
    """An ASGI application on the native server, at one address.

    The server reads its certificate once. To renew it, another one takes over the socket that both listen at, and
    the first serves its connections until they end, or for as long as a drain may take.
    """

    def __init__(self, name: str, behind: Behind, address: str) -> None:
        self.name = name
        self._behind = behind
        self._address = address
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._old: set[asyncio.Task[None]] = set()
        self._draining = False
        self._hurry = asyncio.Event()
        self._refusing: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """See Door."""
        if self._address.startswith("unix:"):
            await self._begin(self._address, None)
            return self._address
        patience = max(ABANDON_SECONDS, _ABANDON_TIMES * self._behind.limits.write_seconds)
        self._socket = _listen(self._address, 0.0 if self._is_lean else patience)
        await self._begin(f"fd://{self._socket.fileno()}", self._behind.tls)
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def _is_lean(self) -> bool:
        """Whether it is the lean front that serves, which ends by itself who does not read."""
        at_unix = self._address.startswith("unix:")
        return self._behind.quick is not None and self._behind.tls is None and not at_unix

    async def _begin(self, bind: str, tls: TlsFiles | None) -> None:
        listening: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(self._serve(bind, tls, stop, listening))
        ends: tuple[asyncio.Future[Any], ...] = (serving, listening)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await serving
            raise StorageError(f"{self.name} address {self._address}: the server ended as it began")
        self._serving, self._stop = serving, stop

    async def _serve(
        self, bind: str, tls: TlsFiles | None, stop: asyncio.Event, listening: asyncio.Future[tuple[str, ...]]
    ) -> None:
        behind = self._behind

        def draining() -> Awaitable[None] | None:
            return self._before_stop() if self._draining else None

        if self._is_lean and behind.quick is not None and self._socket is not None:
            await lean.serve(
                behind.application,
                self._socket.dup(),
                stop,
                limits=behind.limits,
                quick=behind.quick,
                ready=lambda: listening.set_result(()),
                draining=draining,
                hurry=self._hurry,
            )
            return
        await serve(
            behind.application,
            [bind],
            stop,
            limits=behind.limits,
            methods=behind.methods,
            tls=tls,
            json_log=behind.json_log,
            ready=listening.set_result,
            draining=draining,
        )

    async def closed(self) -> None:
        """See Door."""
        serving = None
        while self._serving is not None and serving is not self._serving:
            serving = self._serving
            await asyncio.wait({serving})
        if serving is not None:
            serving.result()

    async def renew(self) -> None:
        """See Door."""
        if self._socket is None or self._behind.tls is None or self._serving is None:
            return
        before, stop = self._serving, self._stop
        await self._begin(f"fd://{self._socket.fileno()}", self._behind.tls)
        self._old.add(before)
        before.add_done_callback(self._old.discard)
        stop.set()

    async def drain(self, seconds: float) -> None:
        """See Door; how many seconds is among its limits already."""
        self._draining = True
        self._stop.set()
        running = {each for each in (self._serving, *self._old) if each is not None}
        if not seconds:
            self._hurry.set()
            # The server itself can not be hurried: it is done when its requests are, so these are ended.
            for task in asyncio.all_tasks():
                if task.get_name() in _REQUESTS:
                    task.cancel()
        if running:
            await asyncio.wait(running)
        if self._refusing is not None:
            self._refusing.cancel()
        if self._socket is not None:
            self._socket.close()

    async def _before_stop(self) -> None:
        """The server takes requests until this is over."""
        waited_for = self._behind.draining()
        if waited_for is not None:
            await waited_for
        self._refusing = asyncio.create_task(self._refuse())

    async def _refuse(self) -> None:
        """Have the system refuse connections, which the server would leave waiting until it has drained.

        Not at once: what came just before is still to be taken.
        """
        await asyncio.sleep(REFUSE_SECONDS)
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RD)
            except OSError:
                return  # not every system does that with a socket that listens; then they wait


def _listen(address: str, patience: float = 0.0) -> socket.socket:
    """A socket that listens there; both kinds of IP for [::]. Raises StorageError.

    Where the system can do that, it ends a connection whose client takes nothing of what was sent to it for
    `patience` seconds (0: as long as it likes), as the native front does not over HTTP/1.1. Who reads steadily
    must not meet that: less than a window's step in so long counts as nothing.
    """
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_v6 = ":" in bare
    with contextlib.ExitStack() as undo:
        try:
            made = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
            undo.callback(made.close)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_v6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bare != "::"))
            if patience and hasattr(socket, "TCP_USER_TIMEOUT"):  # what is accepted has it too; RFC 5482
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(1_000 * patience))
            made.bind((bare, int(port)))
            made.listen(_BACKLOG)
            made.setblocking(False)
        except OSError as error:
            raise StorageError(f"can not listen at {address}: {error.strerror or error}") from error
        undo.pop_all()
    return made
