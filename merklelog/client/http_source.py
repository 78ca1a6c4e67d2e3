"""A log behind HTTP: the paths of c2sp.org/tlog-tiles below a prefix, served by this project or by any other.

A static copy on a web server and the live server read alike. What this project's have beyond tlog-tiles
(`checkpoints/<size>`, `merklelog.json`) is used where it is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Final

from merklelog.client.access import Access, split_url
from merklelog.client.http_wire import Connections
from merklelog.client.retry import Attempts
from merklelog.client.shown import ShownCheckpoints
from merklelog.client.source import pointer_of
from merklelog.client.statuses import HTTP, REASONS, error_for
from merklelog.cosign.exchange import Exchange
from merklelog.errors import DamagedError, FormatError, MerklelogError, NotFoundError, UnreachableError
from merklelog.formats.wire import parse_decimal
from merklelog.publish.objects import MAX_OBJECT_BYTES, StoredObject
from merklelog.publish.pointer import read_head
from merklelog.publish.stored import StoredTiles, read_manifest
from merklelog.tree.tiles import TILE_WIDTH

SCHEMES: Final = ("http", "https")
_BUNDLES: Final = "tile/entries/"
_MAX_PROBLEM: Final = 64 << 10
_MAX_WAIT: Final = 3_600


class HttpObjects:
    """The objects below a URL, read only. Safe for threads.

    With `retry` a request is tried again as `access.retry` says; without, the first refusal is raised.
    """

    def __init__(self, target: str, access: Access, *, retry: bool = True) -> None:
        """Nothing is asked yet. Raises UsageError."""
        url = split_url(target, SCHEMES, prefix=True)
        self.location = target.rstrip("/")
        self.prefix = url.path.rstrip("/")
        self._connections = Connections(url, access)
        self._access = access
        self._retry = retry

    def close(self) -> None:
        """Close the kept connections."""
        self._connections.close()

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """See ObjectReads.get.

        Raises NotFoundError, DamagedError for a longer one, UnavailableError and OverloadedError for what may come
        right by itself, UnauthenticatedError, ForbiddenError, and UnreachableError for other refusals.
        """
        bundle = key.startswith(_BUNDLES)
        headers = {"Accept-Encoding": "gzip" if bundle else "identity"}
        answer = self.ask("GET", key, headers=headers, limit=max(limit, _MAX_PROBLEM))
        if len(answer.body) > limit:
            raise DamagedError(f"{self.location}/{key}: the answer is longer than {limit} bytes")
        encoding = answer.headers.get("content-encoding")
        if encoding is not None and encoding != "identity" and not bundle:
            raise DamagedError(f"{self.location}/{key}: content-encoding {encoding[:40]!r} was not asked for")
        return StoredObject(answer.body, "", encoding)

    def ask(
        self,
        method: str,
        key: str,
        *,
        headers: dict[str, str],
        body: bytes | None = None,
        limit: int,
        seconds: float | None = None,
    ) -> Exchange:
        """One request, of which only a 200 comes back; `seconds` is for one try."""
        attempts = Attempts(self._access.retry)
        while True:
            most = attempts.seconds if seconds is None else seconds
            try:
                answer = self._connections.ask(
                    method, f"{self.prefix}/{key}", limit=limit, seconds=most, headers=headers, body=body
                )
                if answer.status == 200:
                    return answer
                raise self._refusal(key, answer)
            except MerklelogError as error:
                if not self._retry:
                    raise
                time.sleep(attempts.pause(error))

    def _refusal(self, key: str, answer: Exchange) -> MerklelogError:
        where = f"{self.location}/{key}"
        if 300 <= answer.status < 400:
            place = answer.headers.get("location", "nowhere")
            return error_for(UnreachableError, f"{where}: it redirects, name that target", place, None)
        reason, message = _problem(answer)
        kind = HTTP.get(answer.status, UnreachableError) if reason is None else REASONS[reason]
        if answer.status == 403 and reason is None:
            return UnreachableError(f"{where}: status 403", refused=True)
        if answer.status == 404 and not issubclass(kind, NotFoundError):
            kind = NotFoundError  # what lies outside the tree is not there either
        return error_for(
            kind, f"{where}: status {answer.status}", message, retry_after(answer.headers.get("retry-after"))
        )


def _problem(answer: Exchange) -> tuple[str | None, str]:
    """The reason that one of this project's servers gives, and its words (RFC 9457); None and "" from others."""
    if answer.headers.get("content-type", "").partition(";")[0].strip() != "application/problem+json":
        return None, ""
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None, ""  # whoever wrote that, the status still says enough
    if not isinstance(told, dict):
        return None, ""
    reason, message = told.get("reason"), told.get("message")
    known = reason if isinstance(reason, str) and reason in REASONS else None
    return known, message if isinstance(message, str) else ""


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header (RFC 9110, section 10.2.3); None for a date, which needs their clock."""
    try:
        return float(parse_decimal((value or "").encode("latin-1", "replace"), "retry-after", _MAX_WAIT))
    except FormatError:
        return None


class HttpSource:
    """A TileSource over `objects`. Safe for threads; nothing that comes back is verified.

    tlog-tiles has no list of old checkpoints, so of stored sizes only the newest is known.
    """

    def __init__(self, objects: HttpObjects) -> None:
        self._objects = objects
        self._checkpoints = ShownCheckpoints(objects)
        self._tiles: StoredTiles | None = None

    def checkpoint(self, size: int | None = None) -> bytes:
        """The newest checkpoint, or the one stored for `size`. Raises NotFoundError, and as `HttpObjects.get`."""
        return self._checkpoints.get(size)

    def pointer(self, key: str) -> bytes | None:
        """What is served under another name than `checkpoint`; None when nothing is. See Pointing."""
        return pointer_of(self._objects, key)

    def stored_sizes(self) -> Iterator[int]:
        """The newest checkpoint's size."""
        yield self._checkpoints.newest_size()

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` hashes of a tile. Raises NotFoundError, DamagedError, and as `HttpObjects.get`."""
        return self._stored().tile(level, index, width)

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` framed entries, decompressed. Raises as `tile`."""
        return self._stored().bundle(index, width)

    def epoch(self) -> int | None:
        """The epoch that `head` names, where what is served are a target's objects; else None."""
        stored = read_head(self._objects)
        return None if stored is None else stored.head.epoch

    def close(self) -> None:
        """Close the connections."""
        self._objects.close()

    def _stored(self) -> StoredTiles:
        if self._tiles is None:
            manifest = read_manifest(self._objects)
            self._tiles = StoredTiles(self._objects, manifest.bundles if manifest else None)
        return self._tiles


def open_http(target: str, access: Access) -> HttpSource:
    """The log behind an http(s):// prefix; asks for nothing yet. Raises UsageError."""
    return HttpSource(HttpObjects(target, access))
