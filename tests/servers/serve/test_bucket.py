"""A server whose log is published to a bucket: what it asks of the bucket first, and what it trusts."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.audit.run import audit
from merklelog.client.access import Access
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish.preflight_record import write_record
from merklelog.publish.preflight_report import PROBES, DefaultRetention, Finding, Outcome, PreflightReport
from merklelog.publish.s3_options import Retention
from tests.support.s3_servers import REGION, Bucket, MakeBucket, S3Server

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
ADMIN = ("--admin", "127.0.0.1:0")
GOVERNANCE = Retention("GOVERNANCE", 1)


@pytest.fixture
def bucket(seaweedfs: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(seaweedfs)


def published(bucket: Bucket) -> dict[str, Any]:
    """The settings of a log that is published there, with locks of a day."""
    return {
        "publish__targets": (bucket.url(),),
        "publish__s3__endpoint_url": bucket.server.endpoint,
        "publish__s3__region": REGION,
        "publish__s3__retention_mode": "GOVERNANCE",
        "publish__s3__retention_days": 1,
    }


def credentials() -> dict[str, str]:
    """What the server's process needs besides."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def record(log: Path, bucket: Bucket, *failed: str, endpoint: str = "") -> None:
    """The record of a preflight in which all but these probes passed."""
    findings = tuple(
        Finding(probe.name, Outcome.FAIL if probe.name in failed else Outcome.PASS, "said so")
        for probe in PROBES
    )
    endpoint = endpoint or str(bucket.client.meta.endpoint_url)
    target, now, default = bucket.url(), int(time.time()), DefaultRetention()
    write_record(log, PreflightReport(target, endpoint, now, GOVERNANCE, default, findings, whole=True))


def test_a_bucket_that_was_tried_is_published_to(serve: Serve, make_log: MakeLog, bucket: Bucket) -> None:
    log = make_log("tried", **published(bucket), publish__interval=0.05)
    record(log, bucket, "delete")
    server = serve(log, *ADMIN, **credentials()).started()
    told = server.wait_for("not protected")
    assert (told["level"], bucket.url() in told["message"]) == ("warning", True)
    assert server.ask("POST", "/add", b"to the bucket", merklelog_wait="published") == (200, b"0\n")
    text = server.ask("GET", "/metrics", door="admin")[1].decode()
    requests = next(
        line for line in text.splitlines() if line.startswith("merklelog_log_publication_requests")
    )
    assert float(requests.rpartition(" ")[2]) > 5
    assert server.stop() == 0
    shown = bucket.store().get("checkpoint")
    assert shown.data.startswith(b"example.com/tried\n1\n")


def append_until_it_is_gone(server: Any, name: bytes, told: dict[int, bytes]) -> None:
    """One entry after the other; `told` has those that the server called published, by index."""
    with closing(server.connect()) as connection:
        for number in itertools.count():
            entry = b"%b %d" % (name, number)
            try:
                connection.request("POST", "/add", entry, {"merklelog-wait": "published"})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                told[int(body)] = entry


@pytest.mark.slow
def test_killed_while_it_publishes_and_its_disk_lost(
    serve: Serve, make_log: MakeLog, bucket: Bucket, tmp_path: Path
) -> None:
    """SIGKILL under load: the same disk goes on; once more, without its disk: the bucket has what counts."""
    log = make_log("killed", **published(bucket), publish__interval=0.05)
    shutil.copytree(log / "keys", tmp_path / "keys")
    record(log, bucket)
    told: dict[int, bytes] = {}
    for life in range(2):
        server = serve(log, *ADMIN, **credentials()).started()
        workers = [
            threading.Thread(target=append_until_it_is_gone, args=(server, b"%d of %d" % (each, life), told))
            for each in range(4)
        ]
        for worker in workers:
            worker.start()
        wanted = len(told) + 30
        while len(told) < wanted and any(worker.is_alive() for worker in workers):
            time.sleep(0.002)
        server.process.kill()
        for worker in workers:
            worker.join(60)
        server.wait()
    assert len(told) >= 60
    shutil.rmtree(log)
    settings: dict[str, Any] = {key.replace("__", "."): value for key, value in published(bucket).items()}
    settings |= {"log.keys": str(tmp_path / "keys"), "store.min_free_bytes": 0}
    recover_log(log, bucket.store(), load_signers(tmp_path / "keys", "example.com/killed"), settings=settings)
    with merklelog.open(log) as again:
        assert again.epoch == 3
        again.append(b"and on it goes")
        again.publish_now().result(60)
        entries = list(again.entries(0, again.size))
    assert {index: entries[index] for index in told} == told
    report = audit(bucket.url(), access=Access(s3=bucket.server.options()), processes=1, retention=True)
    assert (report.findings, report.entries) == ((), len(entries))


@pytest.mark.parametrize(
    ("failed", "message"), [(None, "nobody has tried out"), ("if-match", "the preflight of")]
)
def test_a_bucket_that_may_not_do_is_refused(
    serve: Serve, make_log: MakeLog, bucket: Bucket, failed: str | None, message: str
) -> None:
    log = make_log("untried", **published(bucket))
    if failed is not None:
        record(log, bucket, failed)
    server = serve(log, *ADMIN, **credentials())
    assert server.wait() == 2
    told = "".join(server.raw)
    assert message in told
    assert "merklelog preflight" in told
    assert list(bucket.store().list_keys()) == [], "nothing was written"


def test_a_silent_bucket_keeps_nobody_from_reading(serve: Serve, make_log: MakeLog, bucket: Bucket) -> None:
    log = make_log("silent", **published(bucket))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    record(log, bucket, endpoint=nowhere)
    settings = log / "merklelog.toml"
    settings.write_text(settings.read_text().replace(bucket.server.endpoint, nowhere))
    server = serve(log, *ADMIN, **credentials()).ready()
    server.wait_for("not known, asked again")
    server.wait_for("takes no appends yet")
    assert server.ask("GET", "/checkpoint")[0] == 200
    assert server.ask("POST", "/add", b"x")[0] == 503
    status, text = server.ask("GET", "/readyz", door="admin")
    assert (status, bucket.url().encode() in text) == (503, True)
    assert server.stop() == 0
