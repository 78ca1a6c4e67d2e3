"""A server killed under load, and clients that send again with the same keys."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import merklelog

WORKERS = 8
EACH = 150


def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice(start: Callable[..., Any]) -> None:
    server = start("killed")
    acknowledged: dict[bytes, int] = {}
    lock = threading.Lock()

    def append(target: Any, worker: int) -> None:
        """All of the worker's entries, those known already too, until the server is gone."""
        with closing(target.connect()) as connection:
            for i in range(EACH):
                entry = b"%d/%d" % (worker, i)
                try:
                    connection.request("POST", "/add", entry, {"Idempotency-Key": entry.decode()})
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException):
                    return
                assert answer.status == 200
                with lock:
                    assert acknowledged.setdefault(entry, int(body)) == int(body), "a retry got another index"

    def run(target: Any) -> list[threading.Thread]:
        workers = [threading.Thread(target=append, args=(target, worker)) for worker in range(WORKERS)]
        for worker in workers:
            worker.start()
        return workers

    for kills in range(3):
        workers = run(server)
        wanted = len(acknowledged) + 150
        while len(acknowledged) < wanted and any(worker.is_alive() for worker in workers):
            time.sleep(0.005)
        server.process.kill()
        for worker in workers:
            worker.join(60)
        server.process.wait()
        assert kills == 2 or len(acknowledged) < WORKERS * EACH, "want it killed before all is stored"
        server = start("killed", folder=server.folder)

    for worker in run(server):
        worker.join(60)
    assert len(acknowledged) == WORKERS * EACH
    assert server.stop() == "closed\n"
    with merklelog.open_reader(server.folder / "killed") as log:
        stored = list(log.entries(0, log.size))
    assert len(stored) == len(set(stored)) == WORKERS * EACH
    assert all(stored[index] == entry for entry, index in acknowledged.items())
