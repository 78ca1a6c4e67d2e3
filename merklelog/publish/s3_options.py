"""What a person configures of an S3 target: its address, the client's settings, and the locks on its objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from merklelog.errors import ConfigError, UsageError
from merklelog.publish.objects import is_key

SCHEME: Final = "s3://"
LockMode = Literal["COMPLIANCE", "GOVERNANCE"]
MAX_RETENTION_DAYS: Final = 36_500  # Amazon S3, "Object Lock considerations": at most 100 years
MAX_PARALLEL: Final = 256

# Amazon S3, "General purpose bucket naming rules"; upper case and underscores are of old buckets.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ADDRESSING: Final = ("auto", "path", "virtual")
_SSE: Final = ("none", "AES256", "aws:kms", "aws:kms:dsse")
_STORAGE_CLASS: Final = re.compile(r"[A-Z0-9_]{1,40}")
_KMS_KEY: Final = re.compile(r"[!-~]{1,2048}")  # an id, an ARN or an alias; other services have other names
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Retention:
    """The lock that retained objects get: its mode and its length in days from the moment of the write."""

    mode: LockMode
    days: int

    def __post_init__(self) -> None:
        """Raises ConfigError for a mode or a number of days that S3 does not have."""
        if self.mode not in ("COMPLIANCE", "GOVERNANCE"):
            raise ConfigError(f"retention mode: got {self.mode!r}, want COMPLIANCE or GOVERNANCE")
        if not 1 <= self.days <= MAX_RETENTION_DAYS:
            raise ConfigError(
                f"retention days: got {self.days}, want 1 to {MAX_RETENTION_DAYS} (100 years, the most S3 takes)"
            )


@dataclass(frozen=True, slots=True)
class Lock:
    """What holds a version of an object: a mode until a moment (both or neither), a legal hold, or both."""

    mode: str | None
    until: datetime | None
    legal_hold: bool = False


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object, or a delete marker, as a versioned bucket lists them; `size` in bytes."""

    key: str
    version_id: str
    is_latest: bool
    is_delete_marker: bool
    modified: datetime
    size: int


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, and the prefix below which the copy lies: "" or a key without a slash at its end."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        """The URL it was parsed from."""
        return f"{SCHEME}{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class S3Options:
    """The client's settings; what is empty is left to boto3's own chain of configuration and credentials.

    `addressing` auto is path style for an endpoint of one's own and virtual-hosted style at Amazon;
    `storage_class` is for full entry bundles; `retention` None locks nothing; `parallel` requests run at a time.
    """

    endpoint_url: str = ""
    region: str = ""
    profile: str = ""
    addressing: str = "auto"
    sse: str = "none"
    sse_kms_key_id: str = ""
    storage_class: str = ""
    retention: Retention | None = None
    parallel: int = 16

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting."""
        if self.endpoint_url:
            _check_endpoint(self.endpoint_url)
        for name, value, known in (("addressing", self.addressing, _ADDRESSING), ("sse", self.sse, _SSE)):
            if value not in known:
                raise ConfigError(f"{name}: got {value[:_SHOWN]!r}, want {', '.join(known)}")
        if self.sse_kms_key_id and not self.sse.startswith("aws:kms"):
            raise ConfigError(f"sse_kms_key_id: set, but sse is {self.sse}, want aws:kms")
        if self.sse_kms_key_id and not _KMS_KEY.fullmatch(self.sse_kms_key_id):
            raise ConfigError(
                f"sse_kms_key_id: got {self.sse_kms_key_id[:_SHOWN]!a}, want printable ASCII without spaces"
            )
        if self.storage_class and not _STORAGE_CLASS.fullmatch(self.storage_class):
            raise ConfigError(
                f"storage_class: got {self.storage_class[:_SHOWN]!r}, want a name such as STANDARD_IA"
            )
        if not 1 <= self.parallel <= MAX_PARALLEL:
            raise ConfigError(f"parallel: got {self.parallel}, want 1 to {MAX_PARALLEL} requests at a time")


def _check_endpoint(url: str) -> None:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        # Not shown: it is where people put passwords.
        raise ConfigError("endpoint_url: it names a user; want credentials where boto3 looks for them")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"endpoint_url: got {url[:_SHOWN]!r}, want http://HOST[:PORT] or https://HOST[:PORT]"
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"endpoint_url: got {url[:_SHOWN]!r}, want no ? and no #")


def parse_s3_url(url: str) -> S3Location:
    """The bucket and prefix that `s3://BUCKET[/PREFIX]` names; a slash at its end is of no account.

    Raises UsageError naming what is wrong: another scheme, a bucket name that is none, a prefix with empty or
    hidden segments (`//`, `.`, `..`) or with other characters than an object key may have.
    """
    shown = ascii(url[:_SHOWN]) + ("..." if len(url) > _SHOWN else "")
    if not url.startswith(SCHEME):
        raise UsageError(f"target {shown}: want s3://BUCKET/PREFIX")
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if "@" in bucket:
        raise UsageError("target s3://...: it names a user; want credentials where boto3 looks for them")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(f"target {shown}: bucket {bucket[:_SHOWN]!a}: want 3 to 63 of a-z 0-9 . -")
    prefix = prefix.removesuffix("/")
    # Room is left for the longest key that a copy has below its prefix.
    if prefix and (not is_key(prefix) or len(prefix) > 800):
        raise UsageError(
            f"target {shown}: prefix {prefix[:_SHOWN]!a}: want at most 800 of A-Z a-z 0-9 . _ = - in "
            "segments between single slashes, none empty and none beginning with a dot"
        )
    return S3Location(bucket, prefix)
