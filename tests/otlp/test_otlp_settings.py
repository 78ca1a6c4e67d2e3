"""Where OpenTelemetry's doors may be, and what a log's configuration may say of records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from merklelog.errors import ConfigError
from merklelog.log.config import parse_config
from merklelog.servers.guard import Guard
from merklelog.servers.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def guard(**settings: str) -> Guard:
    environment = {f"MERKLELOG_{name.upper()}": value for name, value in settings.items()}
    return Guard(load_settings(None, environment), environment)


@pytest.mark.parametrize("door", ["otlp_grpc", "otlp_http"])
def test_no_door_beyond_this_machine_without_tls(door: str) -> None:
    guard(**{f"server__{door}": "127.0.0.1:4317"}).admit([])
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:4317 can be reached from other machines"):
        guard(**{f"server__{door}": "0.0.0.0:4317"}).admit([])


def test_each_door_has_an_address_of_its_own() -> None:
    assert load_settings(None, {}).otlp_grpc == load_settings(None, {}).otlp_http == ""
    for door in ("grpc", "http", "admin", "otlp_grpc"):
        taken = {f"MERKLELOG_SERVER__{door.upper()}": "127.0.0.1:4318"}
        with pytest.raises(ConfigError, match=f"server.{door} has too"):
            load_settings(None, {**taken, "MERKLELOG_SERVER__OTLP_HTTP": "127.0.0.1:4318"})


def test_without_the_extra_it_is_named(tmp_path: Path) -> None:
    """A server that has no such door needs no package for one."""
    block = (
        "import sys; sys.modules['opentelemetry'] = None; from merklelog.cli import main; sys.exit(main())"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", block, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert run("init", str(tmp_path / "log"), "--origin", "extra.example/log").returncode == 0
    ports = [word for door in ("grpc", "http", "admin", "otlp-http") for word in (f"--{door}", "127.0.0.1:0")]
    done = run("serve", str(tmp_path / "log"), *ports)
    assert done.returncode == 2
    assert "need opentelemetry" in done.stderr
    assert "install merklelog[otlp]" in done.stderr


def test_what_a_log_says_of_records() -> None:
    head = '[log]\norigin = "x.example/a"\n[ingest]\n'
    assert parse_config(head + "dedupe_seconds = 60\n").ingest.dedupe_seconds == 60
    for wrong in ("dedupe_seconds = 86401", "check_content = 1", 'refuse = "all"', 'alert = ["a\\u0000"]'):
        with pytest.raises(ConfigError, match=r"merklelog\.toml:4: ingest"):
            parse_config(head + wrong)
