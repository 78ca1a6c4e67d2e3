"""Clients and a producer before a real log with a publish target: receipts, publications, a killed server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client import ProducerOptions, open_producer
from merklelog.client.retry import Retry
from merklelog.formats import VerifierKey, parse_proof, single_log_policy
from merklelog.formats.receipt import is_receipt
from merklelog.log import Receipt
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash

ORIGIN = "published.example/log"
SECONDS = 60
PATIENT = Retry(total=60, attempt=30, first=0.01, most=0.1)


def create(place: Path) -> tuple[VerifierKey, ...]:
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "publish.targets": [f"dir:{place / 'target'}"],
        "publish.interval": 0.1,
    }
    return merklelog.create_log(place / "log", ORIGIN, settings=settings)


def proves(keys: tuple[VerifierKey, ...], receipt: Receipt, entry: bytes) -> bool:
    verdict = verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), single_log_policy(keys))
    return bool(verdict.index == receipt.index)


@pytest.fixture(params=["grpc", "dir"])
def target(request: pytest.FixtureRequest, tmp_path: Path, start_grpc: Callable[..., Any]) -> Iterator[Any]:
    keys = create(tmp_path)
    if request.param == "grpc":
        server = start_grpc(tmp_path / "log")
        yield server.url, keys
        server.kill()
    else:
        yield tmp_path / "log", keys


def test_receipts_lead_to_what_is_published(target: Any, tmp_path: Path) -> None:
    where, keys = target
    with merklelog.connect(where, keys, state=tmp_path / "state", retry=PATIENT) as client:
        first = client.append(b"one")
        assert first.epoch == 1
        assert is_receipt(first.note)
        assert proves(keys, first.upgrade(), b"one")
        batch = client.append_batch([b"a", b"b"])
        assert batch.epoch == 1
        assert [proves(keys, each.upgrade(), entry) for each, entry in zip(batch, (b"a", b"b"), strict=True)]
        assert proves(keys, client.append(b"x", wait="published"), b"x")
        both = client.append_batch([b"c", b"d"], wait="published")
        assert both.epoch is None
        assert client.append(b"last").epoch == 1
        assert client.trusted is not None
        assert (tmp_path / "state").read_bytes() == client.trusted.note
    with merklelog.connect(where, keys[:2], retry=PATIENT) as client:  # without the receipt key
        assert proves(keys, client.append(b"waited for"), b"waited for")


def test_a_saved_receipt_is_upgraded_from_the_target(target: Any, tmp_path: Path) -> None:
    where, keys = target
    with merklelog.connect(where, keys, retry=PATIENT) as client:
        saved = client.append(b"one").to_bytes()
        client.append(b"two", wait="published")
    with merklelog.connect(f"dir:{tmp_path / 'target'}", keys, retry=PATIENT) as client:
        assert proves(keys, client.upgrade(saved), b"one")


def test_a_receipt_of_an_epoch_that_is_over_is_upgraded_where_nothing_was_lost(tmp_path: Path) -> None:
    keys = create(tmp_path)
    with merklelog.open(tmp_path / "log") as log:
        receipt = log.append(b"one")
        saved = receipt.to_bytes()
        assert proves(keys, receipt.upgrade(), b"one")
    with merklelog.connect(tmp_path / "log", keys, retry=PATIENT) as client:
        assert client.append(b"two").epoch == 2
        for entry in (b"one", None):
            assert proves(keys, client.upgrade(saved, entry), b"one")


def test_a_producer_and_a_server_that_is_killed(tmp_path: Path, start_grpc: Callable[..., Any]) -> None:
    keys = create(tmp_path)
    options = ProducerOptions(max_batch_entries=50, outbox=tmp_path / "box")
    server = start_grpc(tmp_path / "log")
    port = server.url.rpartition(":")[2]
    entries = [b"entry %d" % number for number in range(600)]
    with open_producer(server.url, keys, replace(options, max_in_flight=2)) as to:
        sent = [to.send(entry) for entry in entries[:300]]
        sent[150].result(SECONDS)
        server.kill()
        sent += [to.send(entry) for entry in entries[300:]]
        start_grpc(tmp_path / "log", "--port", port)
        receipts = [each.published(SECONDS) for each in sent]
    for receipt, entry in zip(receipts, entries, strict=True):
        assert proves(keys, receipt, entry)
    with merklelog.open_reader(tmp_path / "log") as reader:
        assert list(reader.entries(0, reader.size)) == entries
    assert not list((tmp_path / "box").glob("*.batch"))
