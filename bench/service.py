"""The service under load: appends, proofs and tiles over HTTP and gRPC; every answer is durable and integrated.

It measures the fronts that are the default; the environment chooses others, as for any server:
MERKLELOG_SERVER__GRPC_FRONT=grpcio, MERKLELOG_SERVER__HTTP_FRONT=native.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from append import fill
from common import ORIGIN, directory, random_entries
from loads import Load, Served, framed, h2load, served, table, wrk

import merklelog
from merklelog.log import create_log
from merklelog.tree import tile_path
from merklelog.v1 import log_pb2 as pb

ADD = 'wrk.method = "POST"; wrk.body = string.rep("e", 256)'
BATCH = "AppendBatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--entries", type=int, default=1_000_000, help="size of the log that is read")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each HTTP cell")
    parser.add_argument("--only", nargs="*", default=[], help="cells whose name has one of these words")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments for `merklelog serve`")


@dataclass
class Cell:
    """One row of the table: `unit` things happen `each` times a request."""

    name: str
    run: Callable[[Served], Load]
    each: int = 1
    appends: bool = False
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, server: Served) -> None:
        """Run once; every append must be in the log afterwards."""
        size, cpu, begun = server.size() if self.appends else 0, server.cpu_seconds, time.perf_counter()
        load = self.run(server)
        spent = server.cpu_seconds - cpu
        requests = load.rate * (time.perf_counter() - begun)
        grown = server.size() - size if self.appends else 0
        if load.failed or (self.appends and grown < 0.9 * requests * self.each):
            print(f"  {self.name}: {load.failed} failed, the log grew by {grown:,}")
        self.rates.append(load.rate * self.each)
        self.p50.append(load.p50)
        self.p99.append(load.p99)
        self.cpu.append(1000 * spent / max(1.0, requests) * 1000)

    def row(self) -> tuple[str, ...]:
        """Medians, and the spread of the rate."""
        if not self.rates:
            return (self.name, *["not measured"] * 5)
        spread = f"{min(self.rates):,.0f} - {max(self.rates):,.0f}"
        p50, p99, cpu = (statistics.median(each) for each in (self.p50, self.p99, self.cpu))
        return (
            *(self.name, f"{statistics.median(self.rates):,.0f}", spread),
            *(f"{p50:.2f}", f"{p99:.2f}", f"{cpu:,.0f}"),
        )


HEADER = ("", "a second", "spread", "p50 ms", "p99 ms", "server CPU ms/1,000 requests")


def run(args: argparse.Namespace) -> None:
    """Measure the tables."""
    with directory() as place:
        fill(place / "log", args.entries)
        cells = [
            cell
            for cell in (*_http(args.seconds, place), *_grpc(place), *_reads(args, place))
            if not args.only or any(word in cell.name for word in args.only)
        ]
        for _ in range(args.runs):
            with served(str(place / "log"), *args.serve) as server:
                print(f"ready after {server.ready_seconds:.2f} s, {server.resident_mb:.0f} MB")
                for cell in cells:
                    cell.measure(server)
                    print("  ".join(cell.row()), flush=True)
                print(f"then {server.size():,} entries, {server.resident_mb:.0f} MB")
        print("\n## result (medians)")
        table([HEADER, *(cell.row() for cell in cells)])
        if not args.only:
            _idle(place)


def _http(seconds: float, place: Path) -> Iterable[Cell]:
    def add(connections: int, server: Served) -> Load:
        return wrk(f"http://127.0.0.1:{server.http}/add", connections, seconds, ADD, place)

    for connections in (1, 16, 64, 256, 1_024):
        yield Cell(f"POST /add, {connections} connections", partial(add, connections), appends=True)


def _grpc(place: Path) -> Iterable[Cell]:
    entry = pb.NewEntry(data=random_entries(1)[0])
    one = framed(pb.AppendRequest(entry=entry).SerializeToString())

    def call(method: str, body: bytes, connections: int, streams: int, requests: int, server: Served) -> Load:
        return h2load(server.grpc, method, body, connections, streams, requests, place)

    for clients, connections, streams, requests in (
        *((1, 1, 1, 5_000), (16, 16, 1, 40_000)),
        *((256, 16, 16, 100_000), (1_024, 16, 64, 100_000)),
    ):
        load = partial(call, "Append", one, connections, streams, requests)
        yield Cell(f"Append, {clients} at a time", load, appends=True)
    for count, requests in ((100, 5_000), (1_000, 1_000)):
        entries = [pb.NewEntry(data=data) for data in random_entries(count)]
        body = framed(pb.AppendBatchRequest(entries=entries).SerializeToString())
        load = partial(call, BATCH, body, 4, 1, requests)
        yield Cell(f"AppendBatch of {count:,}, 4 at a time (entries)", load, each=count, appends=True)
    count = 20_000
    stream = framed(
        *(
            pb.AppendStreamRequest(entries=[pb.NewEntry(data=e)]).SerializeToString()
            for e in random_entries(count)
        )
    )
    yield Cell(
        "AppendStream, one stream of 20,000 (entries)",
        partial(call, "AppendStream", stream, 1, 1, 5),
        each=count,
        appends=True,
    )


def _reads(args: argparse.Namespace, place: Path) -> Iterable[Cell]:
    size = args.entries

    def proofs(indexes: list[int], requests: int, server: Served) -> Load:
        body = framed(pb.GetInclusionProofsRequest(indexes=indexes, tree_size=size).SerializeToString())
        return h2load(server.grpc, "GetInclusionProofs", body, 2, 1, requests, place)

    far = random.sample(range(size), 1_000)
    first = random.randrange(size // 256) * 256
    yield Cell("GetInclusionProofs, 1,000 at random (proofs)", partial(proofs, far, 100), each=1_000)
    yield Cell(
        "GetInclusionProofs, 256 of a tile (proofs)",
        partial(proofs, list(range(first, first + 256)), 3_000),
        each=256,
    )
    paths = [tile_path(0, random.randrange(size // 256)) for _ in range(512)]
    listed = ", ".join(f'"/{path}"' for path in paths)
    tiles = f"local paths = {{{listed}}}; local n = 0; request = function() n = n + 1; "
    tiles += 'return wrk.format("GET", paths[n % #paths + 1]) end'

    def read(connections: int, server: Served) -> Load:
        return wrk(f"http://127.0.0.1:{server.http}/", connections, args.seconds, tiles, place)

    for connections in (16, 64, 256):
        yield Cell(f"GET of a full tile, {connections} connections", partial(read, connections))
    yield Cell("proof from tiles over HTTP, verified, one client", partial(_tile_proofs, place / "log"))


def _tile_proofs(log: Path, server: Served) -> Load:
    """Inclusion proofs at random indexes by the library, which fetches and verifies the tiles."""
    with merklelog.open_reader(log) as reader:
        keys = reader.vkeys
    times = []
    with merklelog.connect(f"http://127.0.0.1:{server.http}/", keys) as client:
        size = server.size()
        for _ in range(3_000):
            begun = time.perf_counter()
            client.prove(random.randrange(size))
            times.append(time.perf_counter() - begun)
    times.sort()
    return Load(len(times) / sum(times), times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3, 0)


def _idle(place: Path) -> None:
    """200 logs on one server, none of them used."""
    root = place / "many"
    root.mkdir()
    for number in range(200):
        create_log(root / f"log{number}", f"{ORIGIN}{number}")
    with served("--root", str(root)) as server:
        print(f"200 idle logs: ready after {server.ready_seconds:.2f} s, {server.resident_mb:.0f} MB")
