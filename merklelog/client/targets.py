"""Targets: how a person names a log to read from, and what opens it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from merklelog.client.access import Access
from merklelog.client.published import PublishedSource
from merklelog.client.source import TileSource
from merklelog.errors import NotALogError, UsageError
from merklelog.log import open_reader
from merklelog.publish import DirectoryStore
from merklelog.publish.manifest import MANIFEST_KEY

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LATER: Final = frozenset(("s3",))
HTTP_SCHEMES: Final = frozenset(("http", "https"))
GRPC_SCHEMES: Final = frozenset(("grpc", "grpcs"))
_DIRECTORY: Final = "dir:"
_WANT: Final = "want a PATH, dir:PATH or http(s)://host/prefix"


def scheme_of(target: str) -> str | None:
    """The scheme of a target that is a URL, in lower case; None for a path and for `dir:PATH`."""
    found = _SCHEME.match(target)
    return found[1].lower() if found else None


def open_target(target: str, access: Access | None = None) -> TileSource:
    """Opens a log's tiles for reading: a data directory, `dir:PATH`, a published copy, or an http(s):// prefix.

    `access` is how to get to a server. Raises UsageError for a target of a kind that has no tiles or that this
    version can not read; NotALogError where no log is, saying what is there instead when that can be told;
    FormatVersionError, ConfigError and DamagedError as the kinds do. A server is asked nothing yet.
    """
    if scheme := scheme_of(target):
        if scheme in HTTP_SCHEMES:
            from merklelog.client.http_source import open_http

            return open_http(target, access or Access())
        reason = "is not in this version" if scheme in _LATER else "is not known"
        if scheme in GRPC_SCHEMES:
            reason = "has no tiles"
        raise UsageError(f"target {target[:200]!r}: reading from {scheme}:// {reason}; {_WANT}")
    if target.startswith(_DIRECTORY):
        return PublishedSource(published_directory(target))
    if not target:
        raise UsageError(f"target '': {_WANT}")
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
