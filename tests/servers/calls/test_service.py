"""The gRPC service as its clients meet it, on both fronts: appends, proofs, watches, several logs."""

from __future__ import annotations

import signal
from pathlib import Path

import merklelog
from merklelog.formats import parse_bundle
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion
from merklelog.v1 import log_pb2 as pb
from tests.servers.calls.conftest import ORIGIN, TREE15, Server, Start, head, news

# --- the service ----------------------------------------------------------------------------------------------


def test_the_fifteen_leaf_tree_has_its_known_roots(start: Start) -> None:
    entries = parse_bundle((TREE15 / "tile" / "entries" / "000.p" / "15").read_bytes(), 15)
    server = start()
    for index, data in enumerate(entries):
        request = pb.AppendRequest(entry=pb.NewEntry(data=data), detail=pb.DETAIL_PROOF)
        answer = server.call("Append", request)
        size, root = head(answer.signed_note)
        known = (TREE15 / f"checkpoint.{index + 1}").read_bytes().split(b"\n")
        note = answer.signed_note.split(b"\n")
        assert (answer.entry.index, note[1:3]) == (index, known[1:3])
        verify_inclusion(leaf_hash(data), index, size, list(answer.entry.proof), root)
    newest = server.call("GetCheckpoint", pb.GetCheckpointRequest()).checkpoint
    size, root = head(newest)
    for index, data in enumerate(entries):
        proven = server.call("GetInclusionProof", pb.GetInclusionProofRequest(index=index))
        assert proven.checkpoint == newest
        verify_inclusion(leaf_hash(data), index, size, list(proven.entry.proof), root)
    for old in range(16):
        proof = server.call("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=old)).proof
        known = parse_root(TREE15 / f"checkpoint.{old}")
        verify_consistency(old, size, known, root, list(proof))
    (read,) = server.call("GetEntries", pb.GetEntriesRequest())
    assert list(read.entries) == entries
    batch = server.call("GetInclusionProofs", pb.GetInclusionProofsRequest(indexes=range(15)))
    for each, data in zip(batch.entries, entries, strict=True):
        verify_inclusion(leaf_hash(data), each.index, size, list(each.proof), root)
    status, out, err = server.end()
    assert (status, out, err) == (0, "drained 0\n", "")


def parse_root(path: Path) -> bytes:
    from merklelog.formats.wire import decode_base64

    return decode_base64(path.read_bytes().split(b"\n")[2], "root")


def test_what_was_acknowledged_is_in_the_log(start: Start, log: Path) -> None:
    server = start()
    batch = server.call("AppendBatch", pb.AppendBatchRequest(entries=news(*(b"%d" % i for i in range(600)))))
    assert (batch.first_index, batch.count) == (0, 600)
    server.end(signal.SIGKILL)
    with merklelog.open_reader(log) as reader:
        assert list(reader.entries(0, 600)) == [b"%d" % i for i in range(600)]


def test_a_stream_of_appends_is_answered_in_order(start: Start, log: Path) -> None:
    server = start()
    requests = (pb.AppendStreamRequest(entries=news(b"%d" % i)) for i in range(3000))
    answers = list(server.call("AppendStream", requests))
    assert [a.first_index for answer in answers for a in answer.appended] == list(range(3000))
    server.end()
    with merklelog.open_reader(log) as reader:
        assert list(reader.entries(0, 3000)) == [b"%d" % i for i in range(3000)]


def test_watchers_see_the_log_grow(start: Start) -> None:
    server = start()
    heads = server.call("WatchCheckpoints", pb.WatchCheckpointsRequest())
    tail = server.call("WatchEntries", pb.WatchEntriesRequest(start=1))
    assert head(next(heads).checkpoint)[0] == 0
    for i in range(1, 4):
        answer = server.call("Append", pb.AppendRequest(entry=pb.NewEntry(data=b"%d" % i)))
        assert head(next(heads).checkpoint)[0] == answer.tree_size == i
    seen: list[bytes] = []
    while len(seen) < 2:
        seen += next(tail).entries
    assert seen == [b"2", b"3"]


def test_logs_are_told_apart_by_their_origins(shared: Server) -> None:
    for origin, prefix in ((ORIGIN, "/"), ("grpc.example/two", "/two/")):
        described = shared.call("GetLog", pb.GetLogRequest(origin=origin))
        assert (described.origin, described.http_prefix) == (origin, prefix)
    request = pb.AppendBatchRequest(origin="grpc.example/two", entries=news(b"z", b"z"))
    assert [each.index for each in shared.call("AppendBatch", request).entries] == [0, 0]
