"""A log that is killed under audited applications: whoever got an answer has an event, and nobody has two."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merklelog.audit_events import AsgiAudit, ProducerEmitter
from merklelog.client import open_producer

from .serving import SECONDS, Served, attributes_of

CLIENTS = 8
EACH = 25


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server of its own: it is killed."""
    made = Served(tmp_path / "log")
    yield made
    assert made.server.end() == 0


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def status_of(audited: AsgiAudit, path: str) -> int:
    """What a client hears who asks for this path."""
    told: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    await audited({"type": "http", "method": "POST", "path": path, "user": "ada"}, None, send)
    (status,) = told
    return status


def test_no_answer_without_its_event_though_the_log_is_killed(served: Served) -> None:
    with open_producer(served.grpc, trust=served.vkeys) as producer:
        emitter = ProducerEmitter(producer)
        patient = AsgiAudit(application, required=True, wait=SECONDS, emitter=emitter)
        hasty = AsgiAudit(application, required=True, wait=0.2, emitter=emitter)
        numbers = itertools.count()
        answered: list[str] = []

        async def client() -> None:
            for _ in range(EACH):
                path = f"/orders/{next(numbers)}"
                if await status_of(patient, path) == 201:
                    answered.append(path)

        async def kill_and_come_back() -> None:
            while len(answered) < CLIENTS * EACH // 4:
                await asyncio.sleep(0.005)
            await asyncio.to_thread(served.server.end, kill=True)
            assert await status_of(hasty, "/orders/hasty") == 503
            await asyncio.to_thread(served.start)

        async def everything() -> None:
            await asyncio.gather(kill_and_come_back(), *(client() for _ in range(CLIENTS)))

        asyncio.run(everything())
    assert len(answered) == CLIENTS * EACH
    assert (patient.lost, hasty.lost) == (0, 1)
    logged = [attributes_of(record)["audit.resource"] for _, record in served.records(0, CLIENTS * EACH + 1)]
    assert sorted(logged) == sorted(
        [*answered, "/orders/hasty"]
    )  # who was told 503 has an event, once it could be
    assert served.size == len(logged)
