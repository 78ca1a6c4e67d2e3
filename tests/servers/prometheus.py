"""Prometheus and its promtool for tests: Debian's package, unpacked once below the user's cache.

`PROMETHEUS_BIN` may name a folder that has both programs; else those on PATH are taken; else the package is
fetched with apt, which installs nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merklelog-test-servers"
PROGRAMS = ("prometheus", "promtool")


def programs() -> Path | None:
    """The folder of both programs; None where they can not be had."""
    given = os.environ.get("PROMETHEUS_BIN")
    if given:
        return Path(given) if _both(Path(given)) else None
    found = shutil.which("promtool")
    if found and _both(Path(found).parent):
        return Path(found).parent
    place = CACHE / "prometheus-debian"
    if not _both(place / "usr" / "bin"):
        _unpack(place)
    return place / "usr" / "bin" if _both(place / "usr" / "bin") else None


def _both(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def _unpack(place: Path) -> None:
    """Fetch and unpack the package. Renamed into place whole, so that tests may do it at the same time."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=CACHE))
    draft.chmod(0o755)
    try:
        if not _apt(draft, "download", "prometheus"):
            _apt(draft, "update")  # a fresh machine has no lists yet
            _apt(draft, "download", "prometheus")
        for package in draft.glob("prometheus_*.deb"):
            subprocess.run(["dpkg", "-x", package, draft / "tree"], check=True)
            with suppress(OSError):  # another test was first
                (draft / "tree").rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _apt(folder: Path, *words: str) -> bool:
    done = subprocess.run(["apt-get", "-q", *words], cwd=folder, capture_output=True, timeout=300)
    return done.returncode == 0


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an instant query gives."""
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector", expression
        result: list[dict[str, Any]] = data["result"]
        return result

    def wait_for(self, expression: str, seconds: float = 60) -> list[dict[str, Any]]:
        """The result once there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            result = self.query(expression)
            if result:
                return result
            time.sleep(0.1)
        raise AssertionError(f"nothing for {expression} in {seconds} s")


@contextmanager
def running(folder: Path, binary: Path, targets: list[str], rules: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these admin ports twice a second as the job "merklelog"."""
    address = f"127.0.0.1:{free_port()}"
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "merklelog", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    command = [
        str(binary / "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(command, stderr=errors, stdout=errors)
    try:
        _await_ready(process, address, folder / "stderr")
        yield Prometheus(address)
    finally:
        process.kill()
        process.wait()


def _await_ready(process: subprocess.Popen[bytes], address: str, errors: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, errors.read_text()
        # It does not listen yet, or says 503 while it starts.
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"Prometheus did not start: {errors.read_text()}")
