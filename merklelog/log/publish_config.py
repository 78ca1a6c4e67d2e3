"""The sections [publish] and [publish.s3] of a log's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from merklelog.errors import ConfigError

from .table import Key, Settings

DEFAULT_DAYS: Final = 2_557  # seven years, two of them leap years
MAX_YEARS: Final = 99  # so that no year is cut short: the most S3 takes is 36,500 days
S3: Final = "publish.s3"

PUBLISH_KEYS: Final = (
    Key(
        "publish",
        "targets",
        (),
        "where the log is published as it grows: dir:/PATH or s3://BUCKET/PREFIX, several in a list, the first of "
        "which decides who may write; none: checkpoints are signed at once, and a lost disk is a lost log",
        pattern=r"dir:/[^\0]*|s3://[^\0]+",
        form="dir:/PATH or s3://BUCKET/PREFIX",
    ),
    Key(
        "publish",
        "interval",
        1.0,
        "seconds between publications, at least; without new entries there are none",
        low=0.05,
        high=86_400,
    ),
    Key(
        "publish",
        "bundle_encoding",
        "auto",
        "how a new target stores entries: gzip, identity, or auto, gzip on S3 and identity in a directory",
        choices=("auto", "identity", "gzip"),
    ),
    Key(
        "publish",
        "partitions",
        "none",
        "files of JSON lines by time beside the tiles, for analysts: none, daily, hourly or minute",
        choices=("none", "daily", "hourly", "minute"),
    ),
    Key(S3, "endpoint_url", "", "the service's URL where it is not Amazon's"),
    Key(S3, "region", "", "the bucket's region; none: what the environment or the profile says"),
    Key(S3, "profile", "", "the profile in the AWS configuration; none: the usual chain of credentials"),
    Key(
        S3,
        "addressing",
        "auto",
        "how the bucket is named in requests: path or virtual",
        choices=("auto", "path", "virtual"),
    ),
    Key(S3, "sse", "none", "server-side encryption asked for", choices=("none", "AES256", "aws:kms")),
    Key(S3, "sse_kms_key_id", "", "the key of aws:kms; none: the account's own"),
    Key(S3, "storage_class", "", "the storage class of full entry bundles; none: the bucket's"),
    Key(
        S3,
        "retention_mode",
        "COMPLIANCE",
        "the lock on what must never change: COMPLIANCE, which nobody lifts; GOVERNANCE; or none",
        choices=("COMPLIANCE", "GOVERNANCE", "none"),
    ),
    Key(S3, "retention_days", DEFAULT_DAYS, "days that a lock lasts", low=1, high=36_500),
    Key(
        S3,
        "retention_years",
        0,
        "years that a lock lasts, instead of days; 0: retention_days says it",
        high=MAX_YEARS,
    ),
    Key(
        S3,
        "i_understand_compliance",
        False,
        "true: objects may be locked for longer than a day, which nobody can undo and everybody pays for",
    ),
    Key(S3, "parallel", 16, "requests under way at a time", low=1, high=256),
)


@dataclass(frozen=True, slots=True)
class S3Config:
    """What [publish.s3] says; empty strings where nothing was said, and years as days."""

    endpoint_url: str = ""
    region: str = ""
    profile: str = ""
    addressing: str = "auto"
    sse: str = "none"
    sse_kms_key_id: str = ""
    storage_class: str = ""
    retention_mode: str = "COMPLIANCE"
    retention_days: int = DEFAULT_DAYS
    i_understand_compliance: bool = False
    parallel: int = 16


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """What [publish] says: the targets in their order, seconds between publications, and how they are written."""

    targets: tuple[str, ...] = ()
    interval: float = 1.0
    bundle_encoding: str = "auto"
    partitions: str = "none"
    s3: S3Config = field(default_factory=S3Config)


def publish_config(got: Settings) -> PublishConfig:
    """The checked values of PUBLISH_KEYS."""
    s3 = S3Config(
        endpoint_url=got.text("publish.s3.endpoint_url"),
        region=got.text("publish.s3.region"),
        profile=got.text("publish.s3.profile"),
        addressing=got.text("publish.s3.addressing"),
        sse=got.text("publish.s3.sse"),
        sse_kms_key_id=got.text("publish.s3.sse_kms_key_id"),
        storage_class=got.text("publish.s3.storage_class"),
        retention_mode=got.text("publish.s3.retention_mode"),
        retention_days=_days(got),
        i_understand_compliance=got.flag("publish.s3.i_understand_compliance"),
        parallel=got.number("publish.s3.parallel"),
    )
    return PublishConfig(
        targets=got.texts("publish.targets"),
        interval=got.fraction("publish.interval"),
        bundle_encoding=got.text("publish.bundle_encoding"),
        partitions=got.text("publish.partitions"),
        s3=s3,
    )


def _days(got: Settings) -> int:
    """How long a lock lasts: of years, as many days as so many can have. Raises ConfigError for both."""
    days, years = got.number("publish.s3.retention_days"), got.number("publish.s3.retention_years")
    if years and got.is_given("publish.s3.retention_days"):
        raise ConfigError(
            f"{got.place('publish.s3.retention_years')} is {years}, and publish.s3.retention_days is {days}: "
            "want one of the two"
        )
    return 365 * years + (years + 3) // 4 if years else days


__all__ = ["PUBLISH_KEYS", "PublishConfig", "S3Config", "publish_config"]
