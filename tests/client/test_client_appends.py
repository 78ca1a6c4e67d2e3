"""Appends by a client: proven before they return, by threads and tasks, followed as they come."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.errors import (
    ConflictError,
    EntryError,
    ProofError,
    UsageError,
)
from merklelog.formats import VerifierKey, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash
from tests.client.connected import QUICK, Logs, create


@pytest.fixture(params=["grpc", "http", "dir"])
def writable(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start_http: Callable[..., Any],
    start_grpc: Callable[..., Any],
) -> tuple[str, tuple[VerifierKey, ...]]:
    path = tmp_path / "log"
    keys = create(path, "append.example/log", [])
    start = {"grpc": start_grpc, "http": start_http}.get(request.param)
    return (str(path) if start is None else start(path).url), keys


def test_an_append_is_proven_before_it_returns(
    writable: tuple[str, tuple[VerifierKey, ...]], tmp_path: Path
) -> None:
    target, keys = writable
    policy = single_log_policy(keys)
    with merklelog.connect(target, keys, state=tmp_path / "state", retry=QUICK) as client:
        for i in range(3):
            entry = b"entry %d" % i
            receipt = client.append(entry)
            assert (receipt.index, receipt.leaf_hash, receipt.size) == (i, leaf_hash(entry), i + 1)
            saved = parse_proof(receipt.save(tmp_path / "proof").read_bytes())
            assert verify_proof_file(saved, leaf_hash(entry), policy).index == i
            assert (tmp_path / "state").read_bytes() == receipt.checkpoint
        first = client.append(b"once", idempotency_key=b"key")
        assert client.append(b"other").index == 4
        assert client.append(b"once", idempotency_key=b"key").index == first.index == 3
        with pytest.raises(ConflictError):
            client.append(b"twice", idempotency_key=b"key")
        for words, told in (
            ({"entry": b"x" * 65_536}, "entry 0: got 65,536 bytes"),
            ({"entry": "x"}, "entry 0: got a str"),
            ({"entry": b"x", "idempotency_key": b""}, "key: got 0 bytes"),
            ({"entry": b"x", "idempotency_key": b"x" * 129}, "key: got 129 bytes"),
            ({"entry": b"x", "identity": b"1"}, "identity: got 1 bytes"),
        ):
            with pytest.raises(EntryError, match=told):
                client.append(**words)  # type: ignore[arg-type]
        assert list(client.entries(3)) == [b"once", b"other"]


def test_entries_one_after_the_other_are_proven_together(
    writable: tuple[str, tuple[VerifierKey, ...]],
) -> None:
    target, keys = writable
    policy = single_log_policy(keys)
    entries = [b"entry %d" % i for i in range(20)]
    with merklelog.connect(target, keys, retry=QUICK) as client:
        first = client.append_each(entries, idempotency_key=b"key")
        assert first.indexes == list(range(20))
        for receipt, entry in zip(first, entries, strict=True):
            verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), policy)
        again = client.append_each([*entries, b"more"], idempotency_key=b"key")
        assert again.indexes == list(range(21))
        assert client.append_each([b"more"]).indexes == [21]

    async def append() -> None:
        async with await merklelog.connect_async(target, keys, retry=QUICK) as client:
            assert (await client.append_each([b"a", b"b"])).indexes == [22, 23]

    asyncio.run(append())


@pytest.mark.parametrize("kind", ["grpc", "dir"])
def test_a_batch_is_proven_as_one(kind: str, tmp_path: Path, start_grpc: Callable[..., Any]) -> None:
    path = tmp_path / "log"
    keys = create(path, "batch.example/log", [])
    target = start_grpc(path).url if kind == "grpc" else str(path)
    policy = single_log_policy(keys)
    with merklelog.connect(target, keys, retry=QUICK) as client:
        client.append(b"before")
        for count in (1, 5, 300):
            entries = [b"%d of %d" % (i, count) for i in range(count)]
            batch = client.append_batch(entries)
            assert len(batch) == count
            assert batch.indexes == list(range(batch.size - count, batch.size))
            for receipt, entry in zip(batch, entries, strict=True):
                verdict = verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), policy)
                assert verdict.index == receipt.index
        keyed = client.append_batch([b"a", b"b"], idempotency_keys=[b"k1", None])
        again = client.append_batch([b"new", b"a"], idempotency_keys=[None, b"k1"])
        assert again.indexes == [keyed.indexes[1] + 1, keyed.indexes[0]]
        for receipt, entry in zip(again, (b"new", b"a"), strict=True):
            verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), policy)
        same = client.append_batch([b"x", b"y"], idempotency_key=b"batch")
        assert client.append_batch([b"x", b"y"], idempotency_key=b"batch").indexes == same.indexes
        with pytest.raises(ConflictError):
            client.append_batch([b"x", b"z"], idempotency_key=b"batch")
        for words in (
            {"entries": []},
            {"entries": [b"a"], "idempotency_key": b"k", "idempotency_keys": [b"k"]},
            {"entries": [b"a"], "idempotency_keys": []},
            {"entries": [b"a"], "identities": [None, None]},
        ):
            with pytest.raises(EntryError, match="append_batch"):
                client.append_batch(**words)  # type: ignore[arg-type]


def test_an_identity_of_its_own_over_grpc(tmp_path: Path, start_grpc: Callable[..., Any]) -> None:
    path = tmp_path / "log"
    keys = create(path, "dedupe.example/log", [], **{"log.dedupe": True})
    with merklelog.connect(start_grpc(path).url, keys, retry=QUICK) as client:
        first = client.append(b"a", identity=b"1" * 32)
        assert client.append(b"b").index == 1
        # The same identity again is the first entry again, whose bytes these are not: so it is not proven.
        with pytest.raises(ProofError):
            client.append(b"c", identity=b"1" * 32)
        assert client.append(b"a", identity=b"1" * 32).index == first.index == 0
        batch = client.append_batch([b"b", b"d", b"a"], identities=[None, None, b"1" * 32])
        assert batch.indexes == [1, 2, 0]


def test_what_can_not_be_appended_to(served: Logs) -> None:
    with (
        merklelog.connect(served.targets["copy"], served.keys) as client,
        pytest.raises(UsageError, match="for reading only"),
    ):
        client.append(b"x")
    with merklelog.connect(served.targets["http"], served.keys) as client:
        for words in ({"entries": [b"a", b"b"]}, {"entries": [b"a"], "idempotency_keys": [b"k"]}):
            with pytest.raises(UsageError, match="one entry at a time"):
                client.append_batch(**words)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="takes grpc://"):
            client.append(b"a", identity=b"1" * 32)
        with pytest.raises(UsageError, match="printable ASCII"):
            client.append(b"a", idempotency_key=b"\x00")


def test_threads_and_tasks_append_through_one_client(tmp_path: Path, start_grpc: Callable[..., Any]) -> None:
    path = tmp_path / "log"
    keys = create(path, "many.example/log", [])
    url = start_grpc(path).url
    indexes: list[int] = []
    with merklelog.connect(url, keys, state=tmp_path / "state", retry=QUICK) as client:

        def append(number: int) -> None:
            for i in range(10):
                receipt = client.append(b"%d %d" % (number, i))
                assert receipt.proof is not None
                indexes.append(receipt.index)

        threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(indexes) == list(range(40))

    async def append_all() -> None:
        async with await merklelog.connect_async(url, keys, state=tmp_path / "state", retry=QUICK) as client:
            found = await asyncio.gather(*(client.append(b"task %d" % i) for i in range(40)))
            assert sorted(receipt.index for receipt in found) == list(range(40, 80))
            batch = await client.append_batch([b"x"] * 300)
            assert batch.indexes == list(range(80, 380))
            assert all(receipt.proof for receipt in batch)

    asyncio.run(append_all())
    assert (tmp_path / "state").read_bytes().split(b"\n")[1] == b"380"


@pytest.mark.parametrize("kind", ["grpc", "http", "dir"])
def test_a_follower_hears_of_what_comes(
    kind: str, tmp_path: Path, start_grpc: Callable[..., Any], start_http: Callable[..., Any]
) -> None:
    path = tmp_path / "log"
    keys = create(path, "follow.example/log", [])
    target = {"grpc": start_grpc, "http": start_http}[kind](path).url if kind != "dir" else str(path)
    writer = merklelog.connect(target, keys, retry=QUICK)

    def append() -> None:
        for i in range(5):
            time.sleep(0.05)
            writer.append(b"later %d" % i)

    thread = threading.Thread(target=append)
    with writer, merklelog.connect(target, keys, retry=QUICK) as client:
        thread.start()
        found = list(islice(client.follow(0), 5))
        thread.join()
    assert found == [(i, b"later %d" % i) for i in range(5)]
