"""The README's audit events: its section is typed, against a server of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import merklelog

from .serving import ROOT, free_port

SECTION = (ROOT / "README.md").read_text("utf-8").partition("\n## Audit events\n")[2].partition("\n## ")[0]
BEFORE = "merklelog init trail --origin example.com/trail > keys\nsleep 600 & SERVER=$!\n"
SECONDS = 120


def test_the_section_is_typed_and_ends_in_a_proof(tmp_path: Path) -> None:
    lines = ["set -eu -o pipefail", "trap 'kill $SERVER 2> /dev/null || true' EXIT", BEFORE]
    blocks = re.findall(r"```(sh|python)\n(.*?)```", SECTION, re.DOTALL)
    assert [language for language, _ in blocks] == ["sh", "python", "sh"]
    for number, (language, text) in enumerate(blocks):
        if language == "python":
            (tmp_path / f"block{number}.py").write_text(text)
            text = f"python block{number}.py\n"
        lines.append(text)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("merklelog", "-m merklelog"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    ports = {port: str(free_port()) for port in ("4317", "4318", "7070", "7080", "7090")}
    code = "\n".join(lines)
    for port, ours in ports.items():
        code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
        for path in tmp_path.glob("block*.py"):
            path.write_text(path.read_text().replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}"))
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "MERKLELOG_STORE__MIN_FREE_BYTES": "0",
        **{
            f"MERKLELOG_SERVER__{door}": f"127.0.0.1:{ports[port]}"
            for door, port in (("GRPC", "7070"), ("HTTP", "7080"), ("ADMIN", "7090"))
        },
    }
    with (tmp_path / "told").open("w+") as told:
        done = subprocess.run(
            ["bash", "-c", code],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            timeout=SECONDS,
            check=False,
        )
        told.seek(0)
        text = told.read()
    assert done.returncode == 0, text
    assert "actor=ada action=invoice.delete resource=invoice/7" in text
    assert "every hit proven" in text
    assert "proven: example.com/trail at size 1, entries 0:1: records 1 (ok 1, mismatch 0" in text
    with merklelog.open_reader(tmp_path / "trail") as reader:
        assert reader.size == 1
