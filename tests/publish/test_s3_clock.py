"""Whose clock counts: a machine's that is wrong ends no lock early, and where nothing can be sent it is said."""

from __future__ import annotations

import datetime as standard
import sys
from collections.abc import Callable
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from published_log import DiskLog
from publisher_tools import drain, running, shown

from merklelog.errors import UnreachableError
from merklelog.publish import ObjectKind
from merklelog.publish.s3 import Retention
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

DAY = Retention("GOVERNANCE", 1)
Turn = Callable[[timedelta], None]


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: MakeBucket) -> Bucket:
    return s3_bucket(s3_server)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Turn:
    """`wrong(by)`: the clock of this machine, as the store and boto3 read it, is so far ahead."""
    ahead = timedelta()

    class Clock(standard.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return standard.datetime.now(tz) + ahead

    read = [module for name, module in sys.modules.items() if name.startswith("merklelog.publish.s3")]
    for module in read:
        if getattr(module, "datetime", None) is standard.datetime:
            monkeypatch.setattr(module, "datetime", Clock)
    boto = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: boto(*a, **k) + ahead)

    def turn(by: timedelta) -> None:
        nonlocal ahead
        ahead = by

    return turn


def service_time(bucket: Bucket) -> standard.datetime:
    """What the service says that it is."""
    headers = bucket.client.list_buckets()["ResponseMetadata"]["HTTPHeaders"]
    return parsedate_to_datetime(headers["date"]).astimezone(UTC)


@pytest.mark.parametrize("by", [timedelta(minutes=10), -timedelta(minutes=10)], ids=["ahead", "behind"])
def test_locks_end_by_the_clock_of_the_service(bucket: Bucket, wrong: Turn, by: timedelta) -> None:
    wrong(by)
    store = bucket.store(retention=DAY)
    for key in ("tile/0/000", "tile/0/001"):
        before = service_time(bucket)
        store.put_immutable(key, b"1", ObjectKind(retain=True))
        lock = store.retention_of(key)
        assert lock is not None
        assert lock.until is not None
        assert (
            before + timedelta(days=1, seconds=-2) <= lock.until <= service_time(bucket) + timedelta(days=1)
        )


def test_a_clock_that_is_wrong_by_hours_stops_nothing_for_good(bucket: Bucket, wrong: Turn) -> None:
    """Nothing is sent that a service takes; it is said, and the same publication goes on when it is set."""
    store = bucket.store(retention=DAY)
    log = DiskLog().grow(300)
    made = running(log, store)
    drain(made)
    log.grow(300)
    for by in (timedelta(hours=2), -timedelta(hours=2)):
        wrong(by)
        with pytest.raises(UnreachableError, match=r"RequestTimeTooSkewed.*this machine's clock differs"):
            drain(made)
        log.grow(10)
    wrong(timedelta())
    assert shown(bucket.store(), log.verifiers) == 300
    drain(made)
    assert shown(bucket.store(), log.verifiers) == 620
