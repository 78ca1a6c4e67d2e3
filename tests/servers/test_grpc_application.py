"""gRPC as an ASGI application, asked without a server."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import status_pb2

from merklelog.errors import UnauthenticatedError
from merklelog.servers.asgi_grpc import GrpcApplication, grpc_application
from merklelog.servers.calls import Admission, GrpcLimits
from merklelog.servers.grpc_wire import Frames, frame
from merklelog.servers.problems import Code
from merklelog.servers.rpc import Method, Route

MOST = 100
UNARY = Method("/t.T/Unary", BytesValue, BytesValue, False, False, "unary")
STREAM = Method("/t.T/Stream", BytesValue, BytesValue, False, True, "stream")
BOTH = Method("/t.T/Both", BytesValue, BytesValue, True, True, "both")
VITAL = Method("/t.T/Vital", BytesValue, BytesValue, False, False, "unary", vital=True)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


class Service:
    """What the tests call."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.callers: list[str] = []
        self.cancelled = 0

    async def unary(self, request: BytesValue, caller: Any) -> BytesValue:
        self.asked.append(request.value)
        self.callers.append(caller.name)
        if request.value == b"wait":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if request.value == b"fail":
            raise RuntimeError("secret")
        return request

    async def stream(self, request: BytesValue, _caller: Any) -> Any:
        try:
            for i in range(request.value[0]):
                yield BytesValue(value=b"%d" % i)
            if request.value[1:] == b"wait":
                await asyncio.sleep(60)
        finally:
            self.cancelled += 1

    async def both(self, requests: Any, _caller: Any) -> Any:
        async for request in requests:
            yield request


class Exchange:
    """One request to an application: what it received, and what it sent."""

    def __init__(
        self, *parts: bytes | None, path: str = UNARY.path, method: str = "POST", **headers: str
    ) -> None:
        self.parts = list(parts)
        given = {"content-type": "application/grpc", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
            "extensions": {"http.response.trailers": {}},
        }
        self.sent: list[dict[str, Any]] = []
        self.broken = False
        self.unfinished = False  # whether it leaves before its body has ended

    async def receive(self) -> dict[str, Any]:
        if not self.parts:
            await asyncio.sleep(60)
        part = self.parts.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        more = bool(self.parts) and (self.unfinished or self.parts != [None])
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        if self.broken:
            raise OSError("gone")
        self.sent.append(message)

    @property
    def status(self) -> int:
        """From the trailers."""
        return int(dict(self.sent[-1]["headers"])[b"grpc-status"])

    @property
    def answers(self) -> list[bytes]:
        found = Frames(Admission(GrpcLimits()), 1 << 20, None)
        for each in self.sent:
            if each["type"] == "http.response.body":
                found.feed(each["body"])
        messages = list(iter(found.take, None))
        found.end()
        return [BytesValue.FromString(data).value for data in messages]


def asked(data: bytes) -> bytes:
    return frame(BytesValue(value=data).SerializeToString())


def application(service: Service, **options: Any) -> GrpcApplication:
    every = [(UNARY, service.unary), (STREAM, service.stream), (BOTH, service.both), (VITAL, service.unary)]
    return grpc_application([Route(method, call) for method, call in every], **options)


def ask(service: Service, exchange: Exchange, **options: Any) -> Exchange:
    app = application(service, **options)
    asyncio.run(asyncio.wait_for(app(exchange.scope, exchange.receive, exchange.send), 30))
    assert app.calls == 0
    return exchange


@pytest.mark.parametrize("places", [[], [3], [5], [1, 6], list(range(12))])
def test_a_call_whose_message_comes_in_pieces(places: list[int]) -> None:
    service = Service()
    got = ask(service, Exchange(*cut(asked(b"hello"), places), b""))
    assert (got.status, got.answers, service.asked) == (0, [b"hello"], [b"hello"])
    assert [each["type"] for each in got.sent] == [
        "http.response.start",
        "http.response.body",
        "http.response.trailers",
    ]


@pytest.mark.parametrize("parts", [[b""], [asked(b"a") * 2], [asked(b"a"), asked(b"b")], [b"", b""]])
def test_exactly_one_message(parts: list[bytes]) -> None:
    service = Service()
    got = ask(service, Exchange(*parts))
    assert (got.status, service.asked) == (Code.UNIMPLEMENTED, [])


@pytest.mark.parametrize("parts", [[None], [asked(b"a")[:7], None], [asked(b"a"), None]])
def test_who_leaves_is_not_answered(parts: list[bytes | None]) -> None:
    """In the last case the message was whole, but not its end."""
    service = Service()
    exchange = Exchange(*parts)
    exchange.unfinished = True
    assert ask(service, exchange).sent == []
    assert service.asked == []


def test_streams() -> None:
    service = Service()
    got = ask(service, Exchange(asked(b"\3"), path=STREAM.path))
    assert (got.status, got.answers) == (0, [b"0", b"1", b"2"])
    wire = asked(b"a") + asked(b"") + asked(b"c")
    got = ask(service, Exchange(*cut(wire, [4, 9]), path=BOTH.path))
    assert (got.status, got.answers) == (0, [b"a", b"", b"c"])
    got = ask(service, Exchange(b"", path=BOTH.path))
    assert (got.status, got.answers) == (0, [])
    got = ask(service, Exchange(asked(b"a"), asked(b"b")[:3], b"", path=BOTH.path))
    assert (got.status, got.answers) == (Code.INVALID_ARGUMENT, [b"a"])


def test_a_deadline_ends_the_work() -> None:
    service = Service()
    got = ask(service, Exchange(asked(b"wait"), grpc_timeout="50m"))
    assert (got.status, service.cancelled) == (Code.DEADLINE_EXCEEDED, 1)
    got = ask(service, Exchange(asked(b"\1wait"), path=STREAM.path, grpc_timeout="50m"))
    assert (got.status, got.answers, service.cancelled) == (Code.DEADLINE_EXCEEDED, [b"0"], 2)
    assert ask(service, Exchange(asked(b"a"), grpc_timeout="1 S")).status == Code.INVALID_ARGUMENT


def test_a_stream_ends_when_its_caller_leaves() -> None:
    service = Service()
    got = ask(service, Exchange(asked(b"\1wait"), None, path=STREAM.path))
    assert service.cancelled == 1
    assert all(each["type"] != "http.response.trailers" for each in got.sent)


def test_a_stream_that_is_not_read_is_cut_off() -> None:
    service = Service()
    exchange = Exchange(asked(b"\x09"), path=STREAM.path)
    sending = exchange.send

    async def slow(message: dict[str, Any]) -> None:
        await sending(message)
        if len(exchange.sent) == 4:
            await asyncio.sleep(60)

    exchange.send = slow  # type: ignore[method-assign]
    got = ask(service, exchange, limits=GrpcLimits(stall_seconds=0.05))
    assert (len(got.sent), service.cancelled) == (4, 1)


def test_a_caller_who_is_gone_when_the_answer_comes() -> None:
    for path in (UNARY.path, STREAM.path, "/none"):
        exchange = Exchange(asked(b"\3"), path=path)
        exchange.broken = True
        ask(Service(), exchange)


def test_failures_of_our_own_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    got = ask(Service(), Exchange(asked(b"fail")))
    assert got.status == Code.INTERNAL
    trailers = dict(got.sent[-1]["headers"])
    rich = trailers[b"grpc-status-details-bin"]
    status = status_pb2.Status.FromString(b64decode(rich + b"=" * (-len(rich) % 4)))
    assert (status.code, "secret" in repr(trailers)) == (Code.INTERNAL, False)
    assert "secret" in caplog.text


def test_what_is_not_grpc_goes_elsewhere() -> None:
    seen = []

    async def http(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})

    for kind in ("text/plain", "application/grpc-web", "application/grpc+json", "application/grpcx", ""):
        got = ask(Service(), Exchange(b"x", content_type=kind), http=http)
        assert got.sent[0]["status"] == 204, kind
        got = ask(Service(), Exchange(b"x", content_type=kind))
        assert got.sent[0]["status"] == 415, kind
    for kind in ("application/grpc", "application/grpc+proto", "Application/GRPC; a=b"):
        assert ask(Service(), Exchange(asked(b"x"), content_type=kind), http=http).status == 0
    assert len(seen) == 5


def test_other_methods_paths_and_heads() -> None:
    assert ask(Service(), Exchange(asked(b"x"), path="/t.T/None")).status == Code.UNIMPLEMENTED
    assert ask(Service(), Exchange(asked(b"x"), method="GET")).status == Code.UNIMPLEMENTED
    got = ask(Service(), Exchange(asked(b"x"), x_more="y" * 20_000))
    assert got.status == Code.RESOURCE_EXHAUSTED
    exchange = Exchange(asked(b"x"))
    exchange.scope["extensions"] = {}
    got = ask(Service(), exchange)
    head = dict(got.sent[0]["headers"])
    assert (got.sent[0]["status"], head[b"grpc-status"]) == (200, b"3"), "in the head: there are no trailers"


def test_who_calls() -> None:
    shown = []

    class Named:
        name = "somebody"

        def may(self, *_: object) -> bool:
            return True

    def identify(authorization: str | None, certificate: str | None) -> Any:
        shown.append((authorization, certificate))
        if authorization == "no":
            raise UnauthenticatedError("no such token")
        return Named()

    service = Service()
    assert ask(service, Exchange(asked(b"x"), authorization="Bearer a"), identify=identify).status == 0
    assert ask(service, Exchange(asked(b"x")), identify=identify).status == 0
    got = ask(service, Exchange(asked(b"x"), authorization="no"), identify=identify)
    assert got.status == Code.UNAUTHENTICATED
    twice = Exchange(asked(b"x"), authorization="Bearer a")
    twice.scope["headers"].append((b"authorization", b"Bearer b"))
    assert ask(service, twice, identify=identify).status == Code.UNAUTHENTICATED
    assert service.callers == ["somebody", "somebody"]
    assert shown == [("Bearer a", None), (None, None), ("no", None)]


def test_tallies_hear_of_every_end() -> None:
    heard = []

    class Tally:
        def __init__(self, path: str) -> None:
            self.path = path

        def begin(self) -> float:
            return 7.0

        def end(self, began: float, code: str) -> None:
            heard.append((self.path.rpartition("/")[2], began, code))

    make: Callable[[str], Any] = Tally
    for exchange in (
        Exchange(asked(b"x")),
        Exchange(b"\xff"),
        Exchange(None),
        Exchange(asked(b"\1"), path=STREAM.path),
        Exchange(asked(b"wait"), grpc_timeout="1m"),
    ):
        ask(Service(), exchange, tallies=make)
    assert heard == [
        ("Unary", 7.0, "OK"),
        ("Unary", 7.0, "INVALID_ARGUMENT"),
        ("Unary", 7.0, "CANCELLED"),
        ("Stream", 7.0, "OK"),
        ("Unary", 7.0, "DEADLINE_EXCEEDED"),
    ]


def test_limits_and_draining() -> None:
    async def use() -> list[int]:
        service = Service()
        app = application(service, limits=GrpcLimits(max_calls=1, max_streams=1))
        held = Exchange(asked(b"wait"))
        first = asyncio.create_task(app(held.scope, held.receive, held.send))
        await asyncio.sleep(0.01)
        found = []
        for exchange in (Exchange(asked(b"x")), Exchange(asked(b"\1"), path=STREAM.path)):
            await app(exchange.scope, exchange.receive, exchange.send)
            found.append(exchange.status)
        draining = asyncio.create_task(app.drain(30, linger=0.0))
        await asyncio.sleep(0.01)
        for path in (UNARY.path, STREAM.path, VITAL.path):
            exchange = Exchange(asked(b"\1"), path=path)
            await app(exchange.scope, exchange.receive, exchange.send)
            found.append(exchange.status)
        assert not draining.done(), "one is under way"
        first.cancel()
        await asyncio.wait_for(draining, 30)
        return found

    exhausted, gone = int(Code.RESOURCE_EXHAUSTED), int(Code.UNAVAILABLE)
    assert asyncio.run(use()) == [exhausted, 0, gone, gone, 0]


def test_a_websocket_is_closed_and_nothing_else_is_known() -> None:
    exchange = Exchange(b"")
    exchange.scope["type"] = "websocket"
    assert ask(Service(), exchange).sent == [{"type": "websocket.close"}]
    exchange.scope["type"] = "lifespan"
    with pytest.raises(ValueError, match="lifespan"):
        ask(Service(), exchange)
