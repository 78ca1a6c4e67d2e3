"""Servers that lie to clients: what they change of true answers, and two histories of one log."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import http.client
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

import merklelog
from merklelog.client.retry import Retry
from merklelog.errors import (
    ForkError,
    MerklelogError,
)
from merklelog.formats import (
    Checkpoint,
    Note,
    VerifierKey,
    format_checkpoint_text,
    format_note,
    parse_note,
    sign_checkpoint,
)
from merklelog.formats.keys import load_signing_key
from merklelog.log.backup import backup
from merklelog.servers.handlers import METHODS
from merklelog.tree import Hash, TreeSize
from merklelog.v1 import log_pb2 as pb

ORIGIN = "liar.example/log"
SHARED = [b"shared %d" % i for i in range(300)]
TRUE = [b"true %d" % i for i in range(212)]
OTHER = [b"other %d" % i for i in range(300)]
# One try: a pause would end behind the deadline.
ONCE = Retry(total=60, attempt=30, first=200, most=200)
Lie = Callable[[Any, Any], Any]


# --- what lies ------------------------------------------------------------------------------------------------


class GrpcLiar:
    """gRPC between client and server; `lies[rpc](request, answer)` gives what is sent instead of an answer."""

    def __init__(self) -> None:
        self.lies: dict[str, Lie] = {}
        self._upstream: grpc.Channel | None = None
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)]
        )
        self._server.add_generic_rpc_handlers((self,))
        self.url = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def point(self, url: str) -> None:
        """Ask this server from now on."""
        self._upstream = grpc.insecure_channel(
            url.removeprefix("grpc://"), options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def close(self) -> None:
        self._server.stop(None).wait()

    def service(self, details: Any) -> Any:
        method = next(each for each in METHODS if each.path == details.method)
        name = method.path.rpartition("/")[2]

        def told(request: bytes, answer: bytes) -> bytes:
            lie = self.lies.get(name)
            if lie is None:
                return answer
            instead = lie(method.request.FromString(request), method.response.FromString(answer))
            return instead if isinstance(instead, bytes) else bytes(instead.SerializeToString())

        def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
            assert self._upstream is not None
            try:
                return told(request, self._upstream.unary_unary(method.path)(request))
            except grpc.RpcError as error:
                if name in self.lies:
                    return told(request, b"")
                context.set_trailing_metadata(error.trailing_metadata())
                context.abort(error.code(), error.details())
                raise

        def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            assert self._upstream is not None
            call = self._upstream.unary_stream(method.path)(request)
            context.add_callback(call.cancel)
            try:
                for answer in call:
                    yield told(request, answer)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.CANCELLED:
                    context.set_trailing_metadata(error.trailing_metadata())
                    context.abort(error.code(), error.details())

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


class HttpLiar:
    """HTTP between client and server; `lies[path](path, body)` gives the body that is sent instead."""

    def __init__(self) -> None:
        self.lies: dict[str, Lie] = {}
        self.upstream = ""
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                return

            def do_GET(self) -> None:
                length = self.headers.get("Content-Length")
                body = None if length is None else self.rfile.read(int(length))
                sent = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                upstream = http.client.HTTPConnection(liar.upstream)
                upstream.request(self.command, self.path, body, sent)
                answer = upstream.getresponse()
                told = answer.read()
                upstream.close()
                lie = liar.lies.get(self.path)
                if lie is not None:
                    told = lie(self.path, told)
                self.send_response(answer.status if lie is None else 200)
                for name, value in answer.getheaders():
                    if name.lower() not in {"content-length", "date", "connection"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the client had enough
                    self.wfile.write(told)

            do_POST = do_GET

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def point(self, url: str) -> None:
        """Ask this server from now on."""
        self.upstream = url.removeprefix("http://").rstrip("/")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# --- two histories of one log ---------------------------------------------------------------------------------


def copy_log(path: Path, place: Path) -> Path:
    """The same log in another place, keys and all: what nobody may run."""
    backup(path, place)
    (place / "keys").mkdir(exist_ok=True, mode=0o700)
    for key in (path / "keys").iterdir():
        copy = place / "keys" / key.name
        copy.touch(0o600)
        copy.write_bytes(key.read_bytes())
    return place


class World:
    """The log with 300, then 512 entries, and a fork of it at 300: 400, then 600 entries.

    Each is served by one process, over HTTP and gRPC on one port.
    """

    def __init__(self, folder: Path, start: Callable[..., Any]) -> None:
        path = folder / "log"
        self.keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
        with merklelog.open(path) as log:
            self.note300 = log.append_batch(SHARED).checkpoint
        time.sleep(1.1)  # so that this size stays stored
        self.key = load_signing_key(path / "keys" / "ed25519.key")
        old, fork, longer = (copy_log(path, folder / name) for name in ("old", "fork", "longer"))
        with merklelog.open(path) as log:
            self.note512 = log.append_batch(TRUE).checkpoint
            self.root512 = log.root
        with merklelog.open(fork) as log:
            self.fork512 = log.append_batch(OTHER[:212]).checkpoint
        with merklelog.open(longer) as log:
            self.fork600 = log.append_batch(OTHER).checkpoint
        places = {"true": path, "old": old, "fork": fork, "longer": longer}
        self.urls = {name: start("--front", "native", place).url for name, place in places.items()}

    def over_http(self) -> World:
        """The same with the addresses for HTTP."""
        world = copy.copy(self)
        world.urls = {name: f"{url.replace('grpc://', 'http://')}/" for name, url in self.urls.items()}
        return world

    def signed(self, size: int, root: bytes, origin: str = ORIGIN) -> bytes:
        """A checkpoint of whatever is claimed, signed by the log's own key."""
        checkpoint = Checkpoint(origin, TreeSize(size), Hash(root))
        note = Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, self.key),))
        return format_note(note)


@pytest.fixture(scope="module")
def grpc_world(tmp_path_factory: pytest.TempPathFactory, start_grpc: Callable[..., Any]) -> World:
    return World(tmp_path_factory.mktemp("world"), start_grpc)


@pytest.fixture(scope="module")
def http_world(grpc_world: World) -> World:
    return grpc_world.over_http()


@pytest.fixture
def grpc_liar(grpc_world: World) -> Iterator[GrpcLiar]:
    liar = GrpcLiar()
    liar.point(grpc_world.urls["true"])
    yield liar
    liar.close()


@pytest.fixture
def http_liar(http_world: World) -> Iterator[HttpLiar]:
    liar = HttpLiar()
    liar.point(http_world.urls["true"])
    yield liar
    liar.close()


@pytest.fixture(params=["grpc", "http"])
def between(request: pytest.FixtureRequest) -> tuple[Any, World]:
    """A liar of each kind, and the world behind it."""
    return (
        request.getfixturevalue(f"{request.param}_liar"),
        request.getfixturevalue(f"{request.param}_world"),
    )


def lie_about_checkpoint(liar: Any, note: bytes) -> None:
    if isinstance(liar, HttpLiar):
        liar.lies["/checkpoint"] = lambda *_: note
    else:
        liar.lies["GetCheckpoint"] = lambda *_: pb.GetCheckpointResponse(checkpoint=note)


def caught(
    liar: Any,
    keys: tuple[VerifierKey, ...],
    error: type[MerklelogError],
    method: str,
    *words: Any,
    **more: Any,
) -> MerklelogError:
    """What a call of a new client raises, for threads and for tasks the same."""
    more = {"retry": ONCE, **more}
    with merklelog.connect(liar.url, keys, **more) as client, pytest.raises(error) as threads:
        getattr(client, method)(*words)

    async def ask() -> None:
        async with await merklelog.connect_async(liar.url, keys, **more) as client:
            await getattr(client, method)(*words)

    with pytest.raises(error) as tasks:
        asyncio.run(ask())
    assert type(threads.value) is type(tasks.value)
    return threads.value


def texts(error: MerklelogError) -> list[bytes]:
    """What the two notes of a fork say."""
    assert isinstance(error, ForkError)
    return [parse_note(error.first).text, parse_note(error.second).text]
