"""The units of tools/deploy/systemd: what systemd says of them, and a real server under their filters."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from confined import service, system_calls
from served import DEPLOY, Served

from merklelog.servers.settings import load_settings
from merklelog.v1 import log_pb2 as pb

UNITS = DEPLOY / "systemd"
SERVER = UNITS / "merklelog@.service"
NAMES = sorted(path.name for path in UNITS.glob("*@.*"))
# The most that `systemd-analyze security` may find wrong, of 100.
EXPOSURE = {"merklelog@.service": 14, "merklelog-publish@.service": 9, "merklelog-backup@.service": 9}
CONFINED = (sys.executable, Path(__file__).with_name("confined.py"))

Need = Callable[[bool, str], None]
Serve = Callable[..., Served]


def linux_with_systemd(need: Need) -> None:
    need(sys.platform == "linux" and shutil.which("systemd-analyze") is not None, "systemd-analyze")


@pytest.fixture
def instances(tmp_path: Path, need: Need) -> Path:
    """The units as instances for the log "trail", with a program that is there in the place of merklelog."""
    linux_with_systemd(need)
    folder = tmp_path / "units"
    folder.mkdir()
    program = shutil.which("true") or ""
    for name in NAMES:
        text = (UNITS / name).read_text("utf-8").replace("/opt/merklelog/bin/merklelog", program)
        (folder / name.replace("@", "@trail")).write_text(text, "utf-8")
    return folder


def test_systemd_finds_nothing_wrong(instances: Path) -> None:
    units = sorted(instances.iterdir())
    assert len(units) == 5
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_find_a_mistake(instances: Path) -> None:
    unit = instances / "merklelog@trail.service"
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "NoNewPrivilege" in done.stderr


@pytest.mark.parametrize("name", EXPOSURE)
def test_little_is_exposed(name: str, instances: Path) -> None:
    unit = instances / name.replace("@", "@trail")
    command = [
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=true",
        f"--threshold={EXPOSURE[name]}",
        unit,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_server_promises_is_what_the_unit_counts_on() -> None:
    unit = service(SERVER)
    drain = load_settings(None, {}).drain_seconds
    assert int(unit["TimeoutStopSec"][0]) > drain + 10
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/sh -c 'kill -HUP \"$MAINPID\"'"]
    assert unit["LoadCredential"] == [
        f"{name}:/etc/merklelog/%i/keys/{name}" for name in ("ed25519.key", "mldsa44.key", "receipt.key")
    ]
    assert unit["Environment"] == ["MERKLELOG_LOG__KEYS=%d"]
    for name in NAMES:
        if name.endswith(".service"):
            allowed = service(UNITS / name)
            assert allowed["ProtectSystem"] == ["strict"]
            assert allowed["NoNewPrivileges"] == allowed["MemoryDenyWriteExecute"] == ["yes"]
            assert allowed["CapabilityBoundingSet"] == [""]


def test_timers_start_what_is_there() -> None:
    for timer in UNITS.glob("*.timer"):
        assert timer.with_suffix(".service").is_file()
        assert re.search(r"(?m)^WantedBy=timers\.target$", timer.read_text("utf-8"))


def test_the_server_serves_under_the_filters_of_its_unit(
    log_directory: Path, tmp_path: Path, serve: Serve, need: Need
) -> None:
    linux_with_systemd(need)
    keys = tmp_path / "credentials"
    (log_directory / "keys").rename(keys)
    for key in keys.iterdir():
        key.chmod(0o400)
    server = serve(log_directory, before=(*CONFINED, SERVER), MERKLELOG_LOG__KEYS=str(keys))
    assert server.get("/add", body=b"over HTTP") == b"10\n"
    request = pb.AppendRequest(entry=pb.NewEntry(data=b"over gRPC"))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        append = channel.unary_unary(
            "/merklelog.v1.LogService/Append",
            pb.AppendRequest.SerializeToString,
            pb.AppendResponse.FromString,
        )
        assert append(request, timeout=60).entry.index == 11
    assert b"merklelog_log_size_entries" in server.get("/metrics", server.admin)
    assert server.stop() == 0
    assert "STOPPING=1" in server.hear()
    said = server.log.read_text()
    assert not re.search("Operation not permitted|EPERM|error", said), said


@pytest.mark.parametrize("unit", ["merklelog-publish@.service", "merklelog-backup@.service"])
def test_its_helpers_work_under_theirs(unit: str, log_directory: Path, tmp_path: Path, need: Need) -> None:
    linux_with_systemd(need)
    program = [*map(str, CONFINED), str(UNITS / unit), sys.executable, "-m", "merklelog"]
    arguments = {
        "merklelog-publish@.service": ["publish", log_directory, "--to", f"dir:{tmp_path / 'copy'}"],
        "merklelog-backup@.service": ["backup", log_directory, tmp_path / "backup"],
    }
    done = subprocess.run([*program, *map(str, arguments[unit])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_filters_do_refuse(tmp_path: Path, need: Need) -> None:
    linux_with_systemd(need)
    code = (
        "import mmap, os, socket\n"
        "for call in (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), lambda: os.setuid(0),\n"
        "        lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC), lambda: os.nice(1)):\n"
        "    try:\n"
        "        call()\n"
        "        raise SystemExit('not refused')\n"
        "    except PermissionError:\n"
        "        pass\n"
        "socket.socket(socket.AF_INET)\n"
    )
    done = subprocess.run([*CONFINED, SERVER, sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_calls_is_read_from_systemd(need: Need) -> None:
    linux_with_systemd(need)
    calls = system_calls(service(SERVER)["SystemCallFilter"])
    assert {"read", "openat", "fsync", "fchown", "prlimit64"} <= calls
    assert not calls & {"setuid", "mount", "ptrace", "nice", "bpf"}
    assert socket.AF_NETLINK not in {
        getattr(socket, each) for each in service(SERVER)["RestrictAddressFamilies"][0].split()
    }
