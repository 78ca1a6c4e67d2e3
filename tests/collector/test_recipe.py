"""The recipe of tools/collector as it stands: what it lets through and what it takes out, over gRPC and HTTP."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.split import join_entries
from tests.otlp_bad.senders import field, named, nested, raw_request
from tests.servers.security.conftest import Authority
from tests.support.collector import GRPC, HTTP, OVER_HTTP, RECIPE, Collector
from tests.support.otlp_sender import Sender
from tests.support.otlp_server import Receiver, make_token
from tests.support.programs import ROOT, SECONDS

CLOUDTRAIL = ROOT / "tools" / "sample" / "cloudtrail.jsonl"


@dataclass
class Chain:
    """A log that asks for a token, its receiver with TLS, and a Collector that has one."""

    log: Path
    over: str
    receiver: Receiver
    collector: Collector

    def size(self, wanted: int) -> int:
        """The log's size, once it is at least so many."""
        end = time.monotonic() + SECONDS
        while (size := self.receiver.size()) < wanted and time.monotonic() < end:
            time.sleep(0.05)
        return size

    def records(self, start: int) -> list[dict[str, Any]]:
        """The records from an entry on."""
        with merklelog.open_reader(self.log) as reader:
            entries = list(reader.entries(0, reader.size))
        return [
            dict(decode_record(join_entries(entries.__getitem__, index).record_bytes))
            for index in range(start, len(entries))
        ]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    log = tmp_path_factory.mktemp("recipe") / "log"
    merklelog.create_log(log, "recipe.example/log", settings={"store.min_free_bytes": 0})
    authority = Authority(tmp_path_factory.mktemp("ca"))
    pair = authority.server()
    made = Receiver(log, tls__certificate=str(pair.pem), tls__key=str(pair.key))
    made.token = make_token(log)
    assert authority.root is not None
    made.ca = authority.root.pem
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module", params=["grpc", "http"])
def chain(
    request: pytest.FixtureRequest,
    collector: None,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp(request.param)
    over_http = request.param == "http"
    made = Collector(
        folder,
        *((RECIPE, OVER_HTTP) if over_http else (RECIPE,)),
        exporter=HTTP if over_http else GRPC,
        MERKLELOG_ENDPOINT=receiver.addresses["otlp_grpc"],
        MERKLELOG_URL=f"https://{receiver.addresses['otlp_http']}",
        MERKLELOG_TOKEN=receiver.token,
        MERKLELOG_CA=str(receiver.ca),
    )
    try:
        yield Chain(receiver.directories[0], request.param, receiver, made.start())
    finally:
        made.stop()


def keys(record: dict[str, Any]) -> list[str]:
    return [each["key"] for each in record["attributes"]]


def test_audit_events_alone_go_on_without_secrets_and_with_an_identity(chain: Chain) -> None:
    start = chain.receiver.size()
    for over in ("grpc", "http"):
        sender = Sender(getattr(chain.collector, over), over=over, group=10)
        sender.emit("a line of some other log", {"level": "debug"})
        sender.emit(
            {"n": 1},
            {
                "audit.action": "login",
                "http.request.header.cookie": "a=b",
                "http.request.header.accept": "*/*",
                "db.Password": "hunter2",
            },
        )
        sender.emit({"n": 2}, {"audit.record.id": f"{chain.over}-own-{over}", "audit.action": "logout"})
        sender.flush()
        sender.close()
    assert chain.size(start + 4) == start + 4
    records = chain.records(start)
    made = [record for record in records if "db.Password" in keys(record) or "login" in str(record)]
    assert len(made) == 2
    for record in made:
        assert keys(record) == ["audit.action", "http.request.header.accept", "audit.record.id"]
        uuid.UUID(record["attributes"][2]["value"]["stringValue"])
    own = [record for record in records if "logout" in str(record)]
    assert sorted(record["attributes"][0]["value"]["stringValue"] for record in own) == [
        f"{chain.over}-own-grpc",
        f"{chain.over}-own-http",
    ]


def test_real_events_arrive_as_they_were(chain: Chain) -> None:
    """CloudTrail's, as the bodies of records; the log's part says whose token brought them."""
    start = chain.receiver.size()
    events = [json.loads(line) for line in CLOUDTRAIL.read_text("utf-8").splitlines()]
    sender = Sender(chain.collector.grpc)
    for event in events:
        attributes = {
            "audit.record.id": f"{chain.over}-{event['eventID']}",
            "audit.action": event["eventName"],
        }
        sender.emit(json.dumps(event), attributes)
    sender.flush()
    sender.close()
    assert chain.size(start + len(events)) == start + len(events)
    bodies = [json.loads(record["body"]["stringValue"]) for record in chain.records(start)]
    assert sorted(map(json.dumps, bodies)) == sorted(map(json.dumps, events))
    with merklelog.open_reader(chain.log) as reader:
        entry = json.loads(next(iter(reader.entries(start, start + 1))))
    assert "collector" in entry["log"]["submitter"]


def test_a_poison_record_neither_blocks_nor_takes_others_with_it(chain: Chain) -> None:
    """A value 10,000 deep in one batch with others' records, as the Collector merges them."""
    start = chain.receiver.size()
    marked = field(6, field(1, b"audit.action") + field(2, field(1, b"x")))
    poison = marked + field(12, b"poison") + field(5, nested(10_000))
    good = [named(f"neighbour {i}").SerializeToString() + marked for i in range(2)]
    body = raw_request(good[0], poison, good[1])
    status = post(chain.collector.http, body)
    assert status == 200
    later = raw_request(named("later").SerializeToString() + marked)
    assert post(chain.collector.http, later) == 200
    assert chain.size(start + 4) >= start + 4  # the poison is long, and so in several
    chain.collector.wait_empty()
    names = [str(record["eventName"]) for record in chain.records(start)]
    assert set(names) == {"later", "neighbour 0", "neighbour 1", "poison"}
    assert names.count("neighbour 1") == 1
    assert chain.collector.metric("otelcol_exporter_send_failed_log_records") == 0


def post(at: str, body: bytes) -> int:
    """The status of a request to the Collector itself."""
    connection = http.client.HTTPConnection(at, timeout=SECONDS)
    try:
        connection.request("POST", "/v1/logs", body, {"Content-Type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()
