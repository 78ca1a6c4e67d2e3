"""Runs one S3 server for as long as somebody uses it: `python s3_supervisor.py KIND FOLDER`.

Every user holds a shared lock on FOLDER/users; this process waits for the exclusive one, which it gets when the
last user is gone, however that one ended. Then it ends the server, by its pid, and removes what it wrote.
FOLDER/server.json says where the server listens, and is there while it does.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from tests.support import s3_programs

ADMIN = ("merklelog-admin", "merklelog-admin-secret")
READER = ("merklelog-reader", "merklelog-reader-secret")
REGION = "us-east-1"
ATTEMPTS = 3
START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; another process may take one before it is used, so a start may be tried again."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def seaweedfs(data: Path) -> tuple[list[str], dict[str, str], str]:
    """Command, environment and endpoint of a SeaweedFS that keeps its data below `data`."""
    identities = [
        _identity("admin", ADMIN, "Admin", "Read", "Write", "List", "Tagging"),
        _identity("reader", READER, "Read", "List"),
    ]
    (data / "s3.json").write_text(json.dumps({"identities": identities}))
    (data / "store").mkdir()
    s3, s3_grpc, *ports = free_ports(8)
    command = [
        *(str(s3_programs.weed()), "-logtostderr", "mini", f"-dir={data / 'store'}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={data / 's3.json'}"),
        *("-s3.autoCreateBucket=false", "-webdav=false", "-admin.ui=false"),
        "-volume.max=5000",  # each bucket takes one of its own, and what is locked keeps its bucket
        *(f"-filer.localSocket={data / 'f.sock'}", f"-s3.localSocket={data / 's.sock'}"),
    ]
    for name in ("master", "volume", "filer"):
        command += [f"-{name}.port={ports.pop()}", f"-{name}.port.grpc={ports.pop()}"]
    return command, {}, f"http://127.0.0.1:{s3}"


def _identity(name: str, keys: tuple[str, str], *actions: str) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}],
        "actions": list(actions),
    }


def versitygw(data: Path) -> tuple[list[str], dict[str, str], str]:
    """Command, environment and endpoint of a versitygw that keeps its data below `data`."""
    for name in ("users", "versions", "store"):
        (data / name).mkdir()
    (port,) = free_ports(1)
    command = [
        *(str(s3_programs.versitygw()), "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}"),
        *("--region", REGION, "--iam-dir", str(data / "users")),
        *("posix", "--versioning-dir", str(data / "versions"), str(data / "store")),
    ]
    keys = {"ROOT_ACCESS_KEY": ADMIN[0], "ROOT_SECRET_KEY": ADMIN[1]}
    return command, keys, f"http://127.0.0.1:{port}"


KINDS: dict[str, Callable[[Path], tuple[list[str], dict[str, str], str]]] = {
    "seaweedfs": seaweedfs,
    "versitygw": versitygw,
}


def start(kind: str, data: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The started server, which answers, and its endpoint; its output goes to `data`/log."""
    for attempt in range(ATTEMPTS):
        place = data / str(attempt)
        place.mkdir()
        command, keys, endpoint = KINDS[kind](place)
        with (data / "log").open("ab") as log:
            server = subprocess.Popen(
                command,
                env={**os.environ, **keys},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place,
            )
        if answers(server, endpoint):
            return server, endpoint
        server.kill()
        server.wait()
    raise SystemExit(f"{kind} did not start:\n{(data / 'log').read_text('utf-8', 'replace')[-4000:]}")


def answers(server: subprocess.Popen[bytes], endpoint: str) -> bool:
    """Whether it answers HTTP, before it ends or a minute is over."""
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
            return True
        except urllib.error.HTTPError:
            return True  # it refuses who does not sign, so it is up
        except OSError:
            time.sleep(0.05)
    return False


def main(kind: str, folder: Path) -> int:
    """Start the server, and leave a process of its own with it; the status is 0 once the server answers."""
    child = os.fork()
    if child == 0:
        os.setsid()
        supervise(kind, folder)
        return 0
    while not (folder / "server.json").exists():
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return 1
        time.sleep(0.05)
    return 0


def supervise(kind: str, folder: Path) -> None:
    """Serve until the last user is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the tests: they go, and this follows
    data = Path(tempfile.mkdtemp(prefix=f"merklelog-{kind}-"))
    try:
        server, endpoint = start(kind, data)
        told = folder / "server.json"
        draft = folder / "server.draft"
        draft.write_text(json.dumps({"endpoint": endpoint, "pid": server.pid, "data": str(data)}))
        draft.rename(told)
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            told.unlink()
            server.kill()
            server.wait()
    finally:
        with suppress(OSError):  # what is left of it lies in the temporary directory
            shutil.rmtree(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
