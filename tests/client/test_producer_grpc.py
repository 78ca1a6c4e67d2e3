"""Producer and logging handler over the network: a server in a process of its own, killed and started again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import merklelog
from merklelog.client import producer_stream
from merklelog.client.grpc_wire import Place
from merklelog.client.logging_handler import MerklelogHandler
from merklelog.client.producer import ProducerOptions
from merklelog.client.producer_stream import append_request
from merklelog.client.producer_targets import open_producer
from merklelog.client.producer_transport import Answer
from merklelog.errors import (
    KeyFormatError,
    MerklelogError,
    SignatureError,
    UnavailableError,
    UnknownLogError,
    UsageError,
)
from merklelog.formats import parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from merklelog.v1 import log_pb2 as pb
from tests.client.producer_door import until
from tests.client.producer_server import ORIGIN, SECONDS, Server


def test_entries_over_the_network_are_verified_and_proven(
    server: Server, vkeys: list[str], tmp_path: Path
) -> None:
    with open_producer(server.target, vkeys[:1], state=tmp_path / "state") as producer:
        sent = [producer.send(b"entry %d" % i) for i in range(2_500)]
        receipts = [each.result(SECONDS) for each in sent]
    assert [receipt.index for receipt in receipts] == list(range(2_500))
    policy = single_log_policy(merklelog.client.trust.policy_of(vkeys[:1]).logs[0].key for _ in (1,))
    for i in (0, 255, 1_000, 2_499):
        proof = parse_proof(receipts[i].to_bytes())
        assert verify_proof_file(proof, leaf_hash(b"entry %d" % i), policy).index == i
    with open_producer(server.target, vkeys, state=tmp_path / "state") as producer:
        assert producer.head is not None
        assert producer.head.size == 2_500
        assert producer.send(b"more").result(SECONDS).index == 2_500
    assert server.entries() == [*(b"entry %d" % i for i in range(2_500)), b"more"]


def test_alone_with_its_log_it_asks_for_no_proof(
    server: Server, vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("range_proof", "inclusions", "consistency"):
        monkeypatch.setattr(
            f"merklelog.client.grpc_aio.GrpcAioTransport.{name}", lambda *_, name=name: asked.append(name)
        )
    options = ProducerOptions(linger_seconds=0, max_batch_entries=10)
    with open_producer(server.target, vkeys, options) as producer:
        for i in range(5_000):
            producer.send(b"%d" % i)
    assert asked == []


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_killed_server_loses_nothing_and_stores_nothing_twice(
    stopped: Server, vkeys: list[str], front: str
) -> None:
    """kill -9 three times under load; every entry is acknowledged, and stands there once and in order."""
    options = ProducerOptions(linger_seconds=0, max_batch_entries=50)
    count = 0
    server = stopped
    server.start("--front", front)
    with open_producer(server.target, vkeys, options) as producer:
        for _ in range(3):
            for _ in range(3_000):
                producer.send(b"%d" % count)
                count += 1
            while producer.head is None or producer.head.size < count - 2_500:
                time.sleep(0.001)
            server.end(signal.SIGKILL)
            server.start("--front", front)
        last = producer.send(b"%d" % count)
        assert last.result(SECONDS).index == count
    assert server.entries() == [b"%d" % i for i in range(count + 1)]


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_server_that_stops_in_good_order_loses_nothing(
    stopped: Server, vkeys: list[str], front: str
) -> None:
    server = stopped
    server.start("--front", front)
    options = ProducerOptions(linger_seconds=0, max_batch_entries=20)
    with open_producer(server.target, vkeys, options) as producer:
        for i in range(4_000):
            producer.send(b"%d" % i)
        server.end(signal.SIGTERM)
        server.start("--front", front)
    assert server.entries() == [b"%d" % i for i in range(4_000)]


def test_a_server_that_is_not_there_is_waited_for(stopped: Server, vkeys: list[str]) -> None:
    server = stopped
    options = ProducerOptions(deadline_seconds=0.3)
    with open_producer(server.target, vkeys, options) as producer:
        with pytest.raises(UnavailableError, match=r"within 0\.3 s.*127\.0\.0\.1"):
            producer.send(b"a").result(SECONDS)
        # heard of it once: the end is to say nothing more
        with pytest.raises(UnavailableError):
            producer.flush(SECONDS)
    with open_producer(server.target, vkeys) as producer:
        sent = producer.send(b"b")
        server.start()
        assert sent.result(SECONDS).index == 0


def test_a_stream_that_the_server_ends_while_it_is_idle_costs_nothing(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends each stream with a refusal once it has answered: nothing sent is refused by that."""
    streams = 0
    ended: list[object] = []
    read = producer_stream._Stream._read

    async def read_to_end(stream: producer_stream._Stream) -> None:
        await read(stream)
        ended.append(stream)

    monkeypatch.setattr(producer_stream._Stream, "_read", read_to_end)
    with merklelog.open(Path(shutil.copytree(template, tmp_path / "log"))) as log:

        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            nonlocal streams
            streams += 1
            request = pb.AppendStreamRequest.FromString(next(requests))
            receipt = log.append_batch([entry.data for entry in request.entries])
            appended = pb.StreamedAppend(first_index=receipt.indexes[0], count=len(receipt))
            yield pb.AppendStreamResponse(
                appended=[appended], tree_size=receipt.size, signed_note=receipt.checkpoint
            ).SerializeToString()
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

        server = grpc.server(ThreadPoolExecutor())
        methods = {"AppendStream": grpc.stream_stream_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("merklelog.v1.LogService", methods),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with open_producer(
            f"grpc://127.0.0.1:{port}", log.vkeys, ProducerOptions(linger_seconds=0)
        ) as producer:
            for i in range(4):
                assert producer.send(b"%d" % i).result(SECONDS).index == i
                until(lambda i=i: len(ended) > i)
        server.stop(None)
    assert streams == 4


def test_a_server_that_refuses_says_why(server: Server, vkeys: list[str]) -> None:
    with open_producer(server.target, vkeys, origin="other.example/log") as producer:
        with pytest.raises(UnknownLogError, match=r"other\.example/log"):
            producer.send(b"a").result(SECONDS)
        with pytest.raises(UnknownLogError):
            producer.flush(SECONDS)


def test_keys_of_another_log_believe_nothing(server: Server, tmp_path: Path) -> None:
    keys = merklelog.create_log(tmp_path / "other", ORIGIN)
    producer = open_producer(server.target, [keys[0]])
    with pytest.raises(SignatureError):
        producer.send(b"a").result(SECONDS)
    with pytest.raises(SignatureError):
        producer.close()


@pytest.mark.parametrize(
    ("target", "trust", "options", "error"),
    [
        ("http://127.0.0.1:1", None, {}, UsageError),
        ("a/directory", None, {}, UsageError),
        ("grpc://", None, {}, UsageError),
        ("grpc://host/path", None, {}, UsageError),
        ("grpc://127.0.0.1:1", ["nonsense"], {}, KeyFormatError),
        ("grpc://127.0.0.1:1", [], {}, UsageError),
        ("grpc://127.0.0.1:1", None, {"token": "with space"}, UsageError),
        ("grpc://example.com:1", None, {"token": "abc"}, UsageError),
        ("grpcs://127.0.0.1:1", None, {"ca": "/not/there"}, UsageError),
    ],
)
def test_what_can_not_be_meant_is_said_at_once(
    vkeys: list[str], target: str, trust: Any, options: Any, error: type[MerklelogError]
) -> None:
    trusted = vkeys if trust is None else trust
    with pytest.raises(error):
        open_producer(target, trusted, **options)
    with pytest.raises(error):
        MerklelogHandler(target, trusted, **options)


@given(
    origin=st.text(max_size=20),
    entries=st.lists(st.binary(max_size=300), max_size=20),
    sizes=st.lists(
        st.sampled_from([0, 1, 123, 124, 125, 126, 127, 128, 16_380, 16_383, 16_384, 65_535]), max_size=4
    ),
    key=st.binary(min_size=1, max_size=128),
)
def test_requests_are_framed_as_protobuf_would(
    origin: str, entries: list[bytes], sizes: list[int], key: bytes
) -> None:
    data = [*entries, *map(bytes, sizes)]
    want = pb.AppendStreamRequest(
        origin=origin,
        entries=[pb.NewEntry(data=each) for each in data],
        idempotency_key=key,
        detail=pb.DETAIL_CHECKPOINT,
    )
    assert pb.AppendStreamRequest.FromString(append_request(origin, data, key)) == want


class Call:
    """A call whose answers are these."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = iter(answers)

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self.answers)
        except StopIteration:
            raise StopAsyncIteration from None

    def cancel(self) -> None:
        """Nothing is under way."""


NUMBERS = st.one_of(st.integers(0, 4), st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1]))
APPENDED = st.builds(
    pb.StreamedAppend,
    first_index=NUMBERS,
    count=st.one_of(st.just(1), NUMBERS.map(lambda number: number % 2**32)),
    indexes=st.lists(NUMBERS, max_size=3),
)
SAID = st.builds(
    pb.AppendStreamResponse,
    appended=st.lists(APPENDED, max_size=4),
    tree_size=NUMBERS,
    signed_note=st.binary(max_size=30),
)


@given(answers=st.lists(st.one_of(st.binary(max_size=60), SAID.map(lambda said: said.SerializeToString()))))
def test_whatever_a_server_answers_is_an_answer_or_an_error_of_ours(answers: list[bytes]) -> None:
    async def main() -> list[Any]:
        place = Place("grpc://somewhere", "somewhere:1", None, ())
        stream = producer_stream._Stream(lambda *_, **__: Call(answers), place)
        sent = [stream.send(b"", 1) for _ in range(3)]
        await stream._reader
        return await asyncio.gather(*sent, return_exceptions=True)

    for outcome in asyncio.run(main()):
        if isinstance(outcome, Answer):
            assert len(outcome.indexes) == 1
        else:
            assert isinstance(outcome, MerklelogError)
