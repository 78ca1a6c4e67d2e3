"""The publisher on real S3 servers: what it costs, what it leaves, and every request of it spoiled on its way."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from published_log import DiskLog, recovered
from publisher_tools import drain, insist, running, shown

from merklelog.audit.run import audit
from merklelog.client.access import Access
from merklelog.errors import FencedError, UnavailableError, UnreachableError
from merklelog.publish.pointer import read_head
from merklelog.publish.s3 import Retention, S3Options, S3Store, parse_s3_url
from merklelog.publish.s3_client import make_client
from tests.support.s3_proxy import SLOW_DOWN, Asked, Fault, Proxy, proxied
from tests.support.s3_servers import REGION, Bucket, MakeBucket, S3Server

DAY = Retention("GOVERNANCE", 1)
FAULTS = {
    "refused": Fault("refused", 500, "InternalError"),
    "stored": Fault("stored", 500, "InternalError"),
    "lost": Fault("lost"),
    "slow down": SLOW_DOWN,
}


def written_once(store: S3Store) -> list[str]:
    """Every object has one version: what never changes was put once, of the rest the newest is left. The keys."""
    counts = Counter(version.key for version in store.versions())
    assert set(counts.values()) == {1}, {key: count for key, count in counts.items() if count > 1}
    return list(counts)


def locked_once(store: S3Store) -> None:
    """And every object that never changes is locked, and no other."""
    for key in written_once(store):
        lock = store.retention_of(key)
        is_locked = key.startswith(("tile/", "checkpoints/")) and ".p/" not in key
        assert (lock is not None) == is_locked, key


def test_what_it_costs_and_what_it_leaves(s3_server: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(s3_server)
    store = bucket.store(retention=DAY)
    log = DiskLog()
    made = running(log, store)
    costs = []
    for _ in range(12):
        log.grow(1000)
        before = store.requests.total()
        (report,) = drain(made)
        assert report.uncollected is None
        costs.append(store.requests.total() - before)
    assert sum(costs) / len(costs) <= 18, costs
    before = store.requests.total()
    assert [made.publish() for _ in range(5)] == [None] * 5
    assert store.requests.total() == before
    locked_once(store)
    assert list(store.list_keys("staging/")) == []
    assert recovered(store, log.told).entries == log.entries
    report = audit(bucket.url(), access=Access(s3=s3_server.options()), processes=1, retention=True)
    assert report.findings == ()
    assert report.entries == 12_000


def test_clones_on_a_bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(s3_server)
    log = DiskLog().grow(300)
    other = log.copy()
    made = running(log, bucket.store(retention=DAY))
    drain(made)
    log.grow(10, b"one")
    second = running(other, bucket.store(retention=DAY))
    other.grow(10, b"other")
    drain(second)
    before = {version.key for version in bucket.store().versions()}
    with pytest.raises(FencedError, match="epoch 2, size 310"):
        drain(made)
    after = {version.key for version in bucket.store().versions()}
    assert {key.split("/")[0] for key in after - before} == {"staging"}
    assert set(log.notes) == {300}
    assert shown(bucket.store(), log.verifiers) == 310


# --- spoiled requests --------------------------------------------------------------------------------------------


class Scene:
    """A log that published 300 entries to a bucket behind a proxy, and is about to publish 500 more."""

    def __init__(self, bucket: Bucket, proxy: Proxy, client: Any, prefix: str, parallel: int = 16) -> None:
        proxy.reset()
        self.proxy = proxy
        self.prefix = prefix
        self.waited = 0.0  # seconds, by all that the store waited for
        options = S3Options(endpoint_url=proxy.endpoint, region=REGION, retention=DAY, parallel=parallel)
        self.store = S3Store(client, parse_s3_url(bucket.url(prefix)), options, sleep=self.wait)
        self.log = DiskLog().grow(300)
        self.made = running(self.log, self.store)
        drain(self.made)
        self.log.grow(500)
        proxy.asked.clear()

    def wait(self, seconds: float) -> None:
        """Time passes, for the store."""
        self.waited += seconds

    def name(self, asked: Asked) -> str:
        """What a request is for: the same in each scene."""
        return f"{asked.method} {asked.path.partition(self.prefix)[2]}?{asked.query.partition('=')[0]}"


@pytest.fixture(scope="module")
def proxied_client(versitygw: S3Server) -> Iterator[tuple[Proxy, Any]]:
    with proxied(versitygw.endpoint) as proxy:
        yield proxy, make_client(S3Options(endpoint_url=proxy.endpoint, region=REGION))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_request_of_a_publication(
    versitygw: S3Server, s3_bucket: MakeBucket, proxied_client: tuple[Proxy, Any], fault: Fault
) -> None:
    """As often as the store tries it, until it gives up; then it goes on with the next call."""
    bucket = s3_bucket(versitygw)
    whole = Scene(bucket, *proxied_client, "whole")
    drain(whole.made)
    names = list(dict.fromkeys(whole.name(asked) for asked in whole.proxy.asked))
    assert len(names) > 11
    for number, name in enumerate(names):
        scene = Scene(bucket, *proxied_client, f"scene{number}")
        scene.proxy.judge = lambda asked, name=name, scene=scene: fault if scene.name(asked) == name else None
        try:
            (report,) = drain(scene.made)
        except UnreachableError:
            pass
        else:  # what is collected stops nothing, and a swap that was stored is seen to be
            assert report.uncollected or fault.how in ("stored", "lost"), name
        assert any(scene.name(asked) == name for asked in scene.proxy.asked), name
        scene.proxy.reset()
        insist(lambda scene=scene: drain(scene.made))
        scene.log.grow(1)
        drain(scene.made)
        written_once(scene.store)
        assert list(scene.store.list_keys("staging/")) == []
        assert recovered(scene.store, scene.log.told).entries == scene.log.entries
        assert shown(scene.store, scene.log.verifiers) == 801
        head = read_head(scene.store)
        assert head is not None
        assert (head.head.epoch, head.head.size) == (1, 801)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["/staging/", "/head", "/tile/entries/", "/checkpoints/", "/checkpoint?"])
def test_a_minute_of_slow_down(
    versitygw: S3Server, s3_bucket: MakeBucket, proxied_client: tuple[Proxy, Any], first: str
) -> None:
    """From a request of the publication on every one is throttled, for a minute of the waits alone.

    The store asks less and less, entries are appended meanwhile, and all is published when it is over.
    """
    scene = Scene(s3_bucket(versitygw), *proxied_client, "minute", parallel=1)
    scene.waited, throttled = 0.0, []

    def judge(asked: Asked) -> Fault | None:
        if scene.waited >= 60 or not (throttled or scene.name(asked).startswith(f"PUT {first}")):
            return None
        throttled.append(scene.name(asked))
        return SLOW_DOWN

    scene.proxy.judge = judge
    calls = []
    while scene.waited < 60:
        try:
            drain(scene.made)
        except UnavailableError as error:
            calls.append(str(error))
        scene.log.grow(50)
    assert len(calls) > 2
    assert all("503 SlowDown" in call and "7 times: it asks for fewer requests" in call for call in calls)
    assert len({name.split("/")[1] for name in throttled}) == 1, "the next step does not begin"
    assert len(throttled) < 200
    drain(scene.made)
    written_once(scene.store)
    assert list(scene.store.list_keys("staging/")) == []
    assert shown(scene.store, scene.log.verifiers) == len(scene.log.entries) > 850
    assert recovered(scene.store, scene.log.told).entries == scene.log.entries


@pytest.mark.slow
def test_two_of_three_requests_are_throttled(
    versitygw: S3Server, s3_bucket: MakeBucket, proxied_client: tuple[Proxy, Any]
) -> None:
    """For as long as it lasts every publication comes through in the end."""
    scene = Scene(s3_bucket(versitygw), *proxied_client, "throttled")
    chance = random.Random(3)  # not each third one: a request could meet the other two at each of its tries
    scene.proxy.judge = lambda _: SLOW_DOWN if chance.random() < 2 / 3 else None
    for _ in range(3):
        scene.log.grow(700)
        insist(lambda: drain(scene.made))
    scene.proxy.reset()
    scene.log.grow(1)  # with it goes what could not be collected before
    drain(scene.made)
    written_once(scene.store)
    assert shown(scene.store, scene.log.verifiers) == len(scene.log.entries)
    assert recovered(scene.store, scene.log.told).entries == scene.log.entries
