"""A server whose log is published to a bucket: what it asks of the bucket first, and what it trusts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
