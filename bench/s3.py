"""A log that publishes to S3: a batch, its requests, what it takes from appending, and a backlog's memory.

Against a real server, which is started for it and shares the machine: SeaweedFS or versitygw. The reference of the
PUT rate is 16 threads of plain boto3 with the same objects, keys, checksums, conditions and locks, in the same
round; that of appending is the same log with publications a day apart.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import secrets
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from common import ORIGIN, Row, await_rest, directory, print_table, random_entries, resident_mb

import merklelog
from merklelog.publish import NewObject, ObjectKind
from merklelog.publish.layout import TILES
from merklelog.publish.s3 import Retention, open_s3

THREADS = 16
SELDOM = 86_400
WAIT = 600.0
IN_FLIGHT = 4
BATCH = 1_000
MOST_BATCHES = 1_200

Measured = TypeVar("Measured")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--server", choices=["seaweedfs", "versitygw"], default="seaweedfs")
    parser.add_argument("--entries", type=int, default=100_000, help="entries of the batch; 256 bytes each")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the steady parts run")
    parser.add_argument("--backlog", type=int, default=0, help="also publish a backlog of so many entries")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    servers = importlib.import_module("tests.support.s3_servers")
    pool = random_entries(100_000)
    with servers.running(args.server) as server:
        rows = _batch(server, pool, args)
        rows += _appending(server, pool, args)
        rows += _latency(server, args)
        _steady(server, args)
        if args.backlog:
            _backlog(server, pool, args)
    print_table(rows)


@contextmanager
def _published(server: Any, interval: float) -> Iterator[tuple[merklelog.Log, str]]:
    """A new log with a new bucket, locked for a day, and its target."""
    bucket = f"bench-{secrets.token_hex(6)}"
    server.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    target = f"s3://{bucket}/log"
    with directory() as path:
        settings = {
            "publish.targets": [target],
            "publish.interval": float(interval),
            "publish.s3.endpoint_url": server.endpoint,
            "publish.s3.region": "us-east-1",
            "publish.s3.retention_days": 1,
        }
        merklelog.create_log(path / "log", ORIGIN, settings=settings)
        with merklelog.open(path / "log") as log:
            log.append(b"first")
            log.publish_now().result(WAIT)
            yield log, target


# --- a batch ----------------------------------------------------------------------------------------------------


def _batch(server: Any, pool: Sequence[bytes], args: argparse.Namespace) -> list[Row]:
    """A batch that waits, published at once; then its objects again, by the store alone and by plain boto3."""
    whole = Row(f"publication of {args.entries:,} entries", "s")
    rate = Row("  its tiles and bundles, publication whole", "PUT/s")
    store = Row("  the same objects, put_many", "PUT/s")
    for _ in range(args.runs):
        with _published(server, SELDOM) as (log, target):
            for start in range(0, args.entries, BATCH * 10):
                log.append_batch(_slice(pool, start, min(BATCH * 10, args.entries - start)))
            await_rest()
            before = _created(log)
            begun = time.perf_counter()
            log.publish_now().result(WAIT)
            seconds = time.perf_counter() - begun
            objects = _objects(server, target)
            whole.values.append(seconds)
            rate.values.append((_created(log) - before) / seconds)
        plain = _boto3(server, objects)
        rate.floors.append(plain)
        store.values.append(_put_many(server, objects))
        store.floors.append(plain)
        for row in (whole, rate, store):
            print(row.line(), flush=True)
    return [whole, rate, store]


def _created(log: merklelog.Log) -> int:
    status = log.publishing
    return status.created if status is not None else 0


def _slice(pool: Sequence[bytes], start: int, count: int) -> list[bytes]:
    return [pool[(start + each) % len(pool)] for each in range(count)]


def _objects(server: Any, target: str) -> list[tuple[str, bytes]]:
    bucket = open_s3(target, server.options())
    keys = list(bucket.list_keys(TILES))
    with ThreadPoolExecutor(THREADS) as threads:
        datas = list(threads.map(lambda key: bucket.get(key).data, keys))
    bucket.close()
    return list(zip(keys, datas, strict=True))


def _boto3(server: Any, objects: Sequence[tuple[str, bytes]]) -> float:
    """Objects a second that 16 threads put with one boto3 client, as its documentation shows it."""
    boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=config.Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=THREADS
        ),
    )
    bucket = f"bench-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=1)

    def put(each: tuple[str, bytes]) -> None:
        key, data = each
        client.put_object(
            Bucket=bucket,
            Key=key,
            Body=data,
            IfNoneMatch="*",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )

    put(("warm", b""))
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(put, objects))
    return len(objects) / (time.perf_counter() - begun)


def _put_many(server: Any, objects: Sequence[tuple[str, bytes]]) -> float:
    bucket = f"bench-{secrets.token_hex(6)}"
    server.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    store = open_s3(f"s3://{bucket}/log", server.options(retention=Retention("COMPLIANCE", 1)))
    store.put("warm", b"")
    begun = time.perf_counter()
    store.put_many(NewObject(key, data, ObjectKind(retain=True)) for key, data in objects)
    seconds = time.perf_counter() - begun
    store.close()
    return len(objects) / seconds


# --- what it takes from appending ------------------------------------------------------------------------------


def _appending(server: Any, pool: Sequence[bytes], args: argparse.Namespace) -> list[Row]:
    """At a rate that leaves the machine room, at half of what it can, and as fast as it goes.

    What is not published in that time is left: it would be of no account, and take as long again.
    """
    paced = Row("appends at 1,000/s: receipt p50, publishing", "ms")
    heavy = Row("appends at half of what it can: p50", "ms")
    kept = Row("  entries/s that it kept up", "entries/s")
    full = Row("appends as fast as they go, publishing", "entries/s")
    for _ in range(args.runs):
        full.floors.append(_with_log(server, SELDOM, partial(_full_speed, pool, args.seconds)))
        full.values.append(_with_log(server, 1.0, partial(_full_speed, pool, args.seconds)))
        half = full.floors[-1] / 2
        for interval, slow, fast, held in (
            (SELDOM, paced.floors, heavy.floors, kept.floors),
            (1.0, paced.values, heavy.values, kept.values),
        ):
            slow.append(_with_log(server, interval, partial(_at_rate, pool, args.seconds, 10, 1000.0))[0])
            found = _with_log(server, interval, partial(_at_rate, pool, args.seconds, BATCH, half))
            fast.append(found[0])
            held.append(found[1])
        for row in (paced, heavy, kept, full):
            print(row.line(), flush=True)
    return [paced, heavy, kept, full]


def _with_log(server: Any, interval: float, measure: Callable[[merklelog.Log], Measured]) -> Measured:
    await_rest()
    with _published(server, interval) as (log, _):
        found = measure(log)
        log.close(publish_seconds=0.0)
        return found


def _at_rate(
    pool: Sequence[bytes], seconds: float, batch: int, rate: float, log: merklelog.Log
) -> tuple[float, float]:
    """One thread appends so many a second: the p50 of its receipts in milliseconds, and how many it kept up."""
    times = []
    begun = time.perf_counter()
    for turn in range(max(1, int(seconds * rate / batch))):
        sent = time.perf_counter()
        log.append_batch(_slice(pool, turn * batch, batch))
        times.append(time.perf_counter() - sent)
        time.sleep(max(0.0, begun + (turn + 1) * batch / rate - time.perf_counter()))
    return 1000 * statistics.median(times), len(times) * batch / (time.perf_counter() - begun)


def _full_speed(pool: Sequence[bytes], seconds: float, log: merklelog.Log) -> float:
    """Batches of 1,000 from four threads, for so long or 1,200,000 entries."""
    until = time.perf_counter() + seconds
    done: deque[int] = deque()

    def append() -> None:
        while time.perf_counter() < until and len(done) < MOST_BATCHES:
            log.append_batch(_slice(pool, secrets.randbelow(len(pool)), BATCH))
            done.append(BATCH)

    threads = [threading.Thread(target=append) for _ in range(IN_FLIGHT)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begun)


# --- latency and requests ---------------------------------------------------------------------------------------


def _latency(server: Any, args: argparse.Namespace) -> list[Row]:
    receipt = Row("idle: append to receipt, p50", "ms")
    shown = Row("idle: append to published checkpoint, p50", "s")
    for _ in range(args.runs):
        with _published(server, 1.0) as (log, _):
            receipts, waits = [], []
            for turn in range(20):
                time.sleep(0.05 * (turn % 7))
                begun = time.perf_counter()
                index = log.append(b"entry %d" % turn).index
                receipts.append(time.perf_counter() - begun)
                log.wait_published(index + 1).result(WAIT)
                waits.append(time.perf_counter() - begun)
        receipt.values.append(1000 * statistics.median(receipts))
        shown.values.append(statistics.median(waits))
        print(receipt.line(), shown.line(), sep="\n", flush=True)
    return [receipt, shown]


def _steady(server: Any, args: argparse.Namespace) -> None:
    """Requests while nothing happens, and at 1,000 appends a second."""
    with _published(server, 1.0) as (log, _):
        time.sleep(2.0)
        idle = _requests(log, lambda: time.sleep(args.seconds))[0]
        print(f"idle for {args.seconds:.0f} s: {idle} requests")

        def append() -> None:
            pool = random_entries(10_000)
            _at_rate(pool, args.seconds, 10, 1000.0, log)

        requests, publications = _requests(log, append)
        each = requests / max(1, publications)
        print(f"1,000 appends/s: {requests} requests, {publications} publications: {each:.1f} a publication")


def _requests(log: merklelog.Log, work: Callable[[], object]) -> tuple[int, int]:
    before = log.publishing
    work()
    after = log.publishing
    if before is None or after is None:
        return 0, 0
    return after.requests - before.requests, after.publications - before.publications


def _backlog(server: Any, pool: Sequence[bytes], args: argparse.Namespace) -> None:
    """Resident memory while what was not published for long is worked off."""
    with _published(server, SELDOM) as (log, _):
        for start in range(0, args.backlog, BATCH * 10):
            log.append_batch(_slice(pool, start, BATCH * 10))
        await_rest()
        seen = [resident_mb()]
        begun = time.perf_counter()
        done = log.publish_now()
        while not done.done():
            seen.append(resident_mb())
            time.sleep(0.1)
        done.result()
        seconds = time.perf_counter() - begun
        print(
            f"backlog of {args.backlog:,} entries: {seconds:.1f} s, {args.backlog / seconds:,.0f} entries/s; "
            f"resident {seen[0]:.0f} MB before, at most {max(seen):.0f} MB"
        )
