"""Clients of every kind of target, against real servers: the same log reads the same, whatever is between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import AsyncClient, Client, published_directory
from merklelog.client.retry import Retry
from merklelog.errors import (
    ConflictError,
    EntryError,
    NotFoundError,
    ProofError,
    RangeError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import VerifierKey, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.publish import publish_copy
from merklelog.tree import leaf_hash

ENTRIES = [b"event %d" % i for i in range(700)]
QUICK = Retry(total=60, attempt=30, first=0.01, most=0.1)
KINDS = ("grpc", "http", "dir", "copy")


def create(path: Path, origin: str, entries: list[bytes], **settings: Any) -> tuple[VerifierKey, ...]:
    keys = merklelog.create_log(path, origin, settings={"store.min_free_bytes": 0, **settings})
    if entries:
        with merklelog.open(path) as log:
            log.append_batch(entries)
    return keys


def publish(path: Path, copy: Path) -> None:
    with merklelog.open_reader(path) as reader:
        publish_copy(reader, published_directory(f"dir:{copy}"), verifiers=reader.vkeys)


class Logs:
    """One history of 700 entries, behind every kind of target."""

    def __init__(self, folder: Path, start_http: Callable[..., Any], start_grpc: Callable[..., Any]) -> None:
        path = folder / "log"
        self.keys = create(path, "connect.example/log", ENTRIES[:300])
        publish(path, folder / "copy")
        time.sleep(1.1)  # about one checkpoint a second stays
        with merklelog.open(path) as log:
            log.append_batch(ENTRIES[300:])
        publish(path, folder / "copy")
        with merklelog.open_reader(path) as reader:
            self.note = reader.checkpoint()
        self.targets = {"dir": str(path), "copy": f"dir:{folder}/copy"}
        for kind, start in (("http", start_http), ("grpc", start_grpc)):
            # A log has one writer, so each server has the same history in a directory of its own.
            twin = folder / kind
            with merklelog.open_reader(path) as reader:
                backup(reader, twin)
            self.targets[kind] = start(twin).url


def backup(reader: merklelog.LogReader, place: Path) -> None:
    from merklelog.log.backup import backup as make

    make(reader.path, place)
    for key in (reader.path / "keys").iterdir():
        (place / "keys").mkdir(exist_ok=True, mode=0o700)
        copy = place / "keys" / key.name
        copy.touch(0o600)
        copy.write_bytes(key.read_bytes())


@pytest.fixture(scope="module")
def logs(
    tmp_path_factory: pytest.TempPathFactory, start_http: Callable[..., Any], start_grpc: Callable[..., Any]
) -> Logs:
    return Logs(tmp_path_factory.mktemp("logs"), start_http, start_grpc)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, logs: Logs) -> Iterator[Client]:
    with merklelog.connect(logs.targets[request.param], logs.keys, retry=QUICK) as made:
        yield made


def test_every_target_reads_the_same(client: Client, logs: Logs) -> None:
    head = client.checkpoint()
    assert head.note == logs.note
    assert head.checkpoint.size == 700
    assert client.trusted is not None
    assert client.trusted.note == logs.note
    assert list(client.entries()) == ENTRIES
    assert list(client.entries(250, 600)) == ENTRIES[250:600]
    assert list(client.entries(299, 300, size=300)) == ENTRIES[299:300]
    assert list(client.entries(5, 5)) == []
    assert [client.entry(i) for i in (0, 255, 256, 699)] == [ENTRIES[i] for i in (0, 255, 256, 699)]
    assert list(islice(client.follow(690), 10)) == list(enumerate(ENTRIES[690:], 690))
    policy = single_log_policy(logs.keys)
    for index, size in ((0, None), (299, None), (299, 300), (699, None)):
        proof = parse_proof(client.prove(index, size))
        verdict = verify_proof_file(proof, leaf_hash(ENTRIES[index]), policy)
        assert (verdict.index, verdict.checkpoint.size) == (index, size or 700)
    proven = client.consistency(300, 700)
    assert (proven.old.checkpoint.size, proven.new.note) == (300, logs.note)
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
def test_tasks_get_what_threads_get(kind: str, logs: Logs) -> None:
    async def read() -> None:
        async with await merklelog.connect_async(logs.targets[kind], logs.keys, retry=QUICK) as client:
            assert isinstance(client, AsyncClient)
            assert (await client.checkpoint()).note == logs.note
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


# --- appending ------------------------------------------------------------------------------------------------


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


def test_what_can_not_be_appended_to(logs: Logs) -> None:
    with (
        merklelog.connect(logs.targets["copy"], logs.keys) as client,
        pytest.raises(UsageError, match="for reading only"),
    ):
        client.append(b"x")
    with merklelog.connect(logs.targets["http"], logs.keys) as client:
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


# --- state, and what can not be meant ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_file_goes_from_one_client_to_the_next(kind: str, logs: Logs, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with merklelog.connect(logs.targets[kind], logs.keys, state=state, retry=QUICK) as client:
        assert client.trusted is None
        client.checkpoint(300)
        assert state.read_bytes().split(b"\n")[1] == b"300"
    with merklelog.connect(logs.targets[kind], logs.keys, state=state, retry=QUICK) as client:
        assert client.trusted is not None
        assert client.trusted.size == 300
        assert client.entry(299) == ENTRIES[299]
        assert client.trusted.size == 300  # nothing newer was needed
        assert client.entry(300) == ENTRIES[300]
        assert client.trusted.size == 700
    assert state.read_bytes() == logs.note


def test_a_directory_needs_nobody_to_say_whom_to_trust(logs: Logs) -> None:
    with merklelog.connect(logs.targets["dir"]) as client:
        assert client.checkpoint().checkpoint.size == 700
    for kind in ("grpc", "http", "copy"):
        with pytest.raises(UsageError, match="who signs this log"):
            merklelog.connect(logs.targets[kind])


@pytest.mark.parametrize(
    "target",
    ["grpc://", "grpc://x/path", "grpc://a:b@x", "grpc://x:0", "grpc://x?y", "s3://x", "ftp://x", ""],
)
def test_a_target_that_can_not_be(target: str, logs: Logs) -> None:
    with pytest.raises(UsageError):
        merklelog.connect(target, logs.keys)


def test_nobody_there_is_told_when_the_deadline_passes(logs: Logs) -> None:
    short = Retry(total=30, attempt=10, first=100, most=100)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for scheme in ("grpc", "http"):
            with (
                merklelog.connect(f"{scheme}://{address}", logs.keys, retry=short) as client,
                pytest.raises(UnavailableError, match=address),
            ):
                client.checkpoint()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_closed_client_says_so(kind: str, logs: Logs) -> None:
    client = merklelog.connect(logs.targets[kind], logs.keys, retry=QUICK)
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
