"""Clients of every kind of target, against real servers: the same log reads the same, whatever is between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import AsyncClient, Client
from merklelog.client.retry import Retry
from merklelog.errors import (
    NotFoundError,
    RangeError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import VerifierKey, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from tests.client.connected import ENTRIES, KINDS, QUICK, Logs, create


def test_every_target_reads_the_same(client: Client, served: Logs) -> None:
    head = client.checkpoint()
    assert head.note == served.note
    assert head.checkpoint.size == 700
    assert client.trusted is not None
    assert client.trusted.note == served.note
    assert list(client.entries()) == ENTRIES
    assert list(client.entries(250, 600)) == ENTRIES[250:600]
    assert list(client.entries(299, 300, size=300)) == ENTRIES[299:300]
    assert list(client.entries(5, 5)) == []
    assert [client.entry(i) for i in (0, 255, 256, 699)] == [ENTRIES[i] for i in (0, 255, 256, 699)]
    assert list(islice(client.follow(690), 10)) == list(enumerate(ENTRIES[690:], 690))
    policy = single_log_policy(served.keys)
    for index, size in ((0, None), (299, None), (299, 300), (699, None)):
        proof = parse_proof(client.prove(index, size))
        verdict = verify_proof_file(proof, leaf_hash(ENTRIES[index]), policy)
        assert (verdict.index, verdict.checkpoint.size) == (index, size or 700)
    proven = client.consistency(300, 700)
    assert (proven.old.checkpoint.size, proven.new.note) == (300, served.note)
    assert proven.proof
    assert client.checkpoint(300).checkpoint.size == 300


def test_every_target_refuses_the_same(client: Client) -> None:
    for ask, error in (
        (lambda: client.entry(700), RangeError),
        (lambda: client.prove(700), RangeError),
        (lambda: client.prove(300, 300), RangeError),
        (lambda: client.entries(0, 701), RangeError),
        (lambda: client.entries(5, 4), RangeError),
        (lambda: client.entry(-1), RangeError),
        (lambda: client.consistency(5, 4), RangeError),
        (lambda: client.checkpoint(7), NotFoundError),
        (lambda: client.consistency(7, 700), NotFoundError),
    ):
        with pytest.raises(error):
            ask()


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_get_what_threads_get(kind: str, served: Logs) -> None:
    async def read() -> None:
        async with await merklelog.connect_async(served.targets[kind], served.keys, retry=QUICK) as client:
            assert isinstance(client, AsyncClient)
            assert (await client.checkpoint()).note == served.note
            assert [entry async for entry in client.entries()] == ENTRIES
            found = await asyncio.gather(*(client.entry(i) for i in range(0, 700, 100)))
            assert found == ENTRIES[::100]
            assert parse_proof(await client.prove(256)).index == 256
            assert (await client.consistency(300, 700)).proof
            followed = []
            async with contextlib.aclosing(client.follow(695)) as entries:
                async for index, entry in entries:
                    followed.append((index, entry))
                    if index == 699:
                        break
            assert followed == list(enumerate(ENTRIES[695:], 695))
            with pytest.raises(RangeError):
                await client.entry(700)
            assert client.trusted is not None

    asyncio.run(read())


# --- state, and what can not be meant ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_file_goes_from_one_client_to_the_next(kind: str, served: Logs, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with merklelog.connect(served.targets[kind], served.keys, state=state, retry=QUICK) as client:
        assert client.trusted is None
        client.checkpoint(300)
        assert state.read_bytes().split(b"\n")[1] == b"300"
    with merklelog.connect(served.targets[kind], served.keys, state=state, retry=QUICK) as client:
        assert client.trusted is not None
        assert client.trusted.size == 300
        assert client.entry(299) == ENTRIES[299]
        assert client.trusted.size == 300  # nothing newer was needed
        assert client.entry(300) == ENTRIES[300]
        assert client.trusted.size == 700
    assert state.read_bytes() == served.note


def test_a_directory_needs_nobody_to_say_whom_to_trust(served: Logs) -> None:
    with merklelog.connect(served.targets["dir"]) as client:
        assert client.checkpoint().checkpoint.size == 700
    for kind in ("grpc", "http", "copy"):
        with pytest.raises(UsageError, match="who signs this log"):
            merklelog.connect(served.targets[kind])


@pytest.mark.parametrize(
    "target",
    ["grpc://", "grpc://x/path", "grpc://a:b@x", "grpc://x:0", "grpc://x?y", "s3://x", "ftp://x", ""],
)
def test_a_target_that_can_not_be(target: str, served: Logs) -> None:
    with pytest.raises(UsageError):
        merklelog.connect(target, served.keys)


def test_nobody_there_is_told_when_the_deadline_passes(served: Logs) -> None:
    short = Retry(total=30, attempt=10, first=100, most=100)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for scheme in ("grpc", "http"):
            with (
                merklelog.connect(f"{scheme}://{address}", served.keys, retry=short) as client,
                pytest.raises(UnavailableError, match=address),
            ):
                client.checkpoint()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_closed_client_says_so(kind: str, served: Logs) -> None:
    client = merklelog.connect(served.targets[kind], served.keys, retry=QUICK)
    client.checkpoint()
    client.close()
    client.close()
    with pytest.raises(UsageError, match="was closed"):
        client.checkpoint()


def test_several_logs_of_one_server(tmp_path: Path, start_grpc: Callable[..., Any]) -> None:
    keys = {}
    for name in ("one", "two"):
        keys[name] = create(tmp_path / name, f"{name}.example/log", [])
    url = start_grpc(tmp_path / "one", tmp_path / "two").url
    for name in ("two", "one"):
        with merklelog.connect(url, keys[name], retry=QUICK) as client:
            assert client.append(b"x").index == 0
            assert client.checkpoint().checkpoint.origin == f"{name}.example/log"
    both = [*keys["one"][:1], *keys["two"][:1]]
    with merklelog.connect(url, both, origin="two.example/log", retry=QUICK) as client:
        assert client.entry(0) == b"x"
    with (
        merklelog.connect(url, keys["one"], origin="three.example/log") as client,
        pytest.raises(NotFoundError),
    ):
        client.checkpoint()


def test_a_task_that_is_cancelled_leaves_the_client_whole(
    tmp_path: Path, start_grpc: Callable[..., Any], start_http: Callable[..., Any]
) -> None:
    async def cancel(url: str, keys: tuple[VerifierKey, ...]) -> None:
        async with await merklelog.connect_async(url, keys, retry=QUICK) as client:
            follower = client.follow(0)
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0.2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            append = asyncio.ensure_future(client.append(b"one"))
            await asyncio.sleep(0)
            append.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await append
            receipt = await client.append(b"two")
            assert receipt.proof is not None
            assert await client.entry(receipt.index) == b"two"

    for name, start in (("grpc", start_grpc), ("http", start_http)):
        path = tmp_path / name
        keys = create(path, "cancel.example/log", [])
        asyncio.run(cancel(start(path).url, keys))
