"""How far an append has come, over both doors of a server whose log has a publish target."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

import merklelog
from merklelog.formats import (
    ReceiptNote,
    VerifierKey,
    format_vkey,
    is_receipt,
    parse_checkpoint,
    parse_vkey,
    verify_note,
    verify_receipt,
)
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion, verify_range
from merklelog.v1 import log_pb2 as pb
from tests.servers.serve.conftest import ANY_PORT, Serving

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
FRONTS = ["grpcio", "native"]
INTERVALS = {"quick": 0.05, "slow": 3600.0}  # seconds from one publication to the next
USES = {"quick": 4, "slow": 7}  # how many tests want one
over_http = pytest.mark.parametrize("stock", FRONTS[:1], indirect=True)  # HTTP is not what differs
ADMIN = ("--admin", "127.0.0.1:0")
STREAM = "/merklelog.v1.LogService/AppendStream"


class OneLog:
    """One log of a server that serves many, asked as if it was its only one."""

    def __init__(self, server: Any, name: str) -> None:
        self.server, self.name, self.origin = server, name, f"example.com/{name}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        answer: tuple[int, bytes] = self.server.ask(method, f"/{self.name}{path}", body, **headers)
        return answer

    def call(self, name: str, request: Any) -> Any:
        request.origin = self.origin
        return self.server.call(name, request)

    def append(self, data: bytes) -> int:
        return int(self.server.append(data, origin=self.origin))


@pytest.fixture(scope="module", params=FRONTS)
def stock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], OneLog]]:
    """`stock("slow")`: a log that nobody asked yet, of the one server that serves these tests."""
    folder = tmp_path_factory.mktemp("levels")
    logs = [folder / f"{kind}{i}" for kind in INTERVALS for i in range(USES[kind])]
    for log in logs:
        settings: dict[str, Any] = {
            "store.min_free_bytes": 0,
            "publish.targets": (f"dir:{folder}/mount/{log.name}",),
            "publish.interval": INTERVALS[log.name.rstrip("0123456789")],
        }
        merklelog.create_log(log, f"example.com/{log.name}", settings=settings)
    words = (*ANY_PORT, "--log-format", "json", *logs, *ADMIN)
    server = Serving(*words, environment={"MERKLELOG_SERVER__GRPC_FRONT": request.param})
    try:
        names = [log.name for log in logs]
        server.started()
        yield lambda kind: OneLog(server, names.pop(next(i for i, n in enumerate(names) if kind in n)))
    finally:
        server.close()


@pytest.fixture
def quick(stock: Callable[[str], OneLog]) -> OneLog:
    """A log that is published 20 times a second."""
    return stock("quick")


@pytest.fixture
def slow(stock: Callable[[str], OneLog]) -> OneLog:
    """A log that has published its one entry, and publishes again in an hour."""
    log = stock("slow")
    assert log.ask("POST", "/add", b"first", merklelog_wait="published") == (200, b"0\n")
    return log


def keys_of(server: OneLog | Serving) -> tuple[tuple[VerifierKey, ...], VerifierKey]:
    """The log's keys, and its receipt key."""
    told = server.call("GetLog", pb.GetLogRequest())
    return tuple(map(parse_vkey, told.verifier_keys)), parse_vkey(told.receipt_key)


def receipt_of(server: OneLog | Serving, note: bytes) -> ReceiptNote:
    return verify_receipt(note, keys_of(server)[1])


def tree_of(server: OneLog | Serving, note: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log's own keys signed."""
    assert not is_receipt(note)
    parsed = parse_checkpoint(note)
    verify_note(parsed.note, [keys_of(server)[0][0]])
    return parsed.checkpoint.size, parsed.checkpoint.root


def request(data: bytes, **more: Any) -> pb.AppendRequest:
    return pb.AppendRequest(entry=pb.NewEntry(data=data), **more)


def batch(*data: bytes, **more: Any) -> pb.AppendBatchRequest:
    return pb.AppendBatchRequest(entries=[pb.NewEntry(data=each) for each in data], **more)


# --- gRPC --------------------------------------------------------------------------------------------------------


def test_an_integrated_append_has_a_receipt(slow: OneLog) -> None:
    answer = slow.call("Append", request(b"second", detail=pb.DETAIL_PROOF))
    note = receipt_of(slow, answer.signed_note)
    assert (answer.level, answer.epoch, answer.tree_size) == (pb.LEVEL_INTEGRATED, 1, 2)
    assert (note.origin, note.epoch, note.size) == (slow.origin, 1, 2)
    verify_inclusion(leaf_hash(b"second"), 1, 2, list(answer.entry.proof), note.root)
    plain = slow.call("Append", request(b"third"))
    assert (plain.signed_note, plain.epoch, plain.tree_size) == (b"", 1, 3)
    many = slow.call("AppendBatch", batch(b"a", b"b", detail=pb.DETAIL_PROOF))
    note = receipt_of(slow, many.signed_note)
    assert (many.level, many.epoch, many.tree_size, note.size) == (pb.LEVEL_INTEGRATED, 1, 5, 5)
    for index, data in ((3, b"a"), (4, b"b")):
        proof = list(many.entries[index - 3].proof)
        verify_inclusion(leaf_hash(data), index, 5, proof, note.root)


def test_a_published_append_has_a_checkpoint(quick: OneLog) -> None:
    wait = {"wait": pb.LEVEL_PUBLISHED, "detail": pb.DETAIL_PROOF}
    answer = quick.call("Append", request(b"one", **wait))
    size, root = tree_of(quick, answer.signed_note)
    assert (answer.level, answer.epoch, answer.tree_size) == (pb.LEVEL_PUBLISHED, 0, size)
    verify_inclusion(leaf_hash(b"one"), answer.entry.index, size, list(answer.entry.proof), root)
    many = quick.call("AppendBatch", batch(b"two", b"three", **wait))
    size, root = tree_of(quick, many.signed_note)
    assert (many.level, many.epoch, many.tree_size) == (pb.LEVEL_PUBLISHED, 0, size)
    for each, data in zip(many.entries, (b"two", b"three"), strict=True):
        verify_inclusion(leaf_hash(data), each.index, size, list(each.proof), root)
    shown = quick.call("GetCheckpoint", pb.GetCheckpointRequest()).checkpoint
    assert tree_of(quick, shown)[0] >= size


def test_a_stream_answers_in_order_whatever_each_waits_for(quick: OneLog) -> None:
    levels = [pb.LEVEL_PUBLISHED if i % 7 == 0 else pb.LEVEL_INTEGRATED for i in range(50)]

    def requests() -> Iterator[bytes]:
        for i, level in enumerate(levels):
            entries = [pb.NewEntry(data=b"%d" % i)]
            asked = pb.AppendStreamRequest(
                origin=quick.origin, entries=entries, wait=level, detail=pb.DETAIL_CHECKPOINT
            )
            yield asked.SerializeToString()

    answered: list[int] = []
    with closing(quick.server.channel()) as channel:
        for raw in channel.stream_stream(STREAM)(requests(), timeout=60):
            answer = pb.AppendStreamResponse.FromString(raw)
            for each in answer.appended:
                assert each.first_index == len(answered)
                answered.append(answer.level)
            assert answer.tree_size >= len(answered)
            if answer.level == pb.LEVEL_PUBLISHED:
                assert answer.epoch == 0
                assert tree_of(quick, answer.signed_note)[0] == answer.tree_size
            else:
                assert receipt_of(quick, answer.signed_note).size == answer.tree_size
                assert answer.epoch == 1
    assert answered == levels


def test_a_wait_that_takes_too_long_is_answered_as_integrated(slow: OneLog) -> None:
    """Shortly before the call's deadline, so that its caller still learns the index."""
    path = "/merklelog.v1.LogService/Append"
    whose: dict[str, Any] = {"origin": slow.origin, "wait": pb.LEVEL_PUBLISHED}
    asked = request(b"second", **whose, detail=pb.DETAIL_CHECKPOINT).SerializeToString()
    with closing(slow.server.channel()) as channel:
        answer = pb.AppendResponse.FromString(channel.unary_unary(path)(asked, timeout=5))
        assert (answer.entry.index, answer.level) == (1, pb.LEVEL_INTEGRATED)
        assert receipt_of(slow, answer.signed_note).size == answer.tree_size == 2
        entries = [pb.NewEntry(data=b"third")]
        stream = pb.AppendStreamRequest(entries=entries, **whose).SerializeToString()
        (raw,) = channel.stream_stream(STREAM)(iter([stream]), timeout=5)
    assert pb.AppendStreamResponse.FromString(raw).level == pb.LEVEL_INTEGRATED


def test_what_is_shown_is_what_is_published(slow: OneLog) -> None:
    for i in range(3):
        assert slow.append(b"%d" % i) == i + 1
    told = slow.call("GetLog", pb.GetLogRequest())
    sizes = {each.level: each.tree_size for each in told.sizes}
    assert sizes == {pb.LEVEL_INTEGRATED: 4, pb.LEVEL_PUBLISHED: 1}
    assert (told.epoch, told.limits.max_wait_seconds) == (1, 30)
    for level in (pb.LEVEL_UNSPECIFIED, pb.LEVEL_INTEGRATED, pb.LEVEL_PUBLISHED):
        asked = pb.GetCheckpointRequest(level=level)
        assert tree_of(slow, slow.call("GetCheckpoint", asked).checkpoint)[0] == 1
    assert slow.ask("GET", "/checkpoint")[1].split(b"\n")[1] == b"1"
    assert slow.ask("GET", "/entry/0") == (200, b"first")
    assert slow.ask("GET", "/entry/1")[0] == 404
    assert slow.ask("GET", "/tile/0/000.p/2")[0] == 404
    end = pb.GetEntriesRequest(origin=slow.origin, end=2).SerializeToString()
    with closing(slow.server.channel()) as channel:
        entries = channel.unary_stream("/merklelog.v1.LogService/GetEntries")(end, timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            next(entries)
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE


def test_proofs_reach_to_what_receipts_are_of(slow: OneLog) -> None:
    answer = slow.call("AppendBatch", batch(b"1", b"2", b"3", detail=pb.DETAIL_CHECKPOINT))
    root = receipt_of(slow, answer.signed_note).root
    _, first = tree_of(slow, slow.call("GetCheckpoint", pb.GetCheckpointRequest()).checkpoint)
    one = slow.call("GetInclusionProof", pb.GetInclusionProofRequest(index=2, tree_size=4))
    assert one.checkpoint == b""
    verify_inclusion(leaf_hash(b"2"), 2, 4, list(one.entry.proof), root)
    asked = pb.GetInclusionProofsRequest(range_start=1, range_end=4, tree_size=4)
    proof = list(slow.call("GetInclusionProofs", asked).range_proof)
    verify_range([leaf_hash(each) for each in (b"1", b"2", b"3")], 1, 4, proof, root)
    grown = slow.call("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=1, new_size=4))
    verify_consistency(1, 4, first, root, list(grown.proof))
    newest = slow.call("GetInclusionProof", pb.GetInclusionProofRequest(index=0))
    assert newest.tree_size == 1
    with pytest.raises(grpc.RpcError) as caught:
        slow.call("GetInclusionProof", pb.GetInclusionProofRequest(index=0, tree_size=5))
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE


def test_watches_wake_when_something_is_published(quick: OneLog) -> None:
    service = "/merklelog.v1.LogService/"
    server, origin = quick.server, quick.origin
    heads = pb.WatchCheckpointsRequest(origin=origin).SerializeToString()
    added = pb.WatchEntriesRequest(origin=origin).SerializeToString()
    with closing(server.channel()) as channel, closing(server.connect()) as events:
        checkpoints = channel.unary_stream(service + "WatchCheckpoints")(heads, timeout=60)
        entries = channel.unary_stream(service + "WatchEntries")(added, timeout=60)
        next(checkpoints)
        events.request("GET", f"/{quick.name}/events/entries?start=0")
        answer = events.getresponse()
        index = quick.append(b"watched")
        found: list[bytes] = []
        while len(found) <= index:
            found += pb.WatchEntriesResponse.FromString(next(entries)).entries
        assert found[index] == b"watched"
        while (
            tree_of(quick, pb.WatchCheckpointsResponse.FromString(next(checkpoints)).checkpoint)[0] <= index
        ):
            continue
        while (line := answer.readline().strip()) != b"data: " + base64.b64encode(b"watched"):
            assert not line.startswith(b"data")
        checkpoints.cancel()
        entries.cancel()


# --- HTTP --------------------------------------------------------------------------------------------------------


@over_http
def test_http_says_by_its_status_how_far_it_has_come(slow: OneLog) -> None:
    assert slow.ask("POST", "/add", b"1") == (200, b"1\n")
    assert slow.ask("POST", "/add", b"2", merklelog_wait="integrated") == (200, b"2\n")
    now = {"merklelog_wait": "published", "prefer": "respond-async, wait=0"}
    assert slow.ask("POST", "/add", b"3", **now) == (202, b"3\n")
    # The same key: the same index, as far as it has come by now.
    for _ in range(2):
        assert slow.ask("POST", "/add", b"4", idempotency_key="k", **now) == (202, b"4\n")
    assert slow.ask("POST", "/add", b"first", merklelog_wait="witnessed")[0] == 400


@over_http
def test_http_gives_the_receipt_as_json(slow: OneLog, quick: OneLog) -> None:
    for server, wait, level in ((slow, "integrated", "integrated"), (quick, "published", "published")):
        status, body = server.ask("POST", "/add", b"j", merklelog_wait=wait, accept="application/json")
        told = json.loads(body)
        assert (status, told["level"]) == (200, level)
        note = told["note"].encode()
        if level == "published":
            assert told["epoch"] is None
            size, root = tree_of(server, note)
        else:
            assert told["epoch"] == 1
            size, root = (parsed := receipt_of(server, note)).size, parsed.root
        assert told["size"] == size
        assert base64.b64decode(told["leaf_hash"]) == leaf_hash(b"j")
        proof = [base64.b64decode(each) for each in told["proof"]]
        verify_inclusion(leaf_hash(b"j"), told["index"], size, proof, root)
    late = {"merklelog_wait": "published", "prefer": "wait=0", "accept": "text/html, application/json;q=0.9"}
    status, body = slow.ask("POST", "/add", b"k", **late)
    assert (status, json.loads(body)["level"]) == (202, "integrated")


def test_a_servers_patience_is_configured(serve: Serve, make_published: MakeLog) -> None:
    log = make_published("patient", publish__interval=3600.0)
    server = serve(log, *ADMIN, MERKLELOG_LIMITS__WAIT_SECONDS="1").started()
    assert server.ask("POST", "/add", b"0", merklelog_wait="published") == (200, b"0\n")
    assert server.ask("POST", "/add", b"1", merklelog_wait="published") == (202, b"1\n")
    assert server.ask("POST", "/add", b"2", merklelog_wait="published", prefer="wait=3600") == (202, b"2\n")
    assert server.call("GetLog", pb.GetLogRequest()).limits.max_wait_seconds == 1


@over_http
def test_the_description_tells_of_levels(slow: OneLog) -> None:
    document = json.loads(slow.server.ask("GET", "/openapi.json")[1])
    add = next(each for path, each in document["paths"].items() if path.endswith("/add"))["post"]
    wait = next(each for each in add["parameters"] if each["name"] == "merklelog-wait")
    assert wait["schema"]["enum"] == ["integrated", "published"]
    assert set(add["responses"]) >= {"200", "202", "503"}


# --- logs without a target ---------------------------------------------------------------------------------------


def test_a_log_without_a_target_has_checkpoints_at_once(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("plain")
    server = serve(log).ready()
    answer = server.call("Append", request(b"x", detail=pb.DETAIL_CHECKPOINT))
    assert (answer.level, answer.epoch) == (pb.LEVEL_INTEGRATED, 0)
    assert tree_of(server, answer.signed_note)[0] == 1
    body = json.loads(server.ask("POST", "/add", b"y", accept="application/json")[1])
    assert (body["level"], body["epoch"]) == ("integrated", None)
    assert tree_of(server, body["note"].encode())[0] == 2
    assert server.ask("POST", "/add", b"z", merklelog_wait="published")[0] == 400
    with pytest.raises(grpc.RpcError) as caught:
        server.call("Append", request(b"z", wait=pb.LEVEL_PUBLISHED))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    told = server.call("GetLog", pb.GetLogRequest())
    assert [(each.level, each.tree_size) for each in told.sizes] == [(pb.LEVEL_INTEGRATED, 2)]
    assert told.epoch == 0
    with merklelog.open_reader(log) as reader:
        assert reader.receipt_vkey is not None
        assert told.receipt_key == format_vkey(reader.receipt_vkey)
