"""One log behind every kind of target, for tests of clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import Client, published_directory
from merklelog.client.retry import Retry
from merklelog.formats import VerifierKey
from merklelog.publish import publish_copy

ENTRIES = [b"event %d" % i for i in range(700)]
QUICK = Retry(total=60, attempt=30, first=0.01, most=0.1)
KINDS = ("grpc", "http", "dir", "copy")


def create(path: Path, origin: str, entries: list[bytes], **settings: Any) -> tuple[VerifierKey, ...]:
    keys = merklelog.create_log(path, origin, settings={"store.min_free_bytes": 0, **settings})
    if entries:
        with merklelog.open(path) as log:
            log.append_batch(entries)
    return keys


def publish(path: Path, copy: Path) -> None:
    with merklelog.open_reader(path) as reader:
        publish_copy(reader, published_directory(f"dir:{copy}"), verifiers=reader.vkeys)


class Logs:
    """One history of 700 entries, behind every kind of target."""

    def __init__(self, folder: Path, start_http: Callable[..., Any], start_grpc: Callable[..., Any]) -> None:
        path = folder / "log"
        self.keys = create(path, "connect.example/log", ENTRIES[:300])
        publish(path, folder / "copy")
        time.sleep(1.1)  # about one checkpoint a second stays
        with merklelog.open(path) as log:
            log.append_batch(ENTRIES[300:])
        publish(path, folder / "copy")
        with merklelog.open_reader(path) as reader:
            self.note = reader.checkpoint()
        self.targets = {"dir": str(path), "copy": f"dir:{folder}/copy"}
        for kind, start in (("http", start_http), ("grpc", start_grpc)):
            # A log has one writer, so each server has the same history in a directory of its own.
            twin = folder / kind
            with merklelog.open_reader(path) as reader:
                backup(reader, twin)
            self.targets[kind] = start(twin).url


def backup(reader: merklelog.LogReader, place: Path) -> None:
    from merklelog.log.backup import backup as make

    make(reader.path, place)
    for key in (reader.path / "keys").iterdir():
        (place / "keys").mkdir(exist_ok=True, mode=0o700)
        copy = place / "keys" / key.name
        copy.touch(0o600)
        copy.write_bytes(key.read_bytes())


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, start_http: Callable[..., Any], start_grpc: Callable[..., Any]
) -> Logs:
    return Logs(tmp_path_factory.mktemp("served"), start_http, start_grpc)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, served: Logs) -> Iterator[Client]:
    with merklelog.connect(served.targets[request.param], served.keys, retry=QUICK) as made:
        yield made
