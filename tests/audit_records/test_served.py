"""Audit records at a real server: both ports, its death, and from an answer to a proof verified offline."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.formats import format_vkey, parse_proof
from merklelog.formats.receipt import is_receipt
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token
from tests.audit_records.conftest import JSON, event, request
from tests.ingest.real_events import cloudtrail_events
from tests.support.otlp_server import Receiver

ORIGIN = "audit.example/served"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log `log` that is published into `target`."""
    path = tmp_path_factory.mktemp("served")
    settings: dict[str, Any] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{path / 'target'}",),
        "publish.interval": 0.1,
    }
    merklelog.create_log(path / "log", ORIGIN, settings=settings)
    return path


@pytest.fixture(scope="module")
def receiver(folder: Path) -> Iterator[Receiver]:
    started = Receiver(folder / "log").start()
    yield started
    started.stop()


def post(receiver: Receiver, data: bytes, door: str = "http", **headers: str) -> tuple[int, dict[str, Any]]:
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    status, body, _ = receiver.ask("POST", "/v1/audit", data, sent, door=door)
    return status, json.loads(body)


def command(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_ports_are_one_log(receiver: Receiver) -> None:
    status, first = post(receiver, request(event("both", "x")))
    assert (status, first["level"]) == (200, "integrated")
    status, again = post(receiver, request(event("both", "x")), door="otlp_http")
    assert (status, again["index"], again["duplicate"]) == (200, first["index"], True)
    status, other = post(receiver, request(event("both", "y")), door="otlp_http", merklelog_log=ORIGIN)
    assert (status, other["conflict_with"]) == (409, first["index"])
    got, _, headers = receiver.ask("GET", "/v1/audit", door="otlp_http")
    assert (got, headers["allow"]) == (405, "POST")
    status, refused = post(receiver, request(event("no")), door="otlp_http", merklelog_log="other.example")
    assert (status, refused["status"]) == (401, "rejected_authz")


def test_an_answer_becomes_a_proof(receiver: Receiver, folder: Path) -> None:
    status, told = post(receiver, request(event("proof", "x")))
    assert status == 200
    assert is_receipt(parse_proof(told["receipt"].encode()).checkpoint)
    assert told["epoch"] >= 1
    answer = folder / "answer.json"
    answer.write_text(json.dumps(told))
    vkeys = command("vkey", folder / "log").splitlines()
    trust = ("--vkey", vkeys[0], "--vkey", vkeys[2])
    shown = command("receipt", "upgrade", answer, "--from", f"dir:{folder / 'target'}", *trust)
    proof = folder / "answer.tlog-proof"
    assert shown.startswith(f"{proof}: entry {told['index']}, under the published checkpoint of size ")
    (folder / "entry").write_bytes(receiver_entry(folder, told["index"]))
    verified = command("verify", proof, "--entry", folder / "entry", "--vkey", vkeys[0])
    assert verified.startswith(f"proven: entry {told['index']}")
    assert json.loads(answer.read_text()) == told


def receiver_entry(folder: Path, index: int) -> bytes:
    with merklelog.open_reader(folder / "log") as reader:
        return reader.entry(index)


def test_of_an_answer_for_several_the_record_is_named(receiver: Receiver, folder: Path) -> None:
    status, told = post(receiver, request(event("one"), event("two")))
    assert status == 200
    answer = folder / "several.json"
    answer.write_text(json.dumps(told))
    words = ("receipt", "upgrade", answer, "--from", folder / "log")
    shown = command(*words, "--record", "two", "-o", folder / "two.tlog-proof")
    assert f"entry {told['record_status_map']['two']['index']}," in shown
    unclear = subprocess.run(
        [sys.executable, "-m", "merklelog", *map(str, words)], capture_output=True, text=True
    )
    assert unclear.returncode == 1
    assert "2 records, say which by its ID: one, two" in unclear.stderr


def test_publication_can_be_waited_for(receiver: Receiver) -> None:
    status, told = post(receiver, request(event("waited")), merklelog_wait="published")
    assert (status, told["level"], told.get("epoch")) == (200, "published", None)
    assert not is_receipt(parse_proof(told["receipt"].encode()).checkpoint)


def test_every_real_event_once_though_the_server_dies(receiver: Receiver) -> None:
    """Records go in, over and over, while it is killed twice; at the end each has one entry."""
    rows = [(f"ct-{n}", text) for n, text in enumerate(cloudtrail_events())]
    batches = [
        request(*(event(name, text) for name, text in rows[at : at + 10])) for at in range(0, len(rows), 10)
    ]
    before = receiver.size()
    indexes: dict[str, int] = {}

    def send_all() -> None:
        for data in batches:
            for _ in range(1000):
                try:
                    status, told = post(receiver, data, door="otlp_http")
                except (OSError, ValueError):
                    time.sleep(0.05)  # it was killed: a sender tries again
                    continue
                if status == 200:
                    break
                assert status in {429, 503}, told
                time.sleep(0.05)
            else:
                raise AssertionError(f"never taken: {told}")
            for name, each in told["record_status_map"].items():
                assert indexes.setdefault(name, each["index"]) == each["index"]

    for _ in range(2):
        sender = threading.Thread(target=send_all)
        sender.start()
        while not indexes:
            time.sleep(0.01)
        receiver.kill()
        receiver.start()
        sender.join()
    assert sorted(indexes) == sorted(name for name, _ in rows)
    assert len(set(indexes.values())) == len(rows)
    assert post(receiver, batches[-1], merklelog_wait="published")[0] == 200
    assert receiver.size() == before + len(rows)


def test_a_log_without_the_key_of_what_it_protects_is_not_served(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"store.min_free_bytes": 0, "ingest.protect.hmac": ("user.email",)}
    merklelog.create_log(tmp_path / "log", ORIGIN, settings={**settings, "ingest.protect.key": "protect.key"})
    words = [sys.executable, "-m", "merklelog", "serve", str(tmp_path / "log"), "--http", "127.0.0.1:0"]
    done = subprocess.run([*words, "--grpc", "", "--admin", ""], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{tmp_path / 'log' / 'protect.key'}: the key of [ingest.protect] can not be read" in done.stderr


def add_token(log: Path) -> str:
    kept, shown = make_token("sdk", (Scope.APPEND,), 1_700_000_000)
    change_tokens(log, lambda tokens: (*tokens, kept), lambda tokens: None)
    assert shown is not None
    return shown


def test_a_token_decides_who_may_and_for_which_log(tmp_path: Path) -> None:
    secrets = {}
    for name in ("a", "b"):
        merklelog.create_log(tmp_path / name, f"audit.example/{name}", settings={"store.min_free_bytes": 0})
        secrets[name] = add_token(tmp_path / name)
    receiver = Receiver(tmp_path / "a", tmp_path / "b").start()
    try:
        data = request(event("r"))
        for name, token in secrets.items():
            status, told = post(receiver, data, door="otlp_http", authorization=f"Bearer {token}")
            assert (status, told["sink_status_map"]) == (200, {f"audit.example/{name}": "success"})
        sent = JSON | {"authorization": f"Bearer {secrets['a']}"}
        assert receiver.ask("POST", "/a/v1/audit", data, sent)[0] == 200
        status, body, headers = receiver.ask("POST", "/b/v1/audit", data, sent)
        assert (status, json.loads(body)["status"]) == (403, "rejected_authz")
        for door, path in (("otlp_http", "/v1/audit"), ("http", "/a/v1/audit")):
            status, body, headers = receiver.ask("POST", path, data, JSON, door=door)
            assert (status, json.loads(body)["status"]) == (401, "rejected_authz")
            assert headers["www-authenticate"].startswith("Bearer")
    finally:
        receiver.stop()
    vkey = format_vkey(merklelog.open_reader(tmp_path / "a").vkeys[0])
    assert vkey.startswith("audit.example/a+")
