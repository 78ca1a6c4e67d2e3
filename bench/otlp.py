"""OpenTelemetry's logs in: requests of 512 records of 500 bytes, each answered when its entries are durable."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from common import directory
from google.protobuf.json_format import MessageToJson
from loads import Served, framed, free_ports, h2load, served, table
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.log import create_log
from merklelog.log.table import Value

RECORDS = 512
RECORD_BYTES = 500
ORIGIN = "bench.example/audit"
SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
HEADER = ("", "records a second", "spread", "server CPU us/record")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--requests", type=int, default=600, help="requests of 512 records for each cell")
    parser.add_argument("--only", nargs="*", default=[], help="cells whose name has one of these words")
    parser.add_argument("--senders", type=int, default=4, help="connections at a time")


@dataclass
class Cell:
    """One row of the table. `send` sends so many requests to the server and gives the seconds that took."""

    name: str
    send: Callable[[Server, int], float]
    settings: dict[str, Value] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, place: Path, requests: int) -> None:
        """Run once, on a log of its own; every record must be in it afterwards."""
        create_log(place, ORIGIN, settings=self.settings)
        with serving(place) as server:
            self.send(server, 4)  # what is imported and compiled at first use
            size, cpu = server.served.size(), server.served.cpu_seconds
            seconds = self.send(server, requests)
            records = requests * RECORDS
            if server.served.size() - size != records:
                print(f"  {self.name}: the log grew by {server.served.size() - size:,}, want {records:,}")
            self.rates.append(records / seconds)
            self.cpu.append((server.served.cpu_seconds - cpu) / records * 1e6)

    def row(self) -> tuple[str, ...]:
        """Medians, and the spread of the rate."""
        spread = f"{min(self.rates):,.0f} - {max(self.rates):,.0f}"
        rate, cpu = statistics.median(self.rates), statistics.median(self.cpu)
        return (self.name, f"{rate:,.0f}", spread, f"{cpu:.1f}")


@dataclass
class Server:
    """A server with OpenTelemetry's doors, and a folder for what is sent."""

    served: Served
    grpc: int
    http: int
    folder: Path


@contextmanager
def serving(place: Path) -> Iterator[Server]:
    """A server of that log."""
    at_grpc, at_http = free_ports(2)
    doors = ("--otlp-grpc", f"127.0.0.1:{at_grpc}", "--otlp-http", f"127.0.0.1:{at_http}")
    with served(str(place), *doors) as found:
        yield Server(found, at_grpc, at_http, place.parent)


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    checked: dict[str, Value] = {"index.enabled": True}
    cells = [
        Cell("gRPC", partial(_native, args.senders)),
        Cell("HTTP, JSON", partial(_http, args.senders, "application/json")),
        Cell("HTTP, protobuf", partial(_http, args.senders, "application/x-protobuf")),
        Cell("gRPC, IDs and content hashes", partial(_grpc, args.senders)),
        Cell("gRPC, IDs, content hashes and index", partial(_grpc, args.senders), checked),
    ]
    cells = [cell for cell in cells if not args.only or any(word in cell.name for word in args.only)]
    for number in range(args.runs):
        for at, cell in enumerate(cells):
            with directory() as place:
                cell.measure(place / f"log{number}-{at}", args.requests)
            print("  ".join(cell.row()), flush=True)
    print("\n## result (medians)")
    table([HEADER, *(cell.row() for cell in cells)])


def request(first: int, *, special: bool) -> ExportLogsServiceRequest:
    """Audit events, each of about 500 bytes; special: with an ID and the hash of their body."""
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    for name, value in (("service.name", "payments"), ("host.name", "node-17"), ("service.version", "1.2.3")):
        group.resource.attributes.add(key=name).value.string_value = value
    scope = group.scope_logs.add()
    scope.scope.name = "audit"
    for number in range(first, first + RECORDS):
        record = scope.log_records.add(
            time_unix_nano=10**18 + number, observed_time_unix_nano=10**18 + number
        )
        event = {"actor": "alice@example.com", "action": "account.update", "n": number, "text": ""}
        attributes = {"audit.actor.id": "alice@example.com", "audit.action": "account.update"}
        attributes["audit.target.id"] = f"account/{number}"
        if special:
            attributes["audit.record.id"] = f"0191f0aa-{number:016x}"
            attributes["audit.content_hash"] = "0" * 64
        for name, value in attributes.items():
            record.attributes.add(key=name).value.string_value = value
        record.attributes.add(key="http.status").value.int_value = 200
        record.body.string_value = json.dumps(event)
        event["text"] = "x" * max(0, RECORD_BYTES - record.ByteSize())
        record.body.string_value = json.dumps(event)
        if special:
            digest = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
            record.attributes[4].value.string_value = digest
    return message


def _native(senders: int, server: Server, requests: int) -> float:
    """One request again and again, by h2load: a record without an ID is stored each time."""
    body = framed(request(0, special=False).SerializeToString())
    load = h2load(server.grpc, "Export", body, senders, 2, requests, server.folder, service=SERVICE)
    if load.failed:
        raise SystemExit(f"{load.failed} requests failed")
    return requests / load.rate


def _grpc(senders: int, server: Server, requests: int) -> float:
    """Requests whose records all have other IDs, by grpcio."""
    begin = server.served.size()  # every record so far has an ID of its own, and is an entry
    bodies = [
        request(begin + number * RECORDS, special=True).SerializeToString() for number in range(requests)
    ]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        export = channel.unary_unary(f"/{SERVICE}/Export", bytes, bytes)

        def send(mine: Sequence[bytes]) -> None:
            for body in mine:
                export(body, timeout=60)

        return _together(send, bodies, senders)


def _http(senders: int, kind: str, server: Server, requests: int) -> float:
    """One request again and again, over connections that stay."""
    message = request(0, special=False)
    body = (
        MessageToJson(message, indent=None).encode() if kind.endswith("json") else message.SerializeToString()
    )

    def send(mine: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
        for each in mine:
            connection.request("POST", "/v1/logs", each, {"content-type": kind})
            answer = connection.getresponse()
            if answer.status != 200:
                raise SystemExit(f"{answer.status}: {answer.read()!r}")
            answer.read()
        connection.close()

    return _together(send, [body] * requests, senders)


def _together(send: Callable[[Sequence[bytes]], None], bodies: Sequence[bytes], senders: int) -> float:
    """Seconds until so many threads have sent all bodies."""
    threads = [threading.Thread(target=send, args=(bodies[at::senders],)) for at in range(senders)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun
