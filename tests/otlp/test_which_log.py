"""Two logs with tokens behind TLS: whose records go where, who may, and what the log says of who sent them."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import parse_entry
from merklelog.log import create_log, open_reader
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token
from tests.otlp.test_otlp_doors import EXPORT, send
from tests.servers.security.conftest import LOCAL, Authority
from tests.support.otlp_server import Receiver

A, B = "which.example/a", "which.example/b"


class Guarded:
    """The server; `tokens` by name: of log a, of log b, of both, and one of a that may only read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens: dict[str, str] = {}
        for origin in (A, B):
            create_log(folder / origin[-1], origin, settings={"store.min_free_bytes": 0})
        for name, logs, scope in (
            ("for-a", "a", Scope.APPEND),
            ("for-b", "b", Scope.APPEND),
            ("for-both", "ab", Scope.APPEND),
            ("reader", "a", Scope.READ),
        ):
            kept, shown = make_token(name, (scope,), int(time.time()))
            assert shown is not None
            self.tokens[name] = shown
            for log in logs:
                change_tokens(folder / log, lambda tokens, kept=kept: (*tokens, kept), lambda tokens: None)
        authority = Authority(folder)
        pair = authority.issue("server", *LOCAL)
        assert authority.root is not None
        self.ca = authority.root.pem
        self.receiver = Receiver(
            folder / "a",
            folder / "b",
            tls__certificate=str(pair.pem),
            tls__key=str(pair.key),
            server__otlp_log_attribute="log.origin",
        )
        self.receiver.start()

    def headers(self, token: str, log: str = "") -> dict[str, str]:
        shown = {"authorization": f"Bearer {self.tokens[token]}"} if token else {}
        return {**shown, **({"merklelog-log": log} if log else {})}

    def post(self, body: bytes, token: str, log: str = "") -> int:
        """The status over HTTP."""
        host, _, port = self.receiver.addresses["otlp_http"].rpartition(":")
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(host, int(port), timeout=60, context=context)
        try:
            headers = {"content-type": "application/x-protobuf", **self.headers(token, log)}
            connection.request("POST", "/v1/logs", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def call(self, body: bytes, token: str, log: str = "") -> grpc.StatusCode:
        """The status over gRPC."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        with grpc.secure_channel(self.receiver.addresses["otlp_grpc"], credentials) as channel:
            try:
                metadata = tuple(self.headers(token, log).items())
                channel.unary_unary(EXPORT)(body, timeout=60, metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def stored(self) -> list[tuple[str, str, Any]]:
        """Every record: its log, its submitter, its body."""
        found = []
        for name in "ab":
            with open_reader(self.folder / name) as log:
                for data in log.entries(0, log.size):
                    entry = parse_entry(data)
                    assert entry is not None
                    assert entry.part is not None
                    body = decode_record(entry.record_bytes)["body"]
                    found.append((name, entry.part.submitter, json.loads(json.dumps(body))["stringValue"]))
        return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("which"))
    yield made
    assert made.receiver.stop() == 0


def request(*bodies: tuple[str, str]) -> bytes:
    """Records as (body, origin in the resource's attribute, empty for none)."""
    made = ExportLogsServiceRequest()
    for body, origin in bodies:
        group = made.resource_logs.add()
        if origin:
            group.resource.attributes.add(key="log.origin").value.string_value = origin
        group.scope_logs.add().log_records.add().body.string_value = body
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("token", "log", "bodies", "want"),
    [
        ("for-a", "", [("1", "")], [("a", "1")]),
        ("for-b", A, [("2", A)], [("b", "2")]),  # the token decides
        ("for-both", B, [("3", A)], [("b", "3")]),  # else the header
        ("for-both", "", [("4", A), ("5", B), ("6", A)], [("a", "4"), ("a", "6"), ("b", "5")]),
    ],
)
def test_who_decides(
    guarded: Guarded, token: str, log: str, bodies: list[tuple[str, str]], want: list[tuple[str, str]]
) -> None:
    before = guarded.stored()
    assert guarded.call(request(*bodies), token, log) is grpc.StatusCode.OK
    assert guarded.post(request(*bodies), token, log) == 200
    new = [each for each in guarded.stored() if each not in before]
    twice = [*want, *want]
    assert [each for each in new if each[0] == "a"] == [
        ("a", token, body) for log, body in twice if log == "a"
    ]
    assert [each for each in new if each[0] == "b"] == [
        ("b", token, body) for log, body in twice if log == "b"
    ]


@pytest.mark.parametrize(
    ("token", "log", "origin", "code", "status"),
    [
        ("", "", "", "UNAUTHENTICATED", 401),
        ("", A, "", "UNAUTHENTICATED", 401),
        ("", "", A, "UNAUTHENTICATED", 401),
        ("for-both", "", "", "INVALID_ARGUMENT", 400),
        ("for-both", "which.example/c", "", "INVALID_ARGUMENT", 400),
        ("for-both", "", "which.example/c", "INVALID_ARGUMENT", 400),
        ("reader", "", "", "PERMISSION_DENIED", 403),
    ],
)
def test_who_may_not(guarded: Guarded, token: str, log: str, origin: str, code: str, status: int) -> None:
    before = guarded.stored()
    body = request(("good", A), ("not", origin)) if origin else request(("not", ""))
    assert guarded.call(body, token, log).name == code
    assert guarded.post(body, token, log) == status
    assert guarded.stored() == before, "a request is taken whole or not at all"


def test_the_exporter_of_the_sdk_over_tls(guarded: Guarded) -> None:
    exporter = OTLPLogExporter(
        guarded.receiver.addresses["otlp_grpc"],
        credentials=grpc.ssl_channel_credentials(guarded.ca.read_bytes()),
        headers=guarded.headers("for-b"),
    )
    send(exporter, "by the SDK")
    assert ("b", "for-b", "by the SDK") in guarded.stored()
