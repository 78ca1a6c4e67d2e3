"""The object store that a target names: `dir:PATH` or `s3://BUCKET/PREFIX`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from merklelog.errors import UsageError
from merklelog.publish.directory import DirectoryStore
from merklelog.publish.objects import ObjectStore
from merklelog.publish.s3_options import SCHEME as S3_SCHEME
from merklelog.publish.s3_options import S3Options

DIRECTORY_SCHEME: Final = "dir:"


def is_store_target(target: str) -> bool:
    """Whether `open_store` is for it, by its scheme alone."""
    return target.startswith((DIRECTORY_SCHEME, S3_SCHEME))


def open_store(target: str, options: S3Options | None = None) -> ObjectStore:
    """The store at `target`; nothing is asked of it yet, and nothing is made.

    `options` are for `s3://`. Raises UsageError for a target of another kind or a bucket or prefix that is none,
    ConfigError for settings that can not be used or where boto3 is not installed.
    """
    if target.startswith(DIRECTORY_SCHEME):
        path = target.removeprefix(DIRECTORY_SCHEME)
        if not path:
            raise UsageError("target dir: names no directory, want dir:PATH")
        return DirectoryStore(Path(path))
    if target.startswith(S3_SCHEME):
        from merklelog.publish.s3 import open_s3  # boto3 takes a while to load, and a directory needs none

        return open_s3(target, S3Options() if options is None else options)
    raise UsageError(f"target {target[:80]!r}: want dir:PATH or s3://BUCKET/PREFIX")
