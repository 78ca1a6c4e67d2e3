"""An audit of a target that is published to meanwhile finds nothing wrong, whatever moment it meets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.audit import audit
from merklelog.client import Access
from merklelog.formats import Policy, single_log_policy
from tests.support.s3_servers import REGION, MakeBucket, S3Server

AUDITS = 12


@contextmanager
def publishing(path: Path, target: str, **settings: Any) -> Iterator[Policy]:
    """A log that is appended to and published to the target as fast as it can, until the block ends."""
    base: dict[str, Any] = {"store.min_free_bytes": 0, "publish.targets": (target,), "publish.interval": 0.05}
    merklelog.create_log(path, "busy.example/log", settings={**base, **settings})
    done = threading.Event()

    def append() -> None:
        number = 0
        while not done.is_set():
            count = 1 + number % 300
            receipt = log.append_batch([b"event %d of %d" % (index, number) for index in range(count)])
            number += 1
            if number % 5 == 0:
                log.wait_published(receipt.size).result(120)

    with merklelog.open(path) as log:
        log.append_batch([b"first"] * 500)
        log.wait_published(500).result(120)
        thread = threading.Thread(target=append)
        thread.start()
        try:
            yield single_log_policy(log.vkeys)
        finally:
            done.set()
            thread.join()


def test_a_directory(tmp_path: Path) -> None:
    target = f"dir:{tmp_path / 'target'}"
    sizes = []
    with publishing(tmp_path / "log", target) as policy:
        for _ in range(AUDITS):
            report = audit(target, policy, processes=1)
            assert report.findings == ()
            sizes.append(report.size)
            beside = audit(str(tmp_path / "log"), policy, processes=1)
            assert beside.findings == ()
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    report = audit(target, policy, processes=1)
    assert (report.findings, report.remarks) == ((), ())


@pytest.mark.parametrize("retention", ["none", "GOVERNANCE"])
def test_a_bucket(
    tmp_path: Path,
    seaweedfs: S3Server,
    s3_bucket: MakeBucket,
    monkeypatch: pytest.MonkeyPatch,
    retention: str,
) -> None:
    bucket = s3_bucket(seaweedfs)
    settings = {
        "publish.s3.endpoint_url": seaweedfs.endpoint,
        "publish.s3.region": REGION,
        "publish.s3.retention_mode": retention,
        "publish.s3.retention_days": 1,
    }
    access = Access(s3=seaweedfs.options())
    with publishing(tmp_path / "log", bucket.url(), **settings) as policy:
        for _ in range(AUDITS // 3):
            report = audit(bucket.url(), policy, access=access, processes=1, retention=retention != "none")
            assert report.findings == ()
    report = audit(bucket.url(), policy, access=access, processes=1, retention=retention != "none")
    assert (report.findings, report.remarks) == ((), ())
