"""One request for two logs, of which one takes nothing: the other one is not given its part again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.errors import FrozenError, MerklelogError, OverloadedError, UnavailableError
from merklelog.ingest.intake import Intake, open_intake
from merklelog.ingest.otlp_protobuf import read_protobuf
from merklelog.log import Log, create_log, open_log
from merklelog.servers.caller import ANYONE
from merklelog.servers.intakes import Intakes
from merklelog.servers.otlp import Receiver
from merklelog.servers.served import ServedLogs
from tests.otlp.conftest import ROOMY

ORIGINS = ("several.example/one", "several.example/two")


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[Log]]:
    made = []
    for number, origin in enumerate(ORIGINS):
        create_log(tmp_path / str(number), origin, settings={**ROOMY, "log.max_pending_bytes": 1 << 20})
        made.append(open_log(tmp_path / str(number)))
    yield made
    for log in made:
        log.close()


def request(size: int = 1, record_id: str = "") -> bytes:
    """A record for each log; that for the second has so many bytes, and maybe an ID."""
    made = ExportLogsServiceRequest()
    for origin, length in zip(ORIGINS, (1, size), strict=True):
        group = made.resource_logs.add()
        group.resource.attributes.add(key="log").value.string_value = origin
        record = group.scope_logs.add().log_records.add()
        record.body.string_value = "x" * length
        if record_id and origin == ORIGINS[1]:
            record.attributes.add(key="audit.record.id").value.string_value = record_id
    return made.SerializeToString()


async def sent(receiver: Receiver, data: bytes) -> Exception | None:
    try:
        await receiver.take(data, read_protobuf, ANYONE, None)
    except MerklelogError as error:
        return error
    return None


def unread() -> None:
    raise UnavailableError("record IDs are being read from the log")


async def receiving(logs: list[Log], monkeypatch: pytest.MonkeyPatch) -> None:
    served = ServedLogs()
    for number, log in enumerate(logs):
        served.add(log, f"/{number}")
    intakes = Intakes(served, open_intake)
    receiver = Receiver(served, intakes, attribute="log")
    try:
        assert await sent(receiver, request()) is None
        assert [log.size for log in logs] == [1, 1]
        held: Intake = await intakes.ready(ORIGINS[1])
        room = held.prepare([{"body": {"stringValue": "y" * 900_000}}], "")
        for _ in range(3):
            assert isinstance(await sent(receiver, request(200_000)), OverloadedError)
        held.withdraw(room)
        with monkeypatch.context() as patch:
            patch.setattr(held._repeats, "check", unread)
            for _ in range(3):
                assert isinstance(await sent(receiver, request(record_id="a")), OverloadedError)
        logs[1].freeze()
        for _ in range(3):
            assert isinstance(await sent(receiver, request()), FrozenError)
        assert [log.size for log in logs] == [1, 2], (
            "the second one's statement that it has ended is its last"
        )
        assert [each.held for each in intakes] == [0, 0]
    finally:
        await intakes.close()
        receiver.close()


def test_what_one_log_refuses_no_other_one_stores(logs: list[Log], monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(receiving(logs, monkeypatch))
