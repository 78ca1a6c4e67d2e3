"""A server that lies about its checkpoints, and one that is no log, is found out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    parse_checkpoint,
    parse_note,
)
from merklelog.v1 import log_pb2 as pb
from tests.client.lying_server import (
    ONCE,
    ORIGIN,
    TRUE,
    GrpcLiar,
    HttpLiar,
    World,
    caught,
    lie_about_checkpoint,
    texts,
)

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


def test_a_server_that_is_another_thing(
    start_grpc: Callable[..., Any], start_http: Callable[..., Any], tmp_path: Path
) -> None:
    for start, scheme, other, error in (
        (start_grpc, "grpc://", "http://", MerklelogError),
        (start_http, "http://", "grpc://", UnreachableError),
    ):
        path = tmp_path / scheme[:4]
        keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
        url = start(path).url.rstrip("/").replace(scheme, other)
        with merklelog.connect(url, keys, retry=ONCE) as client, pytest.raises(error):
            client.checkpoint()
