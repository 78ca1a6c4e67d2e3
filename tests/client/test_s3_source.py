"""A client of a bucket: verified reads straight from it, and past what was put over its objects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from merklelog.client import Access, Client, PublishedSource, connect, connect_async
from merklelog.client.targets import open_target, s3_options
from merklelog.errors import ConfigError, DamagedError, NotALogError, NotFoundError, UsageError
from merklelog.formats import parse_proof
from merklelog.protocol.publication import EpochHead
from merklelog.publish import publish_copy
from merklelog.publish.layout import HEAD_KEY
from merklelog.publish.objects import StoredObject
from merklelog.publish.past import PastReads, first_version
from merklelog.publish.pointer import format_head
from merklelog.publish.s3 import Retention, S3Store
from merklelog.publish.s3_options import ObjectVersion
from merklelog.tree import EMPTY_ROOT
from tests.publish.memory_log import MemoryLog, entry
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

SIZE = 5_000
DAY = Retention("GOVERNANCE", 1)


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return MemoryLog().grow(1_000).grow(SIZE)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket, log: MemoryLog) -> Bucket:
    made = s3_bucket(s3_server)
    publish_copy(log, made.store(retention=DAY), verifiers=log.vkeys, bundle_encoding="gzip")
    return made


@pytest.fixture
def client(bucket: Bucket, log: MemoryLog) -> Iterator[Client]:
    with connect(bucket.url(), log.vkeys[0], s3=bucket.server.options()) as found:
        yield found


def put_over(bucket: Bucket, key: str, data: bytes, **extra: Any) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=f"log/{key}", Body=data, **extra)


def hide(bucket: Bucket, key: str) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=f"log/{key}")


def test_reads_are_verified(client: Client, log: MemoryLog) -> None:
    assert client.checkpoint().checkpoint.size == SIZE
    assert list(client.entries(0, SIZE)) == log.entries
    assert list(client.entries(255, 258)) == log.entries[255:258]
    assert parse_proof(client.prove(4_999)).index == 4_999
    with pytest.raises(UsageError, match="reading only"):
        client.append(b"no")


def test_tasks_read_too(bucket: Bucket, log: MemoryLog) -> None:
    async def read() -> list[bytes]:
        options = bucket.server.options()
        async with await connect_async(bucket.url(), log.vkeys[0], s3=options) as found:
            return [entry async for entry in found.entries(600, 1_400)]

    assert asyncio.run(read()) == log.entries[600:1_400]


def test_what_is_put_over_is_named_and_read_past(
    bucket: Bucket, client: Client, log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    put_over(bucket, "tile/entries/003", b"another")
    put_over(bucket, "tile/0/007", bytes(8_192))
    hide(bucket, "tile/entries/009")
    hide(bucket, "tile/0/010")
    assert list(client.entries(0, SIZE)) == log.entries
    assert parse_proof(client.prove(7 * 256 + 5)).index == 7 * 256 + 5
    for key, what in (
        ("tile/entries/003", "another"),
        ("tile/0/007", "another"),
        ("tile/entries/009", "a delete"),
        ("tile/0/010", "a delete"),
    ):
        told = [line for line in caplog.messages if line.startswith(f"{bucket.url()}/{key}: ")]
        # A marker that the service tells of is named by the store as well.
        assert 1 <= len(told) <= 1 + (what == "a delete"), caplog.messages
        assert all(what in line for line in told)


def test_a_bundle_that_was_a_real_one_is_read_past_too(
    bucket: Bucket, client: Client, log: MemoryLog
) -> None:
    """Bytes that decompress and parse, of another place in the log."""
    other = bucket.store().get("tile/entries/004")
    put_over(bucket, "tile/entries/005", other.data, ContentEncoding="gzip")
    assert next(iter(client.entries(5 * 256, 5 * 256 + 1))) == entry(5 * 256)


def test_a_cache_that_kept_what_was_put_over_is_made_right(
    bucket: Bucket, log: MemoryLog, tmp_path: Path
) -> None:
    put_over(bucket, "tile/entries/003", b"another")
    for _ in range(2):
        options = bucket.server.options()
        with connect(bucket.url(), log.vkeys[0], s3=options, cache=tmp_path / "kept") as found:
            assert list(found.entries(0, 2_000)) == log.entries[:2_000]
    kept = (tmp_path / "kept" / "tile" / "entries" / "003").read_bytes()
    assert kept == log.bundle(3, 256)


def test_what_is_wrong_in_every_version_is_named(s3_server: S3Server, s3_bucket: MakeBucket) -> None:
    log = MemoryLog().grow(600)
    bucket = s3_bucket(s3_server, lock=False)
    publish_copy(log, bucket.store(), verifiers=log.vkeys, bundle_encoding="gzip")
    put_over(bucket, "tile/entries/001", b"another")
    with (
        connect(bucket.url(), log.vkeys[0], s3=bucket.server.options()) as found,
        pytest.raises(DamagedError, match="tile/entries/001"),
    ):
        list(found.entries(0, 600))


def test_kept_checkpoints_are_read_in_their_first_version(bucket: Bucket, log: MemoryLog) -> None:
    put_over(bucket, f"checkpoints/{SIZE}", b"nobody signed this")
    source = open_target(bucket.url(), Access(s3=bucket.server.options()))
    assert source.checkpoint(SIZE) == log.checkpoint(SIZE)
    hide(bucket, f"checkpoints/{SIZE}")
    assert source.checkpoint(SIZE) == log.checkpoint(SIZE)
    with pytest.raises(NotFoundError, match="checkpoints/777"):
        source.checkpoint(777)
    source.close()


def test_the_epoch_is_what_head_names(bucket: Bucket, log: MemoryLog) -> None:
    store = bucket.store()
    source = PublishedSource(store)
    assert source.epoch() is None
    store.put(HEAD_KEY, format_head(EpochHead(7, 0, 0, EMPTY_ROOT, "0f" * 16)))
    assert source.epoch() == 7
    store.put(HEAD_KEY, b"{}")
    with pytest.raises(DamagedError, match="/head: "):
        source.epoch()


def test_a_first_version_is_the_one_that_was_written_first(bucket: Bucket) -> None:
    store = bucket.store()
    first = store.put("tile/x", b"one")
    assert first
    for data in (b"two", b"three"):
        store.put("tile/x", data)
    hide(bucket, "tile/x")
    reads = PastReads(store)
    assert reads.get("tile/x").data == b"one"
    assert first_version(store, "tile/y") is None
    with pytest.raises(NotFoundError):
        reads.get("tile/y")
    store.put("checkpoint", b"old")
    hide(bucket, "checkpoint")
    with pytest.raises(NotFoundError):
        reads.get("checkpoint")


class Listing:
    """A store that counts the versions it lists."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self.listed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def versions(self, key_prefix: str = "") -> Iterator[ObjectVersion]:
        for version in self._store.versions(key_prefix):
            self.listed.append(version.key)
            yield version


def test_for_a_first_version_the_longer_keys_are_not_listed(bucket: Bucket) -> None:
    store: Any = Listing(bucket.store())
    store.put("checkpoints/1", b"one")
    for number in range(10, 20):
        store.put(f"checkpoints/{number}", b"another")
    first = first_version(store, "checkpoints/1") or ""
    assert store.get_version("checkpoints/1", first).data == b"one"
    assert store.listed == ["checkpoints/1", "checkpoints/10"]  # and the first of them ends it
    assert first_version(store, "checkpoints/2") is None


def test_options_come_from_the_variables_of_the_configuration() -> None:
    found = s3_options(
        {
            "MERKLELOG_PUBLISH__S3__ENDPOINT_URL": "https://s3.example:9000",
            "MERKLELOG_PUBLISH__S3__REGION": "eu-1",
            "MERKLELOG_PUBLISH__S3__PROFILE": "auditor",
            "MERKLELOG_PUBLISH__S3__ADDRESSING": "path",
            "MERKLELOG_PUBLISH__S3__PARALLEL": "4",
            "MERKLELOG_PUBLISH__S3__RETENTION_MODE": "COMPLIANCE",
        }
    )
    assert (found.endpoint_url, found.region, found.profile) == ("https://s3.example:9000", "eu-1", "auditor")
    assert (found.addressing, found.parallel, found.retention) == ("path", 4, None)
    with pytest.raises(ConfigError, match="MERKLELOG_PUBLISH__S3__PARALLEL"):
        s3_options({"MERKLELOG_PUBLISH__S3__PARALLEL": "0"})


def test_a_place_without_a_copy_is_said_to_be_none(bucket: Bucket, log: MemoryLog) -> None:
    with pytest.raises(NotALogError, match="no published copy"):
        connect(bucket.url("elsewhere"), log.vkeys[0], s3=bucket.server.options())


def test_of_any_number_of_versions_two_are_held() -> None:
    """Whoever may write to a bucket can make as many as they like."""
    alive: WeakSet[Any] = WeakSet()
    most = 0

    class Version:
        is_delete_marker = False

        def __init__(self, key: str, version_id: str) -> None:
            self.key = key
            self.version_id = version_id

    class Store:
        location = "s3://b"

        def versions(self, key: str) -> Iterator[Any]:
            nonlocal most
            for number in range(100):
                made = Version(key, f"v{number}")
                alive.add(made)
                most = max(most, len(alive))
                yield made

        def get_version(self, key: str, version_id: str, *, limit: int) -> StoredObject:
            return StoredObject(version_id.encode(), "x")

    store: Any = Store()
    assert PastReads(store, careful=True).get("tile/x").data == b"v99"
    assert most < 10
