"""docs/otlp.md: its session works, and its tables are the code's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from merklelog.servers.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "otlp.md").read_text("utf-8")
SERVE = "merklelog serve trail"


def test_the_session(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the page's session needs curl")
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
    ports = {
        old: str(each.getsockname()[1])
        for old, each in zip((4317, 4318, 7070, 7080, 7090), held, strict=True)
    }
    for each in held:
        each.close()
    text = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE))
    assert text.count(SERVE) == 1
    more = " ".join(
        f"--{name} 127.0.0.1:{at}" for name, at in (("grpc", 7070), ("http", 7080), ("admin", 7090))
    )
    text = text.replace(SERVE, f"{SERVE} {more}")
    for old, new in ports.items():
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    tool = tmp_path / "merklelog"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m merklelog "$@"\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        running = subprocess.Popen(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env={**environment, "MERKLELOG_STORE__MIN_FREE_BYTES": "0"},
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            assert running.wait(300) == 0, (tmp_path / "err").read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):  # it ended before the server was there
                os.killpg(running.pid, signal.SIGKILL)
    told = (tmp_path / "out").read_text()
    assert "\n{}{" in told
    entry = json.loads((tmp_path / "event.json").read_text())
    assert entry["record"]["body"] == {"stringValue": "alice deleted invoice 17"}
    assert "submitter" not in entry["log"]


def test_the_metrics() -> None:
    listed = set(re.findall(r"^\| `(merklelog_ingest_\w+)` \|", PAGE, re.MULTILINE))
    assert listed == {each.name for each in FAMILIES if each.name.startswith("merklelog_ingest_")}
