"""Real events by each door of a server that indexes and publishes, each found again by each of its fields."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import merklelog
from merklelog.client.access import Access
from merklelog.client.searching import Search, SearchAnswer, search_server
from merklelog.errors import NotFoundError
from merklelog.index.query import parse_query
from merklelog.index.verify import judge_hit
from tests.index.corpus import ORIGIN, leaves, quoted, text
from tests.index.test_search_server import until
from tests.ingest.real_events import cloudtrail_events, windows_events
from tests.support.otlp_server import Receiver

EVENTS = (*cloudtrail_events()[::4], *windows_events()[::900])
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def request(events: tuple[str, ...]) -> dict[str, Any]:
    records = [{"body": text(event)} for event in events]
    service = {"key": "service.name", "value": text("doors")}
    return {"resourceLogs": [{"resource": {"attributes": [service]}, "scopeLogs": [{"logRecords": records}]}]}


def send(server: Receiver) -> None:
    """Every event by each of four doors, in this order."""
    message = ExportLogsServiceRequest()
    for record in request(EVENTS)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        scope = message.resource_logs.add() if not message.resource_logs else message.resource_logs[0]
        logs = scope.scope_logs.add() if not scope.scope_logs else scope.scope_logs[0]
        logs.log_records.add().body.string_value = record["body"]["stringValue"]
    with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
        channel.unary_unary(EXPORT, None, None)(message.SerializeToString(), timeout=60)
    for kind, body in (
        ("application/x-protobuf", message.SerializeToString()),
        ("application/json", json.dumps(request(EVENTS)).encode()),
    ):
        status, told, _ = server.ask("POST", "/v1/logs", body, {"Content-Type": kind}, door="otlp_http")
        assert status == 200, told
    for event in EVENTS:
        assert server.ask("POST", "/add", event.encode())[0] == 200


def all_hits(target: str, query: str) -> list[Any]:
    found: list[Any] = []
    cursor = ""
    while True:
        answer: SearchAnswer = search_server(target, Search(query, 1_000, cursor, entries=True), Access())
        found += answer.hits
        cursor = answer.cursor
        if not cursor:
            return found


def test_every_event_by_each_door_is_found_by_each_of_its_fields(tmp_path: Path) -> None:
    path, public = tmp_path / "log", tmp_path / "public"
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "index.enabled": True,
        "index.interval": 0.05,
        "publish.targets": (f"dir:{public}",),
        "publish.interval": 0.05,
    }
    merklelog.create_log(path, ORIGIN, settings=settings)
    total = 4 * len(EVENTS)
    server = Receiver(path).start()
    try:
        send(server)
        target = f"http://{server.addresses['http']}"

        def indexed() -> bool:
            try:
                answer = search_server(target, Search("", 1), Access())
            except NotFoundError:
                return False
            assert answer.indexed_size <= answer.tree_size, "what readers see is what is found"
            return answer.indexed_size == total

        until(indexed)
        at: dict[tuple[str, str], set[int]] = defaultdict(set)
        for door in range(4):
            for number, event in enumerate(EVENTS):
                for name, value in leaves(json.loads(event)):
                    at[name.lower(), value.lower()].add(door * len(EVENTS) + number)
        everything = all_hits(target, "")
        assert len(everything) == total
        for hit in everything:
            assert judge_hit(parse_query(""), hit, hit.data) == ""
            for name, value in hit.fields.items():
                at[name, value.lower()].add(hit.index)
        for (name, value), want in at.items():
            query = f"{name}:{quoted(value)}"
            assert want <= {hit.index for hit in all_hits(target, query)}, query
    finally:
        server.stop()
