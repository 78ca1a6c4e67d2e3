"""The buckets that `merklelog preflight` and `retention` are about: one by its URL, or a log's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from merklelog.cli.command import _SCHEME as SCHEME
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from merklelog.log.publish_config import S3Config
    from merklelog.publish.s3 import S3Store
    from merklelog.publish.s3_options import Retention, S3Options

S3: Final = "s3://"

log_option = click.option(
    "--log",
    "log",
    metavar="DIR",
    help="The log that publishes there: its [publish.s3] is used, and its files note what was done.",
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket and prefix, the settings for it, and the log that it is of; `directory` None: of none named."""

    target: str
    settings: S3Config
    directory: Path | None = None

    @property
    def retention(self) -> Retention | None:
        """What the log locks with."""
        from merklelog.publish.s3_options import Retention

        mode, days = self.settings.retention_mode, self.settings.retention_days
        if mode == "COMPLIANCE":
            return Retention("COMPLIANCE", days)
        return Retention("GOVERNANCE", days) if mode == "GOVERNANCE" else None

    def options(self) -> S3Options:
        """As a store wants them. Raises ConfigError."""
        from merklelog.publish.s3_options import S3Options

        told = self.settings
        return S3Options(
            endpoint_url=told.endpoint_url,
            region=told.region,
            profile=told.profile,
            addressing=told.addressing,
            sse=told.sse,
            sse_kms_key_id=told.sse_kms_key_id,
            storage_class=told.storage_class,
            retention=self.retention,
            parallel=told.parallel,
        )

    def store(self) -> S3Store:
        """Nothing is asked of it yet. Raises UsageError, ConfigError."""
        from merklelog.publish.s3 import open_s3

        return open_s3(self.target, self.options())


def s3_places(target: str, log: str | None) -> list[S3Place]:
    """The bucket that `target` names, or those that the log in the directory `target` publishes to.

    A URL's settings are those of the log that `--log` names, else of the environment. Raises UsageError for
    another kind of target and for a log without one in S3; NotALogError, ConfigError.
    """
    if target.lower().startswith(S3):
        target = S3 + target[len(S3) :].removesuffix("/")  # as messages and records name it
        if log is None:
            return [S3Place(target, _settings_of_environment())]
        directory, settings, _ = _log(log)
        return [S3Place(target, settings, directory)]
    if kind := SCHEME.match(target):
        raise UsageError(
            f"{target[:200]!r} is a {kind[0]} target, and locks are a matter of s3://BUCKET/PREFIX"
        )
    if log is not None:
        raise UsageError("--log goes with an s3:// TARGET; here TARGET is the log already")
    directory, settings, targets = _log(target)
    found = [S3Place(each, settings, directory) for each in targets if each.startswith(S3)]
    if not found:
        raise UsageError(f"{target}: publish.targets names no s3:// target; say which: s3://BUCKET/PREFIX")
    return found


def _log(directory: str) -> tuple[Path, S3Config, tuple[str, ...]]:
    from merklelog.log import load_config
    from merklelog.log.directory import check_directory

    path = Path(directory).absolute()
    check_directory(path)
    publish = load_config(path).publish
    return path, publish.s3, publish.targets


def _settings_of_environment() -> S3Config:
    """What the variables that override [publish.s3] say, and its defaults."""
    from merklelog.log.publish_config import PUBLISH_KEYS, publish_config
    from merklelog.log.table import settle

    return publish_config(settle(None, PUBLISH_KEYS, os.environ)).s3
