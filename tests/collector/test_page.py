"""docs/collector.md's session works as it stands, from real events to a proof, with other ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support import collector_program
from tests.support.collector import free_port
from tests.support.programs import ROOT, SECONDS

PAGE = (ROOT / "docs" / "collector.md").read_text("utf-8")


def test_from_real_events_to_a_proof(collector: None, tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE)
    assert len(blocks) == 1
    text = blocks[0]
    for port in ("14317", "14318", "4317"):
        assert f":{port}" in text
        text = text.replace(f":{port}", f":{free_port()}")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "merklelog": f'"{sys.executable}" -m merklelog',
        "python": f'"{sys.executable}"',
        "otelcol": str(collector_program.program()),
    }
    for name, words in programs.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MERKLELOG_STORE__MIN_FREE_BYTES": "0",
        **{f"MERKLELOG_SERVER__{door}": "127.0.0.1:0" for door in ("GRPC", "HTTP", "ADMIN")},
        "COLLECTOR_METRICS_PORT": str(free_port()),
    }
    with (tmp_path / "out").open("w") as out:
        script = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"{text}\nwait"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            status = script.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
    told = (tmp_path / "out").read_text()
    assert status == 0, told
    assert "103 events sent" in told
    entry = json.loads((tmp_path / "event.json").read_bytes())
    assert entry["log"]["submitter"] == "collector"
    event = json.loads(entry["record"]["body"]["stringValue"])
    assert event["eventName"] in (ROOT / "tools" / "sample" / "cloudtrail.jsonl").read_text()
