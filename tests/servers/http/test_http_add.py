"""POST /add, asked of the application without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from merklelog import errors

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def served(make_served: Make) -> Any:
    return make_served()


@pytest.fixture
def log(served: Any) -> Any:
    return next(iter(served.logs)).log


def reason(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str, str | None]:
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    told = json.loads(body)
    assert told["status"] == status
    return status, told["reason"], told.get("field")


def test_the_answer_is_the_index_and_a_newline(served: Any, log: Any) -> None:
    for entry in (b"", b"a", bytes(range(256)), b"x" * 65_535):
        size = log.size
        status, headers, body = served.call("POST", "/add", entry)
        assert (status, body) == (200, b"%d\n" % size)
        assert headers["content-length"] == str(len(body))
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert log.entry(size) == entry


def test_a_body_in_parts_is_one_entry(served: Any, log: Any) -> None:
    status, _, body = served.call("POST", "/add", b"one ", b"", b"entry", b"")
    assert status == 200
    assert log.entry(int(body)) == b"one entry"


@pytest.mark.parametrize("parts", [[b"x" * 65_536], [b"x" * 65_535, b"x"], [b"x" * 50_000] * 3])
def test_too_long_an_entry_is_refused_whole(served: Any, log: Any, parts: list[bytes]) -> None:
    size = log.size
    assert reason(served.call("POST", "/add", *parts)) == (413, "ENTRY_TOO_LARGE", "body")
    assert log.size == size


def test_an_endless_body_is_not_read_for_ever(served: Any) -> None:
    parts = [b"x" * 65_000] * 1_000
    taken = list(parts)
    assert reason(served.call("POST", "/add", *taken)) == (413, "ENTRY_TOO_LARGE", "body")
    from merklelog.servers.http_append import MAX_BODY

    reads = 0

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"x" * 65_000, "more_body": True}

    async def send(_: dict[str, Any]) -> None:
        return

    scope = {"type": "http", "method": "POST", "path": "/add", "query_string": b"", "headers": []}
    asyncio.run(served.api(scope, receive, send))
    assert reads * 65_000 <= MAX_BODY + 2 * 65_000


def test_who_leaves_before_the_body_is_whole_stores_nothing(served: Any, log: Any) -> None:
    size = log.size
    assert served.call("POST", "/add", b"half", gone=True) == (0, {}, b"")
    assert served.call("POST", "/add", b"half", b"more", gone=True) == (0, {}, b"")
    assert log.size == size


def test_the_same_key_and_bytes_give_the_same_index(served: Any, log: Any) -> None:
    key = {"Idempotency-Key": "order 17"}
    first = served.call("POST", "/add", b"paid", headers=key)
    size = log.size
    assert served.call("POST", "/add", b"paid", headers=key)[2] == first[2]
    assert log.size == size
    conflict = served.call("POST", "/add", b"paid twice", headers=key)
    assert reason(conflict) == (409, "IDEMPOTENCY_KEY_REUSED", None)
    other = served.call("POST", "/add", b"paid", headers={"Idempotency-Key": "order 18"})
    assert other[2] != first[2]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Idempotency-Key": ""}, (400, "INVALID_REQUEST", "idempotency-key")),
        ({"Idempotency-Key": "k" * 129}, (400, "INVALID_REQUEST", "idempotency-key")),
        ({"merklelog-wait": "soon"}, (400, "INVALID_REQUEST", "merklelog-wait")),
        ({"merklelog-wait": "Integrated"}, (400, "INVALID_REQUEST", "merklelog-wait")),
        ({"merklelog-wait": "published"}, (400, "LEVEL_NOT_CONFIGURED", None)),
        ({"merklelog-wait": "witnessed"}, (400, "LEVEL_NOT_CONFIGURED", None)),
        ({"Content-Encoding": "gzip"}, (415, "ENCODED_BODY", "content-encoding")),
        ({"Origin": "https://evil.example", "Host": "127.0.0.1:7080"}, (403, "FORBIDDEN", None)),
        ({"Origin": "null", "Host": "127.0.0.1:7080"}, (403, "FORBIDDEN", None)),
        ({"Origin": "http://127.0.0.1:8000", "Host": "127.0.0.1:7080"}, (403, "FORBIDDEN", None)),
        ({"Sec-Fetch-Site": "cross-site"}, (403, "FORBIDDEN", None)),
        ({"Sec-Fetch-Site": "same-site"}, (403, "FORBIDDEN", None)),
    ],
)
def test_what_can_not_be_met_is_refused(
    served: Any, log: Any, headers: dict[str, str], expected: tuple[int, str, str | None]
) -> None:
    size = log.size
    answer = served.call("POST", "/add", b"x", headers=headers)
    assert reason(answer) == expected
    assert "access-control-allow-credentials" not in answer[1]
    assert log.size == size


@pytest.mark.parametrize(
    "headers",
    [
        {"merklelog-wait": "integrated"},
        {"Content-Encoding": "identity"},
        {"Origin": "http://127.0.0.1:7080", "Host": "127.0.0.1:7080", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Idempotency-Key": "é ✓".encode().decode("latin-1")},
        {"Accept": "*/*"},
        {"Prefer": "wait=never, handling=lenient"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_what_can_be_met_is_taken(served: Any, headers: dict[str, str]) -> None:
    assert served.call("POST", "/add", b"x", headers=headers)[0] == 200


def test_a_header_given_twice_is_refused(served: Any) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    twice = [(b"idempotency-key", b"a"), (b"host", b"x"), (b"idempotency-key", b"b")]
    scope = {"type": "http", "method": "POST", "path": "/add", "query_string": b"", "headers": twice}
    asyncio.run(served.api(scope, receive, send))
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["field"] == "idempotency-key"


@pytest.mark.parametrize(
    ("error", "status", "word", "retry"),
    [
        (errors.OverloadedError("64 MiB wait", 2.5), 429, "OVERLOADED", "3"),
        (errors.StorageFullError("3 bytes are free on /srv/secret"), 503, "STORAGE_FULL", "5"),
        (errors.StoppedError("/srv/secret: it stopped"), 503, "LOG_STOPPED", "5"),
        (errors.ClosedError("/srv/secret is closed"), 503, "SHUTTING_DOWN", "5"),
        (errors.StorageError("/srv/secret: I/O error"), 503, "STORAGE_FAILED", "5"),
        (RuntimeError("secret"), 500, "INTERNAL", None),
    ],
)
def test_what_the_log_refuses_has_its_status(
    served: Any,
    log: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    word: str,
    retry: str | None,
) -> None:
    async def refuse(_: bytes) -> None:
        raise error

    monkeypatch.setattr(log, "append_async", refuse)
    answer = served.call("POST", "/add", b"x")
    assert reason(answer) == (status, word, None)
    assert answer[1].get("retry-after") == retry
    assert b"secret" not in answer[2]


def test_a_flood_is_refused_and_what_was_taken_is_there(make_served: Make) -> None:
    """More than may wait, at once: each is answered by an index or by 429, and an index is kept."""
    served = make_served(**{"log.max_pending_bytes": 1 << 20})
    log = next(iter(served.logs)).log

    async def flood() -> list[tuple[int, dict[str, str], bytes]]:
        async def one(i: int) -> tuple[int, dict[str, str], bytes]:
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"%05d" % i + bytes(60_000)}

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/add", "query_string": b"", "headers": []}
            await served.api(scope, receive, send)
            return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

        return await asyncio.gather(*(one(i) for i in range(400)))

    answers = asyncio.run(flood())
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    for i, (status, headers, body) in enumerate(answers):
        if status == 200:
            assert log.entry(int(body))[:5] == b"%05d" % i
        else:
            assert int(headers[b"retry-after"]) >= 1  # type: ignore[index]
    assert log.size == statuses.count(200)
