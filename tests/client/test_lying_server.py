"""Clients before a server that lies, in every way a server can: each lie is caught, and called by its name.

What lies stands between a client and a real server: it hands questions on and changes answers.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    DamagedError,
    ForkError,
    FormatError,
    MerklelogError,
    PolicyUnmetError,
    ProofError,
    SignatureError,
    StaleError,
    UnavailableError,
    UnreachableError,
)
from merklelog.formats import (
    Checkpoint,
    Note,
    VerifierKey,
    format_checkpoint_text,
    format_note,
    parse_checkpoint,
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


def _copy(path: Path, place: Path) -> Path:
    """The same log in another place, keys and all: what nobody may run."""
    backup(path, place)
    (place / "keys").mkdir(exist_ok=True, mode=0o700)
    for key in (path / "keys").iterdir():
        copy = place / "keys" / key.name
        copy.touch(0o600)
        copy.write_bytes(key.read_bytes())
    return place


class World:
    """The log with 300, then 512 entries, and a fork of it at 300: 400, then 600 entries."""

    def __init__(self, folder: Path, start: Callable[[Path], Any]) -> None:
        path = folder / "log"
        self.keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
        with merklelog.open(path) as log:
            self.note300 = log.append_batch(SHARED).checkpoint
        time.sleep(1.1)  # so that this size stays stored
        self.key = load_signing_key(path / "keys" / "ed25519.key")
        old, fork, longer = (_copy(path, folder / name) for name in ("old", "fork", "longer"))
        with merklelog.open(path) as log:
            self.note512 = log.append_batch(TRUE).checkpoint
            self.root512 = log.root
        with merklelog.open(fork) as log:
            self.fork512 = log.append_batch(OTHER[:212]).checkpoint
        with merklelog.open(longer) as log:
            self.fork600 = log.append_batch(OTHER).checkpoint
        places = {"true": path, "old": old, "fork": fork, "longer": longer}
        self.urls = {name: start(place).url for name, place in places.items()}

    def signed(self, size: int, root: bytes, origin: str = ORIGIN) -> bytes:
        """A checkpoint of whatever is claimed, signed by the log's own key."""
        checkpoint = Checkpoint(origin, TreeSize(size), Hash(root))
        note = Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, self.key),))
        return format_note(note)


@pytest.fixture(scope="module")
def grpc_world(tmp_path_factory: pytest.TempPathFactory, start_grpc: Callable[..., Any]) -> World:
    return World(tmp_path_factory.mktemp("grpc"), start_grpc)


@pytest.fixture(scope="module")
def http_world(tmp_path_factory: pytest.TempPathFactory, start_http: Callable[..., Any]) -> World:
    return World(tmp_path_factory.mktemp("http"), start_http)


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


# --- checkpoints ----------------------------------------------------------------------------------------------


def test_a_checkpoint_that_nobody_trusted_signed(between: tuple[Any, World], tmp_path: Path) -> None:
    liar, world = between
    strangers = merklelog.create_log(tmp_path / "stranger", ORIGIN)
    with merklelog.open_reader(tmp_path / "stranger") as reader:
        lie_about_checkpoint(liar, reader.checkpoint())
    assert liar.url in str(caught(liar, world.keys, SignatureError, "checkpoint"))
    lie_about_checkpoint(liar, world.note512.replace(b"\n512\n", b"\n513\n"))
    caught(liar, world.keys, SignatureError, "checkpoint")
    lie_about_checkpoint(liar, world.signed(512, world.root512, "other.example/log"))
    caught(liar, world.keys, PolicyUnmetError, "checkpoint")
    lie_about_checkpoint(liar, world.note512)
    caught(liar, strangers, SignatureError, "checkpoint")
    for nonsense in (
        b"",
        b"nonsense",
        b"\xff" * 1000,
        world.note512[:-1],
        world.note512.replace(b"512", b"0512"),
    ):
        lie_about_checkpoint(liar, nonsense)
        caught(liar, world.keys, FormatError, "checkpoint")


def test_a_wrong_root_under_the_right_key(between: tuple[Any, World], tmp_path: Path) -> None:
    liar, world = between
    lie_about_checkpoint(liar, world.signed(512, b"\x01" * 32))
    wrong = DamagedError if isinstance(liar, HttpLiar) else ProofError
    for method, words in (("prove", (5,)), ("entry", (5,))):
        caught(liar, world.keys, wrong, method, *words)
    (tmp_path / "state").write_bytes(world.note300)
    # Nobody can tell whose fault it is that no proof leads there, so no fork is claimed.
    caught(liar, world.keys, wrong, "checkpoint", state=tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == world.note300
    (tmp_path / "state").write_bytes(world.note512)
    error = caught(liar, world.keys, ForkError, "checkpoint", state=tmp_path / "state")
    assert {*texts(error)} == {
        parse_note(world.note512).text,
        parse_note(world.signed(512, b"\x01" * 32)).text,
    }
    lie_about_checkpoint(liar, world.signed(0, b"\x01" * 32))
    caught(liar, world.keys, ProofError, "checkpoint")


def test_an_old_root(between: tuple[Any, World], tmp_path: Path) -> None:
    liar, world = between
    with merklelog.connect(liar.url, world.keys, retry=ONCE) as client:
        assert client.checkpoint().checkpoint.size == 512
        liar.point(world.urls["old"])
        with pytest.raises(StaleError, match="got size 300, trusted is 512"):
            client.checkpoint()
    (tmp_path / "state").write_bytes(world.note512)
    caught(liar, world.keys, StaleError, "checkpoint", state=tmp_path / "state")
    # What is stored of an older size is no lie, but the server has not what proves it to be the same history.
    caught(liar, world.keys, MerklelogError, "checkpoint", 300, state=tmp_path / "state")


@pytest.mark.parametrize("shown", ["fork", "longer"])
def test_a_fork_is_evidence(between: tuple[Any, World], shown: str, tmp_path: Path) -> None:
    liar, world = between
    state = tmp_path / "state"
    note = world.fork512 if shown == "fork" else world.fork600
    with merklelog.connect(liar.url, world.keys, retry=ONCE, state=state) as client:
        seen = client.checkpoint().note
        liar.point(world.urls[shown])
        with pytest.raises(ForkError) as error:
            client.checkpoint()
        # Signed once more meanwhile, by the log's other key: it is the text that tells.
        assert texts(error.value) == [parse_note(world.note512).text, parse_note(note).text]
        assert error.value.first == seen
    assert state.read_bytes() == seen
    found = caught(liar, world.keys, ForkError, "checkpoint", state=state)
    assert texts(found) == [parse_note(world.note512).text, parse_note(note).text]
    # Before the fork both are the same.
    with merklelog.connect(liar.url, world.keys, retry=ONCE) as client:
        assert client.checkpoint(300).checkpoint == parse_checkpoint(world.note300).checkpoint
        assert client.checkpoint().checkpoint != parse_checkpoint(world.note512).checkpoint


def test_a_smaller_checkpoint_of_another_history(between: tuple[Any, World], tmp_path: Path) -> None:
    liar, world = between
    (tmp_path / "state").write_bytes(world.fork600)
    liar.point(world.urls["longer"])
    if isinstance(liar, HttpLiar):
        liar.lies["/checkpoints/512"] = lambda *_: world.note512
        liar.lies["/checkpoints/511"] = lambda *_: world.note512
    else:
        liar.lies["GetCheckpoint"] = lambda *_: pb.GetCheckpointResponse(checkpoint=world.note512)
    error = caught(liar, world.keys, ForkError, "checkpoint", 512, state=tmp_path / "state")
    assert texts(error) == [parse_note(world.note512).text, parse_note(world.fork600).text]
    caught(liar, world.keys, ProofError, "checkpoint", 511, state=tmp_path / "state")


# --- proofs and entries over gRPC -----------------------------------------------------------------------------


def changed(field: str, change: Callable[[list[bytes]], list[bytes]]) -> Lie:
    def lie(_request: Any, answer: Any) -> Any:
        target = answer.entries[0] if field == "proof" and hasattr(answer, "range_proof") else answer
        hashes = getattr(target, field)
        instead = change(list(hashes))
        del hashes[:]
        hashes.extend(instead)
        return answer

    return lie


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "truncated": lambda hashes: hashes[:-1],
    "swapped": lambda hashes: [hashes[1], hashes[0], *hashes[2:]],
    "longer": lambda hashes: [*hashes, hashes[0]],
    "empty": lambda _: [],
    "changed": lambda hashes: [*hashes[:-1], bytes([hashes[-1][0] ^ 1]) + hashes[-1][1:]],
    "cut": lambda hashes: [*hashes[:-1], hashes[-1][:-1]],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_proof_with_something_done_to_it(
    name: str, grpc_liar: GrpcLiar, grpc_world: World, tmp_path: Path
) -> None:
    liar, keys = grpc_liar, grpc_world.keys
    liar.lies["GetInclusionProofs"] = changed("proof", CHANGES[name])
    caught(liar, keys, ProofError, "prove", 77)
    liar.lies["GetInclusionProofs"] = changed("range_proof", CHANGES[name])
    caught(liar, keys, ProofError, "entry", 77)
    liar.lies.clear()
    liar.lies["GetConsistencyProof"] = changed("proof", CHANGES[name])
    caught(liar, keys, ProofError, "consistency", 300, 512)
    (tmp_path / "state").write_bytes(grpc_world.note300)
    caught(liar, keys, ProofError, "checkpoint", state=tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == grpc_world.note300


def test_another_entry_than_was_asked_for(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    liar, keys = grpc_liar, grpc_world.keys

    def shift(_: Any, answer: Any) -> Any:
        answer.entries[0].index += 1
        return answer

    liar.lies["GetInclusionProofs"] = shift
    caught(liar, keys, ProofError, "prove", 77)
    liar.lies.clear()

    def from_elsewhere(_: Any, answer: Any) -> Any:
        answer.start += 1
        return answer

    changes: dict[str, Lie] = {
        "from elsewhere": from_elsewhere,
        "none": lambda _, answer: pb.GetEntriesResponse(start=answer.start),
        "another": lambda _, answer: pb.GetEntriesResponse(start=answer.start, entries=[b"another"]),
        "a byte": lambda _, a: pb.GetEntriesResponse(start=a.start, entries=[a.entries[0][:-1] + b"!"]),
        "shorter": lambda _, answer: pb.GetEntriesResponse(
            start=answer.start, entries=[answer.entries[0][:-1]]
        ),
    }
    for lie in changes.values():
        liar.lies["GetEntries"] = lie
        caught(liar, keys, ProofError, "entry", 77)


def test_entries_of_a_range_in_another_order(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    def swapped(_: Any, answer: Any) -> Any:
        entries = list(answer.entries)
        entries[3], entries[4] = entries[4], entries[3]
        return pb.GetEntriesResponse(start=answer.start, entries=entries)

    grpc_liar.lies["GetEntries"] = swapped
    with (
        merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client,
        pytest.raises(ProofError),
    ):
        list(client.entries())
    grpc_liar.lies.clear()
    with merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client:
        assert list(client.entries()) == SHARED + TRUE


def test_an_append_that_was_not_stored_as_it_says(
    grpc_liar: GrpcLiar, start_grpc: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        before = log.append_batch([b"before %d" % i for i in range(5)]).checkpoint
    liar = grpc_liar
    liar.point(start_grpc(path).url)

    def with_index(_: Any, answer: Any) -> Any:
        answer.entry.index -= 1
        return answer

    def far(_: Any, answer: Any) -> Any:
        answer.entry.index = 2**64 - 1
        return answer

    def without_note(_: Any, answer: Any) -> Any:
        answer.signed_note = b""
        return answer

    def old_note(_: Any, answer: Any) -> Any:
        answer.signed_note = before
        return answer

    def cut(_: Any, answer: Any) -> Any:
        del answer.entry.proof[-1:]
        return answer

    for lie in (with_index, far, without_note, old_note, cut):
        liar.lies["Append"] = lie
        caught(liar, keys, ProofError, "append", b"entry")
    liar.lies.clear()

    def another_place(_: Any, answer: Any) -> Any:
        answer.first_index -= 1
        return answer

    def permuted(_: Any, answer: Any) -> Any:
        first = answer.first_index
        for index in (first + 1, first):
            answer.entries.add(index=index)
        return answer

    def one_missing(_: Any, answer: Any) -> Any:
        answer.entries.add(index=answer.first_index)
        return answer

    for lie in (another_place, permuted, one_missing, without_note, old_note):
        liar.lies["AppendBatch"] = lie
        caught(liar, keys, ProofError, "append_batch", [b"one", b"two"])


def test_a_fork_comes_out_of_an_append_too(
    grpc_liar: GrpcLiar, start_grpc: Callable[..., Any], tmp_path: Path
) -> None:
    """An append to the other history: its own proof tells where it forks there, else one question more."""
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch([b"%d" % i for i in range(5)])
    fork = _copy(path, tmp_path / "fork")
    for place, entry in ((path, b"a"), (fork, b"b")):
        with merklelog.open(place) as log:
            log.append(entry)
    true, false = start_grpc(path).url, start_grpc(fork).url
    for method, words in (("append", b"x"), ("append_batch", [b"x", b"y"])):
        grpc_liar.point(true)
        with merklelog.connect(grpc_liar.url, keys, retry=ONCE) as client:
            note = client.checkpoint().note
            grpc_liar.point(false)
            with pytest.raises(ForkError) as error:
                getattr(client, method)(words)
            assert error.value.first == note
            assert client.trusted is not None
            assert client.trusted.note == note


# --- tiles over HTTP ------------------------------------------------------------------------------------------


FLIPPED: dict[str, Lie] = {
    "first byte": lambda _, body: bytes([body[0] ^ 1]) + body[1:],
    "last byte": lambda _, body: body[:-1] + bytes([body[-1] ^ 1]),
    "truncated": lambda _, body: body[:-1],
    "longer": lambda _, body: body + b"x",
    "empty": lambda *_: b"",
}


@pytest.mark.parametrize("name", FLIPPED)
@pytest.mark.parametrize(
    ("path", "method", "word"),
    [
        ("/tile/entries/000", "entry", 5),
        ("/tile/entries/001", "entry", 300),
        ("/tile/0/000", "prove", 5),
        ("/tile/0/001", "prove", 300),
        ("/tile/1/000.p/2", "prove", 5),
    ],
)
def test_a_tile_or_bundle_with_something_done_to_it(
    name: str, path: str, method: str, word: int, http_liar: HttpLiar, http_world: World
) -> None:
    http_liar.lies[path] = FLIPPED[name]
    error = caught(http_liar, http_world.keys, DamagedError, method, word)
    assert path[1:] in str(error)


def test_an_append_over_http_that_is_not_there(
    http_liar: HttpLiar, start_http: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch([b"before %d" % i for i in range(5)])
    http_liar.point(start_http(path).url)
    http_liar.lies["/add"] = lambda *_: b"3\n"
    caught(http_liar, keys, ProofError, "append", b"entry")
    for nonsense in (b"", b"-1\n", b"x\n", b"05\n", b"5\n\n", b"9223372036854775808\n"):
        http_liar.lies["/add"] = lambda *_, nonsense=nonsense: nonsense
        caught(http_liar, keys, DamagedError, "append", b"entry")
    http_liar.lies["/add"] = lambda *_: b"9999\n"
    short = Retry(total=60, attempt=0.5, first=200, most=200)
    caught(http_liar, keys, UnavailableError, "append", b"entry", retry=short)


# --- answers that are too much, too slow or nothing -----------------------------------------------------------


def test_a_server_that_takes_its_time(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    ended = threading.Event()

    def slowly(_: Any, answer: Any) -> Any:
        ended.wait(30)
        return answer

    liar, keys = grpc_liar, grpc_world.keys
    short = Retry(total=60, attempt=0.5, first=200, most=200)
    try:
        for rpc, method, words in (
            ("GetCheckpoint", "checkpoint", ()),
            ("GetEntries", "entry", (5,)),
            ("GetInclusionProofs", "prove", (5,)),
        ):
            liar.lies = {rpc: slowly}
            caught(liar, keys, UnavailableError, method, *words, retry=short)
    finally:
        ended.set()


def test_an_answer_that_is_too_long_or_no_message(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    liar, keys = grpc_liar, grpc_world.keys
    for rpc, method, words in (
        ("GetCheckpoint", "checkpoint", ()),
        ("GetEntries", "entry", (5,)),
        ("GetInclusionProofs", "prove", (5,)),
    ):
        liar.lies = {rpc: lambda *_: b"x" * (33 << 20)}
        assert "longer than" in str(caught(liar, keys, DamagedError, method, *words))
        liar.lies = {rpc: lambda *_: b"\xff\xff\xff"}
        assert "no message of this protocol" in str(caught(liar, keys, DamagedError, method, *words))


def test_a_stream_that_says_nothing_for_ever(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    grpc_liar.lies["WatchCheckpoints"] = lambda *_: pb.WatchCheckpointsResponse()
    with (
        merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client,
        pytest.raises(FormatError),
    ):
        next(iter(client.follow(512)))
    liars = {"checkpoint": grpc_world.note512}
    grpc_liar.lies["WatchCheckpoints"] = lambda *_: pb.WatchCheckpointsResponse(**liars)
    with merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client:
        assert next(iter(client.follow(511))) == (511, TRUE[-1])


def test_a_server_that_is_another_thing(grpc_world: World, http_world: World) -> None:
    for url, error in (
        (grpc_world.urls["true"].replace("grpc://", "http://"), MerklelogError),
        (http_world.urls["true"].rstrip("/").replace("http://", "grpc://"), UnreachableError),
    ):
        with merklelog.connect(url, grpc_world.keys, retry=ONCE) as client, pytest.raises(error):
            client.checkpoint()
