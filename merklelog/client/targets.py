"""Targets: how a person names a log to read from, and what opens it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from merklelog.client.published import PublishedSource
from merklelog.client.source import TileSource
from merklelog.errors import NotALogError, UsageError
from merklelog.log import open_reader
from merklelog.publish import DirectoryStore
from merklelog.publish.manifest import MANIFEST_KEY

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LATER: Final = frozenset(("http", "https", "grpc", "grpcs", "s3"))
_DIRECTORY: Final = "dir:"


def open_target(target: str) -> TileSource:
    """Opens a log for reading: a data directory, or `dir:PATH`, a published copy.

    Raises UsageError for a target of a kind that this version can not read; NotALogError where no log is,
    saying what is there instead when that can be told; FormatVersionError, ConfigError and DamagedError as
    the two kinds do.
    """
    if scheme := _SCHEME.match(target):
        name = scheme[1].lower()
        reason = "is not in this version" if name in _LATER else "is not known"
        raise UsageError(f"target {target[:200]!r}: reading from {name}:// {reason}; want a PATH or dir:PATH")
    if target.startswith(_DIRECTORY):
        return PublishedSource(published_directory(target))
    if not target:
        raise UsageError("target '': want a PATH or dir:PATH")
    path = Path(target)
    try:
        return open_reader(path)
    except NotALogError as error:
        if (path / MANIFEST_KEY).is_file():
            raise NotALogError(f"{error}; it is a published copy, so name it {_DIRECTORY}{target}") from error
        raise


def published_directory(target: str) -> DirectoryStore:
    """The store that `dir:PATH` names, there or still to be made. Raises UsageError for another kind of
    target.
    """
    path = target.removeprefix(_DIRECTORY)
    if path == target or not path:
        raise UsageError(f"target {target[:200]!r}: want dir:PATH")
    return DirectoryStore(Path(path))
