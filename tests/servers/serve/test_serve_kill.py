"""`merklelog serve` killed under load at both doors, and clients that send again with the same keys."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

import merklelog

WORKERS = 6
EACH = 120
KILLS = 3


class Clients:
    """Workers that append entries of their own with a key each, again and again, until the server is gone."""

    def __init__(self) -> None:
        self.acknowledged: dict[bytes, int] = {}
        self.wrong: list[object] = []
        self._lock = threading.Lock()

    def run(self, server: Any) -> list[threading.Thread]:
        kinds = [self._by_http, self._by_grpc]
        workers = [
            threading.Thread(target=kinds[number % 2], args=(server, number)) for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        return workers

    def _note(self, entry: bytes, index: int) -> None:
        with self._lock:
            if self.acknowledged.setdefault(entry, index) != index:
                self.wrong.append((entry, index, "a retry got another index"))

    def _by_http(self, server: Any, worker: int) -> None:
        with closing(server.connect()) as connection:
            for i in range(EACH):
                entry = b"%d/%d" % (worker, i)
                try:
                    connection.request("POST", "/add", entry, {"Idempotency-Key": entry.decode()})
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException):
                    return
                if answer.status != 200:
                    self.wrong.append((answer.status, body))
                    return
                self._note(entry, int(body))

    def _by_grpc(self, server: Any, worker: int) -> None:
        with server.channel() as channel:
            for i in range(EACH):
                entry = b"%d/%d" % (worker, i)
                try:
                    index = server.append(entry, key=entry, channel=channel)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        self.wrong.append(error)
                    return
                self._note(entry, index)


@pytest.mark.slow
@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_nothing_acknowledged_is_lost_and_no_retry_is_stored_twice(
    serve: Callable[..., Any], make_log: Callable[..., Path], front: str
) -> None:
    log = make_log("killed")
    clients = Clients()
    for _ in range(KILLS):
        server = serve(log, MERKLELOG_SERVER__GRPC_FRONT=front).ready()
        workers = clients.run(server)
        wanted = len(clients.acknowledged) + 100
        while len(clients.acknowledged) < wanted and any(each.is_alive() for each in workers):
            time.sleep(0.002)
        server.process.kill()
        for worker in workers:
            worker.join(60)
        server.wait()
    assert len(clients.acknowledged) < WORKERS * EACH, "want it killed before all is stored"
    server = serve(log, MERKLELOG_SERVER__GRPC_FRONT=front).ready()
    for worker in clients.run(server):
        worker.join(60)
    assert clients.wrong == []
    assert len(clients.acknowledged) == WORKERS * EACH
    assert server.stop() == 0
    with merklelog.open_reader(log) as reader:
        stored = list(reader.entries(0, reader.size))
    assert len(stored) == len(set(stored)) == WORKERS * EACH
    assert all(stored[index] == entry for entry, index in clients.acknowledged.items())
