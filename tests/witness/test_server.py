"""A witness as a process: its doors, what it says over HTTP, reload, metrics, and its end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from merklelog.errors import ConfigError
from merklelog.formats import parse_note, verify_note
from merklelog.formats.note import format_note
from merklelog.formats.policy import format_policy, single_log_policy
from merklelog.formats.witness import checkpoint_path
from merklelog.servers.witness import WitnessServer
from merklelog.servers.witness_metrics import WITNESS_FAMILIES
from tests.witness.support import NAME, GrownLog, ask, keys_of, make_witness, served

LOG = GrownLog()
OTHER = GrownLog("other.example/log", seed=b"\x09")
ROOT = Path(__file__).resolve().parents[2]


def test_what_it_says_over_http(tmp_path: Path) -> None:
    directory = tmp_path / "w"
    vkeys = make_witness(directory, LOG)
    with served(directory) as witness:
        path = checkpoint_path(LOG.origin)
        assert path == f"/{hashlib.sha256(LOG.origin.encode()).hexdigest()}/checkpoint"
        assert witness.ask("GET", path).status == 404
        good = witness.add(LOG.request(0, 5))
        assert (good.status, good.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert good.headers["cache-control"] == "no-store"
        conflict = witness.add(LOG.request(3, 7))
        assert (conflict.status, conflict.body) == (409, b"5\n")
        assert conflict.headers["content-type"] == "text/x.tlog.size"
        statuses = {
            400: b"nothing",
            403: LOG.request(5, 7).replace(b"\xe2\x80\x94 grown", b"\xe2\x80\x94 grower"),
            404: OTHER.request(0, 7),
            422: LOG.request(5, 7).replace(b"old 5\n", b"old 5\n" + 43 * b"A" + b"=\n"),
            413: b"x" * (200 << 10),
        }
        for status, body in statuses.items():
            answer = witness.add(body)
            assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
            assert answer.body.endswith(b"\n")
        shown = witness.ask("GET", path)
        assert shown.status == 200
        note = parse_note(shown.body)
        assert note.text == LOG.note(5).partition(b"\n\n")[0] + b"\n"
        assert len(verify_note(note, [LOG.key.verifier, *vkeys])) == 3
        assert shown.body.endswith(good.body)
        assert format_note(note) == shown.body
        assert witness.ask("HEAD", path).body == b""
        assert witness.ask("PUT", path).headers["allow"] == "GET, HEAD"
        assert witness.ask("GET", "/add-checkpoint").headers["allow"] == "POST"
        for nothing in ("/", "/checkpoint", "/sign-subtree", path.upper(), f"{path}/", "/add-checkpoint/"):
            assert witness.ask("GET", nothing).status == 404
        assert witness.stop() == 0


def test_connections_are_kept_and_many_are_served_at_once(tmp_path: Path) -> None:
    logs = [GrownLog(f"grown.example/{number}") for number in range(20)]
    make_witness(tmp_path / "w", *logs)
    with served(tmp_path / "w") as witness:

        def grow(log: GrownLog) -> list[int]:
            connection = witness.connect()
            sizes = [0, 1, 2, 5, 9, 9, 30]
            bodies = [log.request(old, new) for old, new in pairwise(sizes)]
            statuses = [ask(connection, "POST", "/add-checkpoint", body).status for body in bodies]
            connection.close()
            return statuses

        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(grow, logs)) == [[200] * 6] * 20


def test_a_hundred_connections_race(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", LOG)
    with served(tmp_path / "w") as witness:
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(witness.add, [LOG.request(0, size) for size in range(1, 101)]))
        won = [size for size, answer in enumerate(answers, 1) if answer.status == 200]
        assert len(won) == 1
        assert {answer.body for answer in answers if answer.status == 409} == {b"%d\n" % won[0]}
        assert len([answer for answer in answers if answer.status == 409]) == 99


def test_a_reload_takes_in_logs_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    directory = tmp_path / "w"
    make_witness(directory, LOG)
    with served(directory) as witness:
        assert witness.add(OTHER.request(0, 4)).status == 404
        file = directory / "logs" / "other.policy"
        file.write_bytes(format_policy(single_log_policy([OTHER.key.verifier])))
        _reload(witness.popen.pid, witness.said, "SIGHUP: reloaded")
        assert witness.add(OTHER.request(0, 4)).status == 200
        file.write_text("log nonsense\n")
        _reload(witness.popen.pid, witness.said, "what was in force stays")
        assert witness.add(OTHER.request(4, 6)).status == 200
        assert "other.policy" in witness.said.read_text()


def _reload(pid: int, said: Path, want: str) -> None:
    before = said.read_text().count(want)
    os.kill(pid, signal.SIGHUP)
    end = time.monotonic() + 60
    while said.read_text().count(want) == before:
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.02)


def test_metrics_and_readiness(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", LOG, OTHER)
    with served(tmp_path / "w") as witness:
        assert [witness.add(LOG.request(0, size)).status for size in (5, 6)] == [200, 409]
        witness.ask("GET", checkpoint_path(LOG.origin))
        metrics = witness.ask("GET", "/metrics", admin=True).body.decode()
        for line in (
            "merklelog_witness_known_logs 2.0",
            "merklelog_witness_cosigned_logs 1.0",
            "merklelog_witness_ready 1.0",
            'merklelog_witness_requests_total{code="200",path="POST /add-checkpoint"} 1.0',
            'merklelog_witness_requests_total{code="409",path="POST /add-checkpoint"} 1.0',
            'merklelog_witness_request_seconds_count{path="GET /checkpoint"} 1.0',
        ):
            assert f"\n{line}\n" in metrics
        for name, _, _ in WITNESS_FAMILIES:
            assert name in metrics, name
        ready = witness.ask("GET", "/readyz", admin=True)
        assert (ready.status, ready.body) == (200, b"ready\n2 logs known, 1 cosigned\n")
        assert witness.ask("GET", "/livez", admin=True).status == 200
        assert witness.ask("GET", "/metrics").status == 404, "metrics are for the operator alone"


def test_the_page_lists_every_metric() -> None:
    page = (ROOT / "docs" / "witness.md").read_text()
    for name, kind, meaning in WITNESS_FAMILIES:
        assert f"| `{name}` | {kind} | {meaning} |" in page


@pytest.mark.parametrize("name", ["http", "admin"])
def test_it_does_not_listen_beyond_this_machine_unasked(tmp_path: Path, name: str) -> None:
    make_witness(tmp_path / "w", LOG)
    with pytest.raises(ConfigError, match=f"witness_server.{name} is 0.0.0.0:0"):
        WitnessServer(tmp_path / "w", {}, {f"witness_server.{name}": "0.0.0.0:0"})


def test_an_address_that_is_taken_is_said_and_the_database_is_let_go_of(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", LOG)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = {"witness_server.http": address, "witness_server.admin": ""}
        server = WitnessServer(tmp_path / "w", {}, options)
        with pytest.raises(Exception, match=address):
            asyncio.run(server.run())
    with served(tmp_path / "w") as witness:
        assert witness.add(LOG.request(0, 3)).status == 200


def test_half_a_request_and_a_client_that_leaves(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", LOG)
    with served(tmp_path / "w") as witness:
        host, _, port = witness.address.rpartition(":")
        body = LOG.request(0, 3)
        head = f"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        for part in (head, head + body[:20], head + body):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(part)
        answer = witness.add(LOG.request(0, 7))
        assert (answer.status, answer.body if answer.status == 409 else b"3\n") in {
            (200, b"3\n"),
            (409, b"3\n"),
        }


def test_the_name_is_in_what_it_says(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", LOG)
    with served(tmp_path / "w") as witness:
        assert f"name={NAME}" in witness.said.read_text()
        assert keys_of(tmp_path / "w")
