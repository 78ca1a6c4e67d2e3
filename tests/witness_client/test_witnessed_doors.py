"""The level WITNESSED as callers have it: the command line on a directory, gRPC, HTTP, readiness and metrics."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from merklelog.formats import format_vkey, parse_checkpoint
from merklelog.tree import leaf_hash, verify_inclusion
from merklelog.v1 import log_pb2 as pb
from tests.support.programs import Program
from tests.witness_client.scene import ROOT, OneLog, Scene, run

SECONDS = 60


@contextmanager
def serving(path: Path) -> Iterator[dict[str, str]]:
    """`merklelog serve` once it takes appends: the addresses of its doors."""
    ports = {f"MERKLELOG_SERVER__{door}": "127.0.0.1:0" for door in ("GRPC", "HTTP", "ADMIN")}
    environment = {"PYTHONPATH": str(ROOT), "MERKLELOG_SERVER__LOG_FORMAT": "json", **ports}
    program = Program([sys.executable, "-m", "merklelog", "serve", str(path)], environment)
    try:
        doors = program.wait_for(" serves")
        end = time.monotonic() + SECONDS
        while ask(doors["admin"], "GET", "/readyz")[0] != 200:  # it asks its witnesses first
            assert time.monotonic() < end
            time.sleep(0.05)
        yield doors
    finally:
        program.process.terminate()
        program.process.wait(SECONDS)


def ask(address: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def method(kind: Callable[..., Any], name: str) -> Any:
    """A call of the service, of that kind of a channel's."""
    return kind(
        f"/merklelog.v1.LogService/{name}",
        request_serializer=getattr(pb, f"{name}Request").SerializeToString,
        response_deserializer=getattr(pb, f"{name}Response").FromString,
    )


@pytest.fixture(scope="module")
def one(witnessed: Scene) -> OneLog:
    """A log that shows its newest checkpoint, cosigned or not."""
    return witnessed.log(mode='"continue"')


def test_the_command_line_saves_a_proof_that_meets_the_policy(one: OneLog, tmp_path: Path) -> None:
    entry, proof, policy = tmp_path / "entry", tmp_path / "proof", str(one.path / "witnesses.policy")
    entry.write_bytes(b"by hand")
    run("append", str(one.path), str(entry), "--wait", "witnessed", "-o", str(proof))
    verdict = run("verify", str(proof), "--entry", str(entry), "--policy", policy)
    assert verdict["existed_by"]


def test_each_door_waits_for_witnesses_and_says_how_far_they_are(
    one: OneLog, witnessed: Scene, tmp_path: Path
) -> None:
    vkey = format_vkey(one.keys[0])
    with serving(one.path) as doors:
        channel = grpc.insecure_channel(doors["grpc"])
        request = pb.AppendRequest(
            entry=pb.NewEntry(data=b"rpc"), wait=pb.LEVEL_WITNESSED, detail=pb.DETAIL_PROOF
        )
        answer = method(channel.unary_unary, "Append")(request, timeout=SECONDS)
        assert answer.level == pb.LEVEL_WITNESSED
        assert len(one.names(answer.signed_note)) >= 2
        root = parse_checkpoint(answer.signed_note).checkpoint.root
        verify_inclusion(leaf_hash(b"rpc"), answer.entry.index, answer.tree_size, answer.entry.proof, root)
        get = method(channel.unary_unary, "GetCheckpoint")
        newest = get(pb.GetCheckpointRequest(level=pb.LEVEL_WITNESSED), timeout=SECONDS)
        assert one.names(newest.checkpoint)
        seen = method(channel.unary_stream, "WatchCheckpoints")
        watch = seen(pb.WatchCheckpointsRequest(level=pb.LEVEL_WITNESSED), timeout=SECONDS)
        assert next(watch).checkpoint == newest.checkpoint
        wish = {"merklelog_wait": "witnessed", "accept": "application/json"}
        status, body = ask(doors["http"], "POST", "/add", b"web", **wish)
        told = json.loads(body)
        assert (status, told["level"]) == (200, "witnessed")
        assert one.names(told["note"].encode())
        later = next(watch).checkpoint
        assert one.names(later)
        assert parse_checkpoint(later).checkpoint.size > answer.entry.index + 1
        channel.close()
        (tmp_path / "entry").write_bytes(b"typed")
        words = ("append", f"grpc://{doors['grpc']}", str(tmp_path / "entry"), "--vkey", vkey)
        run(*words, "--wait", "witnessed", "-o", str(tmp_path / "proof"))
        assert one.names((tmp_path / "proof").read_bytes().split(b"\n\n", 1)[1])
        status, body = ask(doors["http"], "GET", "/checkpoint.witnessed")
        assert status == 200
        assert one.names(body)
        for each in witnessed.witnesses[1:]:
            each.kill()
        status, body = ask(doors["http"], "POST", "/add", b"late", prefer="wait=1", **wish)
        assert (status, json.loads(body)["level"]) == (202, "integrated")
        status, body = ask(doors["admin"], "GET", "/readyz", accept="application/json")
        (seen,) = json.loads(body)["logs"]
        assert status == 200  # the log goes on: what it shows does not wait
        assert seen["rollback_protection"] == "witnesses"
        assert seen["witnessed"] == seen["size"] - 1
        assert [bool(each.get("error")) for each in seen["witnesses"]] == [False, True, True]
        text = ask(doors["admin"], "GET", "/metrics")[1].decode()
        assert f'merklelog_log_witness_up{{log="{one.keys[0].name}",witness="w1a, w1b"}} 0.0' in text
        assert b"w1a, w1b: " in ask(doors["admin"], "GET", "/readyz")[1]


def test_an_append_that_does_not_wait_is_done_before_the_witnesses_are(
    witnessed: Scene, tmp_path: Path
) -> None:
    """Over the network, to a log that shows what is witnessed only: it is told its own commit's checkpoint."""
    held = witnessed.log(timeout=1.0)
    (tmp_path / "entry").write_bytes(b"not waited for")
    vkey = format_vkey(held.keys[0])
    with serving(held.path) as doors:
        for each in witnessed.witnesses[1:]:
            each.kill()
        words = ("append", f"grpc://{doors['grpc']}", str(tmp_path / "entry"), "--vkey", vkey)
        told = run(*words, "-o", str(tmp_path / "proof"))
        assert (told["size"], told["appended"]) == (1, 1)
        assert ask(doors["http"], "GET", "/checkpoint")[1].split(b"\n")[1] == b"0"
        run("verify", str(tmp_path / "proof"), "--entry", str(tmp_path / "entry"), "--vkey", vkey)


def test_a_log_without_witnesses_has_no_such_level(witnessed: Scene, tmp_path: Path) -> None:
    path, keys = witnessed.logs[0]
    OneLog(path, keys, None).configure(None, policy='""')  # type: ignore[arg-type]
    (tmp_path / "entry").write_bytes(b"x")
    run("append", str(path), str(tmp_path / "entry"), "--wait", "witnessed", status=2)
