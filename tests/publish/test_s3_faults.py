"""Requests spoiled on their way to a real server: each time the store goes on, or says what it does not know."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from merklelog.errors import DamagedError, ImmutableError, UnavailableError, UnreachableError
from merklelog.publish import NewObject, ObjectKind
from merklelog.publish.s3 import Retention, S3Options, S3Store, parse_s3_url
from merklelog.publish.s3_client import make_client
from tests.support.s3_proxy import SLOW_DOWN, Asked, Fault, Proxy, proxied
from tests.support.s3_servers import REGION, Bucket, MakeBucket, S3Server

FULL = ObjectKind(retain=True)
REFUSED = Fault("refused", 500, "InternalError")
STORED = Fault("stored", 500, "InternalError")
LOST = Fault("lost")
DROPPED = Fault("dropped")
FAULTS = {"refused": REFUSED, "stored": STORED, "lost": LOST, "dropped": DROPPED, "slow down": SLOW_DOWN}

each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


class Waits(list[float]):
    """The pauses a store would have made."""

    def sleep(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def bucket(versitygw: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(versitygw)


@pytest.fixture(scope="module")
def shared(versitygw: S3Server) -> Iterator[tuple[Proxy, Any]]:
    """A proxy, and a client of it: a client takes a part of a second to make."""
    with proxied(versitygw.endpoint) as running:
        yield running, make_client(options(running))


def options(proxy: Proxy) -> S3Options:
    return S3Options(endpoint_url=proxy.endpoint, region=REGION, retention=Retention("GOVERNANCE", 1))


@pytest.fixture
def proxy(shared: tuple[Proxy, Any]) -> Proxy:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def store(bucket: Bucket, proxy: Proxy, shared: tuple[Proxy, Any], waits: Waits) -> Iterator[S3Store]:
    """A store behind the proxy, whose pauses are only noted; its bucket was asked for its lock already."""
    store = S3Store(shared[1], parse_s3_url(bucket.url()), options(proxy), sleep=waits.sleep)
    store.put("warm", b"")
    yield store
    store.close()


@each_fault
@pytest.mark.parametrize("times", [1, 3])
def test_an_immutable_object_is_there_once_after_a_fault(
    store: S3Store, proxy: Proxy, bucket: Bucket, fault: Fault, times: int
) -> None:
    proxy.first(times, fault)
    store.put_immutable("tile/0/000", b"full", FULL)
    assert store.get("tile/0/000").data == b"full"
    assert [version.key for version in store.versions("tile/")] == ["tile/0/000"]
    proxy.first(times, fault)
    with pytest.raises(ImmutableError):
        store.put_immutable("tile/0/000", b"other", FULL)


@each_fault
def test_a_swap_that_was_won_is_not_called_lost(store: S3Store, proxy: Proxy, fault: Fault) -> None:
    first = store.put_if_version("head", b"1", None)
    proxy.first(1, fault)
    second = store.put_if_version("head", b"2", first)
    assert second is not None
    assert second == store.get("head").version
    proxy.first(1, fault)
    assert store.put_if_version("head", b"3", first) is None
    assert store.get("head").data == b"2"
    proxy.first(1, fault)
    assert store.put_if_version("new", b"1", None) is not None
    store.delete_many(["new"], superseded=["head"])
    assert [version.key for version in store.versions()] == ["head", "warm"]


@each_fault
def test_a_service_that_stays_silent_is_said_to(
    store: S3Store, proxy: Proxy, waits: Waits, fault: Fault
) -> None:
    proxy.judge = lambda _: fault
    with pytest.raises(
        UnreachableError, match=r"log/head: PutObject: (no answer|the store answered 50\d)"
    ) as caught:
        store.put_if_version("head", b"1", None)
    assert isinstance(caught.value, UnavailableError) is (fault is SLOW_DOWN)
    assert len(proxy.asked) - 2 == len(waits) + 1  # warm and the bucket's lock were asked before
    assert len(waits) == (6 if fault is SLOW_DOWN else 3)
    assert all(0 <= seconds <= 4 for seconds in waits)
    proxy.judge = lambda _: None
    there = store.get("head").data if store.stat("head") else None
    assert there == (b"1" if fault.how in ("stored", "lost") else None)


def test_a_service_says_how_long_to_wait(store: S3Store, proxy: Proxy, waits: Waits) -> None:
    proxy.first(2, Fault("refused", 503, "SlowDown", {"Retry-After": "3"}))
    store.put("head", b"1")
    assert len(waits) == 2
    assert all(seconds >= 3 for seconds in waits)
    proxy.judge = lambda _: Fault("refused", 503, "SlowDown", {"Retry-After": "40"})
    with pytest.raises(UnavailableError) as caught:
        store.put("head", b"2")
    assert caught.value.retry_after == 40.0
    assert max(waits) <= 4.0  # longer waits are the caller's


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "SignatureDoesNotMatch", "QuotaExceeded"])
def test_what_is_refused_is_heard_twice_and_not_waited_for(
    store: S3Store, proxy: Proxy, waits: Waits, code: str
) -> None:
    proxy.judge = lambda _: Fault("refused", 403, code)
    before = len(proxy.asked)
    with pytest.raises(
        UnreachableError, match=f"PutObject: the store answered 403 {code}, request REQ1: "
    ) as caught:
        store.put("head", b"1")
    assert len(proxy.asked) - before == 2  # built here, and then by boto3, which might have known better
    assert not waits
    assert "words" not in str(caught.value)


def test_many_are_written_through_throttling(store: S3Store, proxy: Proxy, waits: Waits) -> None:
    turns = itertools.count()
    proxy.judge = lambda asked: SLOW_DOWN if asked.method == "PUT" and next(turns) % 2 else None
    objects = [NewObject(f"tile/0/{number:03}", b"%d" % number) for number in range(40)]
    done = False
    while not done:
        try:
            store.put_many(objects)
            done = True
        except UnavailableError:
            continue  # one was throttled seven times in a row: the caller comes again
    proxy.judge = lambda _: None
    assert sorted(store.list_keys("tile/")) == [new.key for new in objects]
    assert len(list(store.versions("tile/"))) == len(objects)
    assert waits


def test_the_first_failure_of_many_ends_them_all(store: S3Store, proxy: Proxy) -> None:
    proxy.judge = lambda asked: Fault("refused", 403, "AccessDenied") if asked.path.endswith("/017") else None
    taken = itertools.count()
    with pytest.raises(UnreachableError, match="tile/0/017"):
        store.put_many(NewObject(f"tile/0/{next(taken):03}", b"1") for _ in range(5_000))
    assert next(taken) < 200
    asked = len(proxy.asked)
    assert store.stat("tile/0/000") is not None
    assert len(proxy.asked) == asked + 1  # none of the others is still under way


def test_no_more_is_held_than_is_on_its_way(store: S3Store, proxy: Proxy) -> None:
    answered: list[str] = []
    ahead: list[int] = []

    def count(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        answered.append(asked.path)
        return headers, data

    def objects() -> Iterator[NewObject]:
        for number in range(30):
            ahead.append(number + 1 - len(answered))
            yield NewObject(f"big/{number}", bytes(4 << 20))

    proxy.change = count
    store.put_many(objects())
    assert max(ahead) <= 9  # 32 MiB, and one object more


def test_an_answer_that_is_cut_short_is_asked_for_again(store: S3Store, proxy: Proxy) -> None:
    store.put("k", bytes(1000))
    proxy.first(2, LOST, method="GET")
    assert store.get("k").data == bytes(1000)


def test_damage_on_the_way_back_is_found(store: S3Store, proxy: Proxy) -> None:
    store.put("k", b"sound")
    turns = itertools.count()

    def spoil(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        return headers, b"s0und" if asked.method == "GET" and next(turns) < broken else data

    proxy.change = spoil
    broken = 2
    assert store.get("k").data == b"sound"
    turns, broken = itertools.count(), 1000
    with pytest.raises(DamagedError, match="log/k: its bytes are not those"):
        store.get("k")


def test_a_lock_other_than_asked_is_found(store: S3Store, proxy: Proxy) -> None:
    def unlock(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        return {name: value for name, value in headers.items() if "lock" not in name.lower()}, data

    def shorten(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        name = next(
            (name for name in headers if name.lower() == "x-amz-object-lock-retain-until-date"), "x-none"
        )
        return {**headers, name: "2020-01-01T00:00:00Z"}, data

    def reword(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        name = next((name for name in headers if name.lower() == "x-amz-object-lock-mode"), "x-none")
        return {**headers, name: "COMPLIANCE"}, data

    none = Fault("refused", 404, "NoSuchObjectLockConfiguration")
    proxy.judge = lambda asked: none if asked.query.startswith(("retention", "legal-hold")) else None
    for change, words in (
        (unlock, "shows no lock on it.*s3:GetObjectRetention"),
        (shorten, "got GOVERNANCE until 2020-01-01T00:00:00Z, want GOVERNANCE until"),
        (reword, "got COMPLIANCE until"),
    ):
        fresh = S3Store(store.client, parse_s3_url(store.location), store.options)
        proxy.change = change
        with pytest.raises(DamagedError, match=f"version \\S+ .*{words}"):
            fresh.put_immutable(f"tile/0/{change.__name__}", b"full", FULL)
        proxy.change = None


def test_a_checksum_other_than_sent_is_found(store: S3Store, proxy: Proxy) -> None:
    def change(asked: Asked, headers: dict[str, str], data: bytes) -> tuple[dict[str, str], bytes]:
        return {**headers, "x-amz-checksum-sha256": "A" * 43 + "="}, data

    proxy.change = change
    with pytest.raises(DamagedError, match=r"log/head: the store answered SHA-256 A+=, want"):
        store.put("head", b"1")


def test_what_was_sent_says_its_checksum_and_its_lock(store: S3Store, proxy: Proxy) -> None:
    store.put_immutable("tile/0/000", b"full", FULL)
    sent = next(asked for asked in proxy.asked if asked.method == "PUT" and asked.path.endswith("tile/0/000"))
    assert sent.headers["x-amz-checksum-sha256"]
    assert sent.headers["if-none-match"] == "*"
    assert sent.headers["x-amz-object-lock-mode"] == "GOVERNANCE"
    assert sent.headers["x-amz-object-lock-retain-until-date"].endswith("Z")
    assert "aws-chunked" not in sent.headers.get("content-encoding", "")


def test_an_idle_store_asks_nothing(store: S3Store, proxy: Proxy) -> None:
    before = len(proxy.asked)
    store.delete_many([], superseded=["unwritten"])
    store.put_many([])
    assert [asked.method for asked in proxy.asked[before:]] == [
        "GET"
    ]  # one listing, of what it does not know
