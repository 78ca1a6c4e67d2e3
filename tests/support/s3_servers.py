"""Real S3 servers for tests: one of each kind a host, shared by all test processes, and a bucket a test.

    seaweedfs, versitygw      S3Server: the endpoint, clients and options for it
    s3_server                 both in turn, by parametrization
    s3_bucket(server)         a new bucket with Object Lock (lock=False: a plain one)

The servers' admin has the credentials of `ADMIN`; who uses these fixtures has them in the environment, where boto3
looks first, and nothing of the caller's own configuration. A server that can not be had skips the test, and fails
it in CI.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from merklelog.publish.s3 import Retention, S3Options, S3Store, open_s3
from merklelog.publish.s3_client import make_client
from tests.support import s3_programs
from tests.support.s3_supervisor import ADMIN, READER, REGION

__all__ = ["ADMIN", "READER", "REGION", "Bucket", "S3Server", "running"]

HOSTS = s3_programs.CACHE / "running"


@dataclass(frozen=True)
class S3Server:
    """A running server; its admin may do everything, its reader may read and list (SeaweedFS only)."""

    name: str
    endpoint: str
    pid: int

    def options(self, **settings: Any) -> S3Options:
        """Options of a store on this server."""
        return S3Options(endpoint_url=self.endpoint, region=REGION, **settings)

    def client(self) -> Any:
        """A new client with the credentials of the environment."""
        return make_client(self.options())

    def environment(self) -> dict[str, str]:
        """What a process of its own needs to find this server, besides the credentials it inherits."""
        return {"AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_REGION": REGION}


@dataclass(frozen=True)
class Bucket:
    """A bucket of one test."""

    server: S3Server
    name: str
    client: Any

    def url(self, prefix: str = "log") -> str:
        """The target below a prefix of it."""
        return f"s3://{self.name}/{prefix}" if prefix else f"s3://{self.name}"

    def store(self, prefix: str = "log", *, retention: Retention | None = None, **settings: Any) -> S3Store:
        """A new store, with a client of its own."""
        return open_s3(self.url(prefix), self.server.options(retention=retention, **settings))


class MakeBucket(Protocol):
    """What `s3_bucket` is."""

    def __call__(self, server: S3Server, *, lock: bool = True) -> Bucket: ...


@pytest.fixture(scope="session")
def s3_credentials() -> Iterator[None]:
    """The admin's credentials in the environment, and none of the caller's configuration."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", ADMIN[0])
        patch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN[1])
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def seaweedfs(need: Callable[[bool, str], None], s3_credentials: None) -> Iterator[S3Server]:
    """SeaweedFS."""
    need(s3_programs.weed() is not None, "SeaweedFS 4.48 (python3 tests/support/s3_programs.py fetches it)")
    with _Use("seaweedfs") as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(need: Callable[[bool, str], None], s3_credentials: None) -> Iterator[S3Server]:
    """versitygw."""
    need(
        s3_programs.versitygw() is not None,
        "versitygw 1.8.0 (python3 tests/support/s3_programs.py builds it)",
    )
    with _Use("versitygw") as server:
        yield server


@pytest.fixture(params=["seaweedfs", "versitygw"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def s3_bucket() -> MakeBucket:
    """A new bucket a call; it goes with its server."""

    def make(server: S3Server, *, lock: bool = True) -> Bucket:
        client = _client(server)
        name = f"test-{secrets.token_hex(8)}"
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        return Bucket(server, name, client)

    return make


@functools.cache
def _client(server: S3Server) -> Any:
    """One client a server: each takes a part of a second to make, and may be used by all."""
    return server.client()


@contextmanager
def running(kind: str) -> Iterator[S3Server]:
    """A server for a program that is no test, with the admin's credentials in the environment."""
    os.environ.update(AWS_ACCESS_KEY_ID=ADMIN[0], AWS_SECRET_ACCESS_KEY=ADMIN[1])
    with _Use(kind) as server:
        yield server


class _Use:
    """Holds a server's lock of users; starts the server when nobody has."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._folder = HOSTS / kind

    def __enter__(self) -> S3Server:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._users = (self._folder / "users").open("w")
        # Waits while a supervisor whose last user left ends its server.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        with s3_programs.exclusive(self._folder / "starting"):
            told = self._running() or self._start()
        return S3Server(self._kind, told["endpoint"], told["pid"])

    def __exit__(self, *_: object) -> None:
        self._users.close()

    def _running(self) -> dict[str, Any] | None:
        path = self._folder / "server.json"
        try:
            told: dict[str, Any] = json.loads(path.read_bytes())
            os.kill(told["pid"], 0)
        except (FileNotFoundError, ProcessLookupError):
            path.unlink(missing_ok=True)
            return None
        return told

    def _start(self) -> dict[str, Any]:
        script = Path(__file__).with_name("s3_supervisor.py")
        with (self._folder / "log").open("wb") as log:
            # It leaves a process that outlives this one while others use the server.
            command = [sys.executable, str(script), self._kind, str(self._folder)]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        told = self._running()
        if told is None:
            log_text = (self._folder / "log").read_text("utf-8", "replace")
            pytest.fail(f"{self._kind} did not start: {log_text[-4000:]}")
        return told
