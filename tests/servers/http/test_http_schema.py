"""Schemathesis, a judge from outside, reads /openapi.json of a running server and tries to catch it in a lie.

It makes requests that the document allows and requests that it does not (types, bounds, missing and unknown
parameters, methods, bodies), and checks statuses, headers and bodies against the document.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merklelog.servers.openapi import OPERATIONS
from merklelog.tree import leaf_hash

HERE = Path(__file__).resolve().parent
EXAMPLES = 15


@pytest.mark.slow
def test_schemathesis_finds_the_document_true(start: Callable[..., Any], tmp_path: Path) -> None:
    server = start("schema", **{"log.lookup": True})
    connection = server.connect()
    for n in range(300):
        connection.request("POST", "/add", b"%d" % n)
        assert connection.getresponse().read() == b"%d\n" % n
    connection.close()
    settings = (HERE / "schemathesis.toml").read_text().replace("HASH_OF_ENTRY_7", leaf_hash(b"7").hex())
    (tmp_path / "schemathesis.toml").write_text(settings)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"),
            f"http://{server.host}:{server.port}/openapi.json",
            *("--checks", "all", "--max-examples", str(EXAMPLES), "--no-color", "--warnings", "off"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = run.stdout + run.stderr
    assert run.returncode == 0, told
    tested = re.search(r"Tested: (\d+)", told)
    assert tested is not None, told
    assert int(tested[1]) == len(OPERATIONS) - 1, told  # all but the document's own
    cases = re.search(r"(\d+) generated, .*passed", told)
    assert cases is not None, told
    assert int(cases[1]) > EXAMPLES * len(OPERATIONS), told
    assert server.ask("GET", "/healthz")[0] == 200
    assert "Traceback" not in (server.folder / "stderr").read_text()
    print(told)
