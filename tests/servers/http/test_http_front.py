"""The limits of both HTTP fronts, set small and met over the network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any

import h2corn
import pytest

from merklelog.servers import handlers, lean
from merklelog.servers.native import FrontLimits, configuration, serve

BIG = 32 << 20  # more than the system keeps of a connection
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Answers "ok"; at /wait not before it may, and it says when it was asked."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        if scope["path"] == "/wait":
            self.asked.set()
            await self.may.wait()
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": True})
            await self.may.wait()
            await send({"type": "http.response.body", "body": b"and on"})
            return
        answer = bytes(BIG) if scope["path"] == "/big" else b"ok"
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})


Talk = Callable[[App, int, asyncio.Event], Awaitable[None]]


Serving = Callable[[FrontLimits, Talk], None]


@pytest.fixture(params=["native", "lean"])
def serving(request: pytest.FixtureRequest) -> Serving:
    """Runs `talk(application, port, stop)` beside a server with these limits; both must end."""

    async def run(limits: FrontLimits, talk: Talk) -> None:
        app, stop = App(), asyncio.Event()
        bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if request.param == "lean":
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            port = listener.getsockname()[1]
            running = lean.serve(
                app, listener, stop, limits=limits, ready=lambda: bound.set_result(f":{port}")
            )
        else:
            running = serve(
                app, ["127.0.0.1:0"], stop, limits=limits, ready=lambda found: bound.set_result(found[0])
            )
        task = asyncio.create_task(running)
        ends: set[asyncio.Future[Any]] = {bound, task}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        try:
            await talk(app, int(bound.result().rpartition(":")[2]), stop)
        finally:
            app.may.set()
            stop.set()
            await task

    def begin(limits: FrontLimits, talk: Talk) -> None:
        asyncio.run(asyncio.wait_for(run(limits, talk), 60))

    return begin


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def status(self) -> int:
        """Of the next answer, whose body is read too; 0 when the connection was closed instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0
        length = head.lower().split(b"content-length: ")
        if len(length) > 1:
            await self.reader.readexactly(int(length[1].split(b"\r\n")[0]))
        return int(head.split(b" ")[1])

    async def ended(self) -> bytes:
        """What came until the server closed."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.close()

    def close(self) -> None:
        self.writer.close()


@pytest.mark.parametrize(
    ("limits", "raw"),
    [
        (FrontLimits(handshake_seconds=0.3), b""),
        (FrontLimits(handshake_seconds=0.3, header_seconds=0.3), b"GET / HTTP/1.1\r\nHos"),
        (FrontLimits(body_idle_seconds=0.3), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"),
        (FrontLimits(idle_seconds=0.3), GET),
    ],
    ids=["silent", "slow head", "slow body", "idle after an answer"],
)
def test_a_slow_client_is_closed(serving: Serving, limits: FrontLimits, raw: bytes) -> None:
    async def talk(app: App, port: int, _: asyncio.Event) -> None:
        client = await Client.to(port)
        client.send(raw)
        await client.ended()
        assert app.bodies == ([b""] if raw == GET else [])

    serving(limits, talk)


def test_bodies_and_heads_end_at_their_limits(serving: Serving) -> None:
    async def talk(app: App, port: int, _: asyncio.Event) -> None:
        for length, status in ((1_000, 200), (1_001, 413)):
            client = await Client.to(port)
            client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (length, b"x" * length)
            )
            assert await client.status() == status
            client.close()
        chunked = await Client.to(port)
        chunk = b"%x\r\n%b\r\n" % (600, b"x" * 600)
        chunked.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n"
        )
        assert await chunked.status() in {0, 413}
        chunked.close()
        for count, expected in ((3, {200}), (8, {0, 400, 431})):
            many = await Client.to(port)
            many.send(
                b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(count)) + b"host: x\r\n\r\n"
            )
            assert await many.status() in expected
            many.close()
        assert max(map(len, app.bodies)) == 1_000

    serving(FrontLimits(body_bytes=1_000, header_fields=5), talk)


@pytest.mark.parametrize("serving", ["lean"], indirect=True)  # h2corn 2.0.0 has that limit for HTTP/2 only
def test_who_does_not_read_is_let_go_of(serving: Serving) -> None:
    async def talk(app: App, port: int, _: asyncio.Event) -> None:
        slow, quick = await Client.to(port), await Client.to(port)
        for client in (slow, quick):
            client.send(GET.replace(b"/", b"/big", 1))
        assert await quick.status() == 200
        await asyncio.sleep(1)
        taken = len(await slow.ended())
        assert taken < BIG
        quick.close()
        assert len(app.bodies) == 2

    serving(FrontLimits(write_seconds=0.2), talk)


def test_no_more_requests_at_once_than_allowed(serving: Serving) -> None:
    async def talk(app: App, port: int, _: asyncio.Event) -> None:
        first, second = await Client.to(port), await Client.to(port)
        first.send(GET.replace(b"/", b"/wait", 1))
        await app.asked.wait()
        second.send(GET)
        assert await second.status() == 503
        app.may.set()
        assert await first.status() == 200
        first.close()
        second.close()

    serving(FrontLimits(requests=1), talk)


def test_no_more_connections_than_allowed(serving: Serving) -> None:
    async def talk(app: App, port: int, _: asyncio.Event) -> None:
        held = [await Client.to(port) for _ in range(2)]
        for client in held:
            client.send(GET)
            assert await client.status() == 200
        third = await Client.to(port)
        third.send(GET)
        waiting = asyncio.create_task(third.status())
        # Closed at once, or left waiting in the listen queue until there is room: never served beside the two.
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done() or waiting.result() in {0, 503}
        for client in held:
            client.close()
        await waiting
        third.close()
        assert len(app.bodies) <= 3

    serving(FrontLimits(connections=2), talk)


def test_a_stop_lets_what_is_under_way_end(serving: Serving) -> None:
    async def talk(app: App, port: int, stop: asyncio.Event) -> None:
        client = await Client.to(port)
        client.send(GET.replace(b"/", b"/wait", 1))
        await app.asked.wait()
        stop.set()
        await asyncio.sleep(0.1)
        late: Client | None = None
        with suppress(ConnectionRefusedError):
            late = await Client.to(port)  # the system may still take it; the server does not
            late.send(GET)
        app.may.set()
        assert await client.status() == 200
        await client.ended()
        assert late is None or await late.ended() == b""
        assert len(app.bodies) == 1

    serving(FrontLimits(), talk)


def test_a_stop_ends_what_was_begun_to_be_kept(serving: Serving) -> None:
    """An answer that began before the stop and ends after it: its connection ends too."""

    async def talk(app: App, port: int, stop: asyncio.Event) -> None:
        client = await Client.to(port)
        client.send(GET.replace(b"/", b"/stream", 1))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"close" not in head
        stop.set()
        await asyncio.sleep(0.2)
        app.may.set()
        await asyncio.wait_for(client.ended(), 20)

    serving(FrontLimits(), talk)


@pytest.mark.parametrize("serving", ["lean"], indirect=True)
def test_a_stop_gives_who_reads_slowly_the_time_to_read(serving: Serving) -> None:
    async def talk(app: App, port: int, stop: asyncio.Event) -> None:
        client = await Client.to(port)
        client.send(GET + GET.replace(b"/", b"/big", 1) + b"\r\n")
        assert await client.status() == 200
        await client.reader.readuntil(b"\r\n\r\n")
        stop.set()
        await asyncio.sleep(1.5)
        assert len(await client.ended()) == BIG

    serving(FrontLimits(), talk)


def test_a_stop_does_not_wait_for_ever(serving: Serving) -> None:
    async def talk(app: App, port: int, stop: asyncio.Event) -> None:
        client = await Client.to(port)
        client.send(GET.replace(b"/", b"/wait", 1))
        await app.asked.wait()
        stop.set()
        assert b"200" not in await client.ended()
        assert not app.may.is_set()

    serving(FrontLimits(drain_seconds=0.3), talk)


def test_every_limit_reaches_the_server() -> None:
    """Each field changes the configuration, and none of its times is "for ever"."""
    plain = configuration(["127.0.0.1:0"], FrontLimits(), handlers.METHODS)
    for each in fields(FrontLimits):
        other = FrontLimits(**{each.name: each.default // 2 if each.type == "int" else each.default / 2})
        assert configuration(["127.0.0.1:0"], other, handlers.METHODS) != plain, each.name
    assert plain.grpc
    for method, policy in zip(handlers.METHODS, plain.request_policies, strict=True):
        limited = (policy.max_request_body_size > 0, policy.timeout_request_body_idle > 0)
        assert (policy.path, limited) == (method.path, (not method.client_streaming,) * 2)
    limits = [
        each.name for each in fields(h2corn.Config) if each.name.startswith(("limit_", "timeout_", "max_"))
    ]
    unlimited = {each for each in limits if not getattr(plain, each)}
    # A worker process is never recycled by count: there is one, and it holds the logs.
    assert unlimited == {"max_requests", "max_requests_jitter"}
