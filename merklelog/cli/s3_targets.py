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
    from merklelog.log.publish_config import PublishConfig
    from merklelog.publish.s3 import S3Store
    from merklelog.publish.s3_options import S3Options

S3: Final = "s3://"

log_option = click.option(
    "--log",
    "log",
    metavar="DIR",
    help="The log that publishes there: its [publish.s3] is used, and its files note what was done.",
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket and prefix, how to write there, and the log that it is of; `directory` None: of none named."""

    target: str
    options: S3Options
    understood: bool
    directory: Path | None = None

    def store(self) -> S3Store:
        """Nothing is asked of it yet. Raises UsageError, ConfigError."""
        from merklelog.publish.s3 import open_s3

        return open_s3(self.target, self.options)


def s3_places(target: str, log: str | None) -> list[S3Place]:
    """The bucket that `target` names, or those that the log in the directory `target` publishes to.

    A URL's settings are those of the log that `--log` names, else of the environment. Raises UsageError for
    another kind of target and for a log without one in S3; NotALogError, ConfigError.
    """
    if target.lower().startswith(S3):
        target = S3 + target[len(S3) :].removesuffix("/")  # as messages and records name it
        if log is None:
            return [_place(target, _of_environment(), None)]
        path, publish = _of_log(log)
        return [_place(target, publish, path)]
    if kind := SCHEME.match(target):
        raise UsageError(
            f"{target[:200]!r} is a {kind[0]} target, and locks are a matter of s3://BUCKET/PREFIX"
        )
    if log is not None:
        raise UsageError("--log goes with an s3:// TARGET; here TARGET is the log already")
    path, publish = _of_log(target)
    found = [_place(each, publish, path) for each in publish.targets if each.startswith(S3)]
    if not found:
        raise UsageError(f"{target}: publish.targets names no s3:// target; say which: s3://BUCKET/PREFIX")
    return found


def _place(target: str, publish: PublishConfig, directory: Path | None) -> S3Place:
    from merklelog.log.publishing_targets import s3_options

    return S3Place(target, s3_options(publish), publish.s3.i_understand_compliance, directory)


def _of_log(directory: str) -> tuple[Path, PublishConfig]:
    from merklelog.log import load_config
    from merklelog.log.directory import check_directory

    path = Path(directory).absolute()
    check_directory(path)
    return path, load_config(path).publish


def _of_environment() -> PublishConfig:
    """What the variables that override [publish.s3] say, and its defaults."""
    from merklelog.log.publish_config import PUBLISH_KEYS, publish_config
    from merklelog.log.table import settle

    return publish_config(settle(None, PUBLISH_KEYS, os.environ))
