"""Targets: how a person names a log to read from, and what opens it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from merklelog.client.access import Access
from merklelog.client.published import PublishedSource
from merklelog.client.source import TileSource
from merklelog.errors import NotALogError, UsageError
from merklelog.log import open_reader
from merklelog.publish import DirectoryStore, ObjectStore
from merklelog.publish.manifest import MANIFEST_KEY
from merklelog.publish.targets import open_store

if TYPE_CHECKING:
    from merklelog.publish.s3_options import S3Options

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HTTP_SCHEMES: Final = frozenset(("http", "https"))
GRPC_SCHEMES: Final = frozenset(("grpc", "grpcs"))
S3_SCHEMES: Final = frozenset(("s3",))
_DIRECTORY: Final = "dir:"
_WANT: Final = "want a PATH, dir:PATH, s3://bucket/prefix or http(s)://host/prefix"


def scheme_of(target: str) -> str | None:
    """The scheme of a target that is a URL, in lower case; None for a path and for `dir:PATH`."""
    found = _SCHEME.match(target)
    return found[1].lower() if found else None


def open_target(target: str, access: Access | None = None) -> TileSource:
    """Opens a log's tiles for reading: a data directory, `dir:PATH`, `s3://bucket/prefix` or an http(s):// prefix.

    `access` is how to get to a server or a bucket. Raises UsageError for a target of a kind that has no tiles or
    is not known; NotALogError where no log is, saying what is there instead when that can be told;
    FormatVersionError, ConfigError and DamagedError as the kinds do; UnreachableError for a bucket that does not
    answer. An HTTP server is asked nothing yet.
    """
    if scheme := scheme_of(target):
        if scheme in HTTP_SCHEMES:
            from merklelog.client.http_source import open_http

            return open_http(target, access or Access())
        if scheme not in S3_SCHEMES:
            reason = "has no tiles" if scheme in GRPC_SCHEMES else "is not known"
            raise UsageError(f"target {target[:200]!r}: reading from {scheme}:// {reason}; {_WANT}")
        return PublishedSource(published_store(target, access), parallel=options_of(access).parallel)
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


def published_store(target: str, access: Access | None = None) -> ObjectStore:
    """The store of a published copy, `dir:PATH` or `s3://bucket/prefix`; nothing is asked of it yet.

    Raises UsageError for another kind of target, ConfigError for settings of S3 that can not be.
    """
    if scheme_of(target) in S3_SCHEMES:
        # The scheme of a URL is in any case (RFC 3986, section 3.1).
        return open_store(f"s3{target[2:]}", options_of(access))
    return published_directory(target)


def options_of(access: Access | None) -> S3Options:
    """How to get to a bucket: what `access` says, else the environment. Raises ConfigError."""
    if access is not None and access.s3 is not None:
        return access.s3
    return s3_options()


def s3_options(environment: Mapping[str, str] | None = None) -> S3Options:
    """How to get to a bucket when nothing but its name is given: for who reads it, without locks.

    The variables are those that override [publish.s3] in a log's configuration (MERKLELOG_PUBLISH__S3__REGION and
    its like); what none of them says is left to boto3's own chain. Raises ConfigError naming the variable.
    """
    from merklelog.log.publish_config import PUBLISH_KEYS, S3
    from merklelog.log.table import settle
    from merklelog.publish.s3_options import S3Options

    keys = [key for key in PUBLISH_KEYS if key.section == S3]
    got = settle(None, keys, os.environ if environment is None else environment)
    return S3Options(
        endpoint_url=got.text("publish.s3.endpoint_url"),
        region=got.text("publish.s3.region"),
        profile=got.text("publish.s3.profile"),
        addressing=got.text("publish.s3.addressing"),
        parallel=got.number("publish.s3.parallel"),
    )


def published_directory(target: str) -> DirectoryStore:
    """The store that `dir:PATH` names, there or still to be made. Raises UsageError for another kind of
    target.
    """
    path = target.removeprefix(_DIRECTORY)
    if path == target or not path:
        raise UsageError(f"target {target[:200]!r}: want dir:PATH")
    return DirectoryStore(Path(path))
