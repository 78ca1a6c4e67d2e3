"""docs/producer.md: every Python example runs, against a server; the table of options is the real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import merklelog
from merklelog.client import ProducerOptions
from merklelog.formats import format_vkey, parse_proof, single_log_policy
from merklelog.protocol import verify_proof_file
from merklelog.tree import leaf_hash

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "producer.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SECONDS = 60


def test_every_example_runs(tmp_path: Path) -> None:
    assert len(EXAMPLES) == 5
    keys = merklelog.create_log(tmp_path / "log", "page.example/log", settings={"store.min_free_bytes": 0})
    (tmp_path / "trail.vkeys").write_text("".join(f"{format_vkey(key)}\n" for key in keys))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runner = [sys.executable, str(ROOT / "tests" / "servers" / "grpc_server.py"), str(tmp_path / "log")]
    server = subprocess.Popen(runner, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        printed = []
        for example in EXAMPLES:
            code = example.replace("127.0.0.1:7070", f"127.0.0.1:{port}")
            assert code != example
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), example
            printed.append(done.stdout)
    finally:
        server.terminate()
        server.communicate(timeout=SECONDS)
    assert printed == ["", "10000\n", "stored at 10001\n", "10101\n", ""]
    proof = parse_proof((tmp_path / "measurement-42.tlog-proof").read_bytes())
    assert verify_proof_file(proof, leaf_hash(b"measurement 42"), single_log_policy(keys)).index == 42
    with merklelog.open_reader(tmp_path / "log") as log:
        assert log.size == 10_103
        assert b'"message":"order 7 was refunded"' in log.entry(10_102)


@pytest.mark.parametrize("field", fields(ProducerOptions), ids=lambda field: field.name)
def test_the_options_are_those_of_the_page(field: object) -> None:
    name, default = field.name, field.default  # type: ignore[attr-defined]
    if name == "stop_on_error":
        assert f"`{name}=True`" in PAGE
        assert default is False
        return
    shown = re.search(rf"(?m)^    {name}=([^, ]+(?: << \d+)?),", PAGE)
    assert shown is not None, name
    assert eval(shown[1]) == default
