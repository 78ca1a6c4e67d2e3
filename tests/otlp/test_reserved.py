"""Nobody appends what only the log says: who sent a record, and when."""

from __future__ import annotations

import pytest

from merklelog.errors import FieldError
from merklelog.ingest.entry import LogPart, encode_entry
from merklelog.log import Log
from merklelog.servers.asked import appended, check_data
from merklelog.servers.http_append import add
from merklelog.servers.http_wishes import RefusedError
from merklelog.servers.reserved import is_reserved
from merklelog.v1 import log_pb2 as pb
from tests.otlp.conftest import Place

FORGED = encode_entry(LogPart(1, "the auditor"), b'{"body":{}}')
ALLOWED = (encode_entry(None, b'{"body":{}}'), b'{"log":{"format":"another"}}', b"raw", b"")


@pytest.fixture
def log(make_place: object) -> Log:
    place: Place = make_place()  # type: ignore[operator]
    place.open()
    assert place.log is not None
    return place.log


def test_over_grpc(log: Log) -> None:
    with pytest.raises(FieldError, match=r"entry\.data: begins as merklelog/entry/v1 with a log part"):
        check_data("entry.data", FORGED)
    many = [pb.NewEntry(data=data) for data in (*ALLOWED, FORGED)]
    with pytest.raises(FieldError, match=r"entries\[4\]\.data: begins"):
        appended(many, b"", log)
    assert appended(many[:-1], b"", log).entries == list(ALLOWED)


async def post(log: Log, body: bytes) -> int:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await add(log, (), receive, send)
    return int(str(sent[0]["status"]))


def test_over_http(log: Log) -> None:
    import asyncio

    with pytest.raises(RefusedError):
        asyncio.run(post(log, FORGED))
    for data in ALLOWED:
        assert not is_reserved(data)
        assert asyncio.run(post(log, data)) == 200
    assert log.size == len(ALLOWED)
