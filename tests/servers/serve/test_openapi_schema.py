"""Schemathesis, a judge from outside, reads /openapi.json of a running server and tries to catch it in a lie.

It makes requests that the document allows and requests that it does not (types, bounds, missing and unknown
parameters, methods, bodies), and checks statuses, headers and bodies against the document.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.servers.caller import Scope
from merklelog.servers.openapi import OPERATIONS
from merklelog.servers.tokens import change_tokens, make_token
from merklelog.tree import leaf_hash

HERE = Path(__file__).resolve().parent
EXAMPLES = 10


def fill(log: Path) -> None:
    with merklelog.open(log) as opened:
        opened.append_batch([b"%d" % n for n in range(300)])


def add_token(log: Path) -> str:
    kept, shown = make_token("judge", (Scope.APPEND, Scope.READ), int(time.time()))
    change_tokens(log, lambda tokens: (*tokens, kept), lambda tokens: None)
    assert shown is not None
    return shown


def judge(server: Any, folder: Path, *options: str) -> str:
    """What schemathesis says of the server. Fails unless it tried everything and found nothing."""
    settings = (HERE / "schemathesis.toml").read_text().replace("HASH_OF_ENTRY_7", leaf_hash(b"7").hex())
    (folder / "schemathesis.toml").write_text(settings)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"),
            f"http://{server.addresses['http']}/openapi.json",
            *("--checks", "all", "--max-examples", str(EXAMPLES), "--no-color", "--warnings", "off"),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = run.stdout + run.stderr
    assert run.returncode == 0, told
    tested, cases = re.search(r"Tested: (\d+)", told), re.search(r"(\d+) generated, .*passed", told)
    assert tested is not None, told
    assert cases is not None, told
    assert int(tested[1]) == len(OPERATIONS) - 1, told  # all but the document's own
    assert int(cases[1]) > EXAMPLES * len(OPERATIONS), told
    return told


@pytest.mark.slow
def test_the_document_of_an_open_log_is_true(
    serve: Callable[..., Any], make_log: Callable[..., Path], tmp_path: Path
) -> None:
    log = make_log("open", log__lookup=True)
    fill(log)
    server = serve(log).ready()
    told = judge(server, tmp_path)
    assert server.ask("GET", "/healthz")[0] == 200
    assert "Traceback" not in "".join(server.raw), told
    assert server.stop() == 0
    with merklelog.open_reader(log) as reader:
        assert reader.size > 300, "what it appended is there"


@pytest.mark.slow
def test_the_document_of_guarded_logs_on_one_port_with_grpc_is_true(
    serve: Callable[..., Any], make_log: Callable[..., Path], tmp_path: Path
) -> None:
    one, two = make_log("one", log__lookup=True), make_log("two")
    for log in (one, two):
        fill(log)
    token = add_token(one)
    add_token(two)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
    places = ("--grpc", address, "--http", address, one, two)
    server = serve(*places, MERKLELOG_SERVER__GRPC_FRONT="native").ready()
    server.addresses["http"] = address
    told = judge(server, tmp_path, "--header", f"Authorization: Bearer {token}")
    assert server.ask("GET", "/two/checkpoint")[0] == 401
    assert "Traceback" not in "".join(server.raw), told
    assert server.stop() == 0
