"""Server-sent events, from a server process and over the network."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from merklelog.formats import parse_checkpoint
from merklelog.servers import http_events
from merklelog.servers.http_api import HttpApi
from merklelog.servers.http_events import Streams

Start = Callable[..., Any]
Event = tuple[str, str, str]


@pytest.fixture(scope="module")
def server(start: Start) -> Any:
    return start("events")


def size_of(server: Any) -> int:
    return int(server.ask("GET", "/checkpoint")[2].split(b"\n")[1])


@contextmanager
def events(server: Any, path: str, **headers: str) -> Iterator[Iterator[Event]]:
    """The events of a stream as a browser's EventSource gives them: type, last ID, data."""
    connection: http.client.HTTPConnection = server.connect()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers={"Accept": "text/event-stream", **sent})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type") == "text/event-stream"
    assert answer.getheader("access-control-allow-origin") == "*"

    def parsed() -> Iterator[Event]:
        kind, last, data = "message", "", []
        while line := answer.readline():
            text = line.decode().removesuffix("\n")
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if not text:
                if data:
                    yield kind, last, "\n".join(data)
                kind, data = "message", []
            elif name == "event":
                kind = value
            elif name == "id":
                last = value
            elif name == "data":
                data.append(value)

    try:
        yield parsed()
    finally:
        connection.close()


def test_entries_come_from_any_index_on_and_as_they_are_appended(server: Any) -> None:
    start = size_of(server)
    stored = [b"", b"\x00\xff", b"line\nline", b"x" * 65_535]
    for entry in stored:
        server.ask("POST", "/add", entry)
    with events(server, f"/events/entries?start={start + 1}") as stream:
        for offset in (1, 2, 3):
            kind, last, data = next(stream)
            assert (kind, int(last), base64.b64decode(data)) == ("entry", start + offset, stored[offset])
        for n in range(5):
            index = int(server.ask("POST", "/add", b"later %d" % n)[2])
            kind, last, data = next(stream)
            assert (int(last), base64.b64decode(data)) == (index, b"later %d" % n)


def test_a_stream_longer_than_a_chunk_has_every_entry_once(server: Any) -> None:
    start = size_of(server)
    connection = server.connect()
    for n in range(200):
        connection.request("POST", "/add", b"%d" % n)
        connection.getresponse().read()
    connection.close()
    with events(server, f"/events/entries?start={start}") as stream:
        got = [next(stream) for _ in range(200)]
    assert [int(last) for _, last, _ in got] == list(range(start, start + 200))
    assert [base64.b64decode(data) for _, _, data in got] == [b"%d" % n for n in range(200)]


def test_a_client_that_comes_back_goes_on_where_it_was(server: Any) -> None:
    first = int(server.ask("POST", "/add", b"had")[2])
    server.ask("POST", "/add", b"missed")
    with events(server, "/events/entries?start=0", Last_Event_ID=str(first)) as stream:
        assert next(stream) == ("entry", str(first + 1), base64.b64encode(b"missed").decode())


def test_without_a_start_only_what_is_new_comes(server: Any) -> None:
    with events(server, "/events/entries") as stream:
        index = int(server.ask("POST", "/add", b"new")[2])
        assert next(stream)[1] == str(index)


def test_a_start_beyond_the_log_waits_for_it(server: Any) -> None:
    size = size_of(server)
    with events(server, f"/events/entries?start={size + 1}") as stream:
        server.ask("POST", "/add", b"not this")
        server.ask("POST", "/add", b"this")
        assert next(stream) == ("entry", str(size + 1), base64.b64encode(b"this").decode())


def test_checkpoints_are_the_signed_notes_and_grow(server: Any) -> None:
    with events(server, "/events/checkpoints") as stream:
        kind, last, note = next(stream)
        assert kind == "checkpoint"
        assert parse_checkpoint(note.encode()).checkpoint.size == int(last) == size_of(server)
        for _ in range(3):
            index = int(server.ask("POST", "/add", b"x")[2])
            kind, last, note = next(stream)
            assert parse_checkpoint(note.encode()).checkpoint.size == int(last) > index


@pytest.mark.parametrize(
    ("path", "headers", "field"),
    [
        ("/events/entries?start=-1", {}, "start"),
        ("/events/entries?from=1", {}, "from"),
        ("/events/entries", {"Last-Event-ID": "x"}, "last-event-id"),
        ("/events/entries?start=x", {"Last-Event-ID": "1"}, "start"),
        ("/events/checkpoints?start=1", {}, "start"),
    ],
)
def test_a_stream_that_can_not_be_is_refused(
    server: Any, path: str, headers: dict[str, str], field: str
) -> None:
    status, got, body = server.ask("GET", path, headers=headers)
    assert (status, got["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["field"] == field


def test_head_of_a_stream_ends(server: Any) -> None:
    status, headers, body = server.ask("HEAD", "/events/entries")
    assert (status, headers["content-type"], body) == (200, "text/event-stream", b"")


def test_open_streams_end_when_the_server_stops(start: Start) -> None:
    server = start("ending")
    with (
        events(server, "/events/checkpoints") as checkpoints,
        events(server, "/events/entries?start=0") as entries,
    ):
        assert next(checkpoints)[1] == "0"
        assert server.ask("POST", "/add", b"last")[0] == 200
        assert next(entries)[1] == "0"
        assert next(checkpoints)[1] == "1"
        assert server.stop() == "closed\n"
        assert list(checkpoints) == []
        assert list(entries) == []


def test_streams_are_bounded_and_let_go_of(
    make_served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_events, "MAX_STREAMS", 2)
    monkeypatch.setattr(http_events, "HEARTBEAT", 0.01)
    served = make_served()

    async def check() -> None:
        leave = asyncio.Event()
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events/entries",
            "query_string": b"",
            "headers": [],
        }
        running = [asyncio.create_task(served.api(scope, receive, send)) for _ in range(2)]
        while len([m for m in sent if m.get("body") == b"\n\n"]) < 4:  # they live, and say so
            await asyncio.sleep(0.01)
        sent.clear()
        refused: list[dict[str, Any]] = []

        async def hear(message: dict[str, Any]) -> None:
            refused.append(message)

        await served.api(scope, receive, hear)
        assert refused[0]["status"] == 429
        assert dict(refused[0]["headers"])[b"retry-after"] == b"5"
        leave.set()
        await asyncio.gather(*running)
        assert served.api._streams == Streams(0)

    asyncio.run(check())


def test_a_client_that_takes_nothing_is_let_go_of(
    make_served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_events, "PART_BYTES", 100)
    served = make_served([b"x" * 60] * 20)
    api = HttpApi(served.logs, stall_seconds=0.02)
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if len(sent) > 4:
            await asyncio.get_running_loop().create_future()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/events/entries",
        "query_string": b"start=0",
        "headers": [],
    }
    asyncio.run(api(scope, receive, send))
    assert [part.count(b"event:") for part in sent] == [0, 0, 1, 1, 1]
    assert api._streams == Streams(0, stall_seconds=0.02)


def test_a_client_that_went_without_a_word_is_noticed_at_the_next_sign_of_life(
    make_served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first write to it is lost, and only then the next one fails: so there are two."""
    monkeypatch.setattr(http_events, "HEARTBEAT", 0.01)
    monkeypatch.setattr(http_events, "PROBE", 0.01)
    served = make_served()
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == 4:
            raise OSError("the connection was reset")

    scope = {"type": "http", "method": "GET", "path": "/events/entries", "query_string": b"", "headers": []}
    asyncio.run(served.api(scope, receive, send))
    assert sent == [b"", b":\n\n", b":", b"\n\n"]
    assert served.api._streams == Streams(0)


def test_a_server_lets_go_of_clients_that_went_without_a_word(start: Start) -> None:
    """As many as it serves: those who come then are told to wait, and are served once it has noticed."""
    server = start("leaving")
    left = []
    for _ in range(http_events.MAX_STREAMS):
        connection = server.connect()
        connection.request("GET", "/events/entries")
        assert connection.getresponse().readline() == b":\n"
        left.append(connection)
    status, headers, _ = server.ask("GET", "/events/entries")
    assert (status, headers["retry-after"]) == (429, "5")
    for connection in left:
        connection.close()
    while status == 429:
        time.sleep(0.05)
        connection = server.connect()
        connection.request("GET", "/events/entries")
        status = connection.getresponse().status
        connection.close()
    assert status == 200
