"""Search: how quickly a log is indexed by the process beside its writer, how large the index is, how long a query
takes, how far the index lags behind steady appends, and what appends notice of it.

Events are the real Windows ones and the CloudTrail sample, repeated with new times, each as the body of a record.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from common import ORIGIN, ROOT, Row, directory, print_table, windows_events

import merklelog
from merklelog import Log
from merklelog.index.feeder import Feeder
from merklelog.index.files import current, search_directory, size_of
from merklelog.index.query import parse_query
from merklelog.index.search import Searcher
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import LogPart
from merklelog.ingest.split import split_entry

START = 1_767_225_600  # 2026-01-01
SPACING = 0.05  # seconds between events
BATCH = 1_000
HITS = 100
_TIMESTAMP = re.compile(rb'"@timestamp":"[^"]*"')
_SEED = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--rate", type=int, default=10_000, help="events a second appended beside the index")
    parser.add_argument("--seconds", type=int, default=20, help="how long to append so")


def run(args: argparse.Namespace) -> None:
    """Measure the table, once: an index of 10^6 events takes its time."""
    rows: dict[str, Row] = {}

    def put(name: str, unit: str, value: float) -> None:
        rows.setdefault(name, Row(name, unit)).values.append(value)
        print(f"{name}: {value:,.4g} {unit}", flush=True)

    with directory() as path:
        raw = _fill(path / "log", args.events)
        with merklelog.open(path / "log") as log:
            put("appends alone, p50", "ms", _append_latency(log))
            begun = time.perf_counter()
            with _feeding(log) as feeder:
                _wait(feeder, log)
                put("indexing", "events/s", log.size / (time.perf_counter() - begun))
            index = current(search_directory(path / "log"))
            put("index, share of the events' bytes", "", size_of(index) / raw)
            put("index, bytes an event", "bytes", size_of(index) / log.size)
            _queries(Searcher(search_directory(path / "log")), args, put)
            _beside(log, args, put)
    print_table(rows.values())


Put = Callable[[str, str, float], None]


def _queries(searcher: Searcher, args: argparse.Namespace, put: Put) -> None:
    chance = random.Random(_SEED)
    span = args.events * SPACING
    terms = [value for value, _ in searcher.counts(parse_query(""), "actor", limit=20).counts]

    def between() -> str:
        first = START + chance.random() * span * 0.9
        return f"after:{_moment(first)} before:{_moment(first + span * 0.1)}"

    kinds: dict[str, Callable[[], str]] = {
        "a term and a time range": lambda: f'actor:"{_quoted(chance.choice(terms))}" {between()}',
        "a word and a time range": lambda: f"svchost {between()}",
        "a phrase": lambda: '"process terminated"',
        "a prefix and a time range": lambda: f"actor:c* {between()}",
        "everything, the newest": lambda: "",
    }
    for name, make in kinds.items():
        times = []
        for _ in range(args.queries):
            text = make()
            begun = time.perf_counter()
            searcher.find(parse_query(text), limit=HITS, newest_first=not text)
            times.append(1000 * (time.perf_counter() - begun))
        times.sort()
        put(f"{name}, p50", "ms", statistics.median(times))
        put(f"{name}, p99", "ms", times[len(times) * 99 // 100])
    begun = time.perf_counter()
    searcher.counts(parse_query(f"outcome:failure {between()}"), "actor", limit=10)
    put("counts by field in a time range", "ms", 1000 * (time.perf_counter() - begun))
    begun = time.perf_counter()
    searcher.histogram(parse_query("actor:*"))
    put("a histogram of nearly everything", "ms", 1000 * (time.perf_counter() - begun))


def _beside(log: Log, args: argparse.Namespace, put: Put) -> None:
    """Steady appends while the index follows; then appends while others search without pause."""
    events = _events(log.size, args.rate * args.seconds)
    with _feeding(log) as feeder:
        _wait(feeder, log)
        lags = []
        begun = time.perf_counter()
        for number, batch in enumerate(events, 1):
            log.append_batch(batch)
            time.sleep(max(0.0, begun + number * BATCH / args.rate - time.perf_counter()))
            lags.append(log.size - feeder.indexed)
        ended = time.perf_counter()
        put("appended meanwhile", "events/s", args.rate * args.seconds / (ended - begun))
        put("lag, median", "events", statistics.median(lags))
        put("lag, most", "events", max(lags))
        _wait(feeder, log)
        put("until there was none", "s", time.perf_counter() - ended)
        searcher = Searcher(search_directory(log.path))
        over = threading.Event()
        others = [threading.Thread(target=_search, args=(searcher, over)) for _ in range(2)]
        for other in others:
            other.start()
        put("appends beside searches and the index, p50", "ms", _append_latency(log))
        over.set()
        for other in others:
            other.join()


def _search(searcher: Searcher, over: threading.Event) -> None:
    condition = parse_query("outcome:failure after:2026-01-01")
    while not over.is_set():
        searcher.find(condition, limit=HITS)


def _append_latency(log: Log) -> float:
    times = []
    for batch in _events(log.size, 300, 1):
        begun = time.perf_counter()
        log.append_batch(batch)
        times.append(time.perf_counter() - begun)
        time.sleep(0.002)
    return 1000 * statistics.median(times)


@contextmanager
def _feeding(log: Log) -> Iterator[Feeder]:
    feeder = Feeder(log, lambda text, failed: print(f"# {text}") if failed else None)
    try:
        yield feeder
    finally:
        feeder.close()


def _wait(feeder: Feeder, log: Log) -> None:
    while feeder.indexed < log.size:
        time.sleep(0.01)


def _fill(path: Path, count: int) -> int:
    """A log of that many events; the bytes of the events themselves."""
    merklelog.create_log(path, ORIGIN)
    sizes: list[int] = []
    with merklelog.open(path) as log:
        for batch in _events(0, count, sizes=sizes):
            log.append_batch(batch)
    return sum(sizes)


def _events(
    first: int, count: int, batch: int = BATCH, *, sizes: list[int] | None = None
) -> Iterator[Sequence[bytes]]:
    """Batches of entries, each a record with a real event as its body and a time of its own."""
    pool = [*windows_events(), *(ROOT / "tools" / "sample" / "cloudtrail.jsonl").read_bytes().splitlines()]
    entries: list[bytes] = []
    for number in range(first, first + count):
        moment = START + number * SPACING
        text = _TIMESTAMP.sub(
            b'"@timestamp":"%s"' % _moment(moment).encode(), pool[number % len(pool)], count=1
        )
        if sizes is not None:
            sizes.append(len(text))
        record = {"timeUnixNano": str(int(moment * 10**9)), "body": {"stringValue": text.decode()}}
        entries += split_entry(LogPart(int(moment * 10**9)), encode_record(record))
        if len(entries) >= batch or number == first + count - 1:
            yield entries
            entries = []


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
