"""docs/service.md is a session that works: its commands run here, in order, against servers of their own."""

from __future__ import annotations

import base64
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

from merklelog.client import AsyncClient, Client
from merklelog.client.connecting import Connecting
from merklelog.formats import parse_proof
from merklelog.servers import handlers
from merklelog.servers.exposure import WITHOUT_TLS, WITHOUT_TOKENS
from merklelog.servers.openapi import OPERATIONS
from merklelog.servers.problems import INTERNAL, TABLE
from merklelog.servers.settings import load_settings
from merklelog.tree import leaf_hash

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")
PORTS = ("7070", "7080", "7090")
METHODS = {method.path.rpartition("/")[2] for method in handlers.METHODS}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STOP = "trap 'kill -9 \"$SERVER\" 2>/dev/null || true' EXIT"


def free_ports(count: int) -> list[str]:
    """Ports that nobody had a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def script(folder: Path, page: str) -> str:
    """Every block of a page that runs, as one script on free ports; a line with its number before each output."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    lines = ["set -euo pipefail", "SERVER=0", STOP]
    for number, (language, text) in enumerate(BLOCK.findall(page)):
        for old, new in ports.items():
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
        if language == "python":
            (folder / f"block{number}.py").write_text(text)
            text = f"python block{number}.py\n"
        elif language != "sh":
            continue
        options = "".join(
            f" --{door} 127.0.0.1:{ports[old]}"
            for door, old in zip(("grpc", "http", "admin"), PORTS, strict=True)
        )
        text = text.replace("merklelog serve trail &", f"merklelog serve trail{options} &")
        lines += [f"echo; echo '<<{number}>>'", text]
    return "\n".join(lines)


def run(folder: Path, page: str) -> list[str]:
    """Run a page's session in a folder; gives what each block printed, in order."""
    if shutil.which("curl") is None:
        pytest.skip("the page's session needs curl")
    tools = folder / "bin"
    tools.mkdir()
    for name, words in (("merklelog", "-m merklelog"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "MERKLELOG_STORE__MIN_FREE_BYTES": "0",
    }
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        running = subprocess.Popen(
            ["bash", "-c", script(folder, page)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
        )
        try:
            status = running.wait(300)
        finally:
            end_group(running.pid)
    told = (folder / "out").read_text()
    assert status == 0, f"{told}\n{(folder / 'err').read_text()}"
    return re.split(r"\n<<\d+>>\n", told)[1:]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder after the whole session, and what each block printed, in order."""
    folder = tmp_path_factory.mktemp("session")
    return folder, run(folder, PAGE)


def end_group(group: int) -> None:
    """End what the session left behind, which is nothing when it went well."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_the_session_prints_what_it_says(session: tuple[Path, list[str]]) -> None:
    folder, printed = session
    assert len(printed) == len([each for each in BLOCK.findall(PAGE) if each[0] in {"sh", "python"}])
    whole = "\n".join(printed)
    assert printed[0].endswith("ok\n")
    assert printed[1].startswith('0\n1\n1\n{"actor":"ada","action":"login"}\nexample.com/trail\n2\n')
    assert printed[3].startswith("2 b'{")
    assert "b'over HTTP'" in printed[4]
    assert printed[5] == "10003\n"
    stranger = json.loads(printed[6])
    assert stranger["entry"]["index"] == "10004"
    leaf = stranger["entry"]["leafHash"]
    assert base64.b64decode(leaf) == leaf_hash(b"from a stranger")
    assert parse_proof((folder / "logout.tlog-proof").read_bytes()).index == 2
    assert '"start":0,"end":2' in printed[7]
    assert "id: 0\n" in printed[7]
    assert "collector" in printed[9]
    assert json.loads(printed[10])["field"] == "index"
    assert "rollback protection: none" in printed[11]
    assert int(printed[11].splitlines()[-1]) > 20
    assert "Traceback" not in whole + (folder / "err").read_text()


def test_the_service_of_the_readme(tmp_path: Path) -> None:
    before = (
        "```sh\nmerklelog init trail --origin example.com/trail\nmerklelog vkey trail > trail.vkeys\n```\n"
    )
    after = '```sh\nkill "$SERVER" && wait "$SERVER"\n```\n'
    section = (ROOT / "README.md").read_text("utf-8").partition("## As a service")[2].partition("\n## ")[0]
    _, shell, python, _ = run(tmp_path, before + section + after)
    assert shell == "ok\n0\norder 17"
    assert python == ""
    assert parse_proof((tmp_path / "first.tlog-proof").read_bytes()).index == 0
    assert parse_proof((tmp_path / "logout.tlog-proof").read_bytes()).index == 1


def test_its_token_is_in_the_admin_log_and_nowhere_in_clear(session: tuple[Path, list[str]]) -> None:
    folder, _ = session
    lines = [json.loads(line) for line in (folder / "trail" / "admin.jsonl").read_text().splitlines()]
    assert any("collector" in json.dumps(line) for line in lines)


def test_the_example_configuration_is_one(tmp_path: Path) -> None:
    (text,) = [text for language, text in BLOCK.findall(PAGE) if language == "toml"]
    (tmp_path / "server.toml").write_text(text)
    settings = load_settings(tmp_path / "server.toml", {})
    assert settings.grpc == "0.0.0.0:7070"
    assert settings.tls is not None
    assert settings.tls.certificate == tmp_path / "server.pem"
    reference = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert WITHOUT_TLS in reference
    assert WITHOUT_TOKENS in reference


def test_every_path_and_method_is_named() -> None:
    words = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
    for operation in OPERATIONS:
        assert f"/{operation.path}" in words, operation.path
    for method in handlers.METHODS:
        assert method.path.rpartition("/")[2] in words, method.path


def test_every_method_and_option_of_a_client_is_named() -> None:
    rows = re.findall(r"^\| ((?:`\w+` ?)+) \| ", PAGE, re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`(\w+)`", row)]
    for kind in (Client, AsyncClient):
        assert {name for name in vars(kind) if not name.startswith("_")} <= set(words)
    assert set(Connecting.__annotations__) <= set(words)
    assert (
        set(words) <= {*vars(Client), *Connecting.__annotations__, *(row.reason for row in TABLE)} | METHODS
    )


def test_every_refusal_is_named_as_it_is() -> None:
    rows = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| (\d+) \| (\w+) \| ", PAGE, re.MULTILINE)
    told = {
        (reason, int(status), code)
        for reasons, status, code in rows
        for reason in re.findall("[A-Z_]+", reasons)
    }
    assert told == {(row.reason, row.http, row.code.name) for row in TABLE}
    assert INTERNAL.reason not in PAGE
