"""The tiles and bundles of a published copy, as they are stored: decoded, measured, not yet verified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from merklelog.errors import (
    DamagedError,
    FormatError,
    FormatVersionError,
    NotALogError,
    NotFoundError,
    UnreachableError,
)
from merklelog.formats.bundle import MAX_BUNDLE_BYTES, parse_bundle
from merklelog.publish.ahead import Wanted
from merklelog.publish.encoding import GZIP_MAGIC, BundleEncoding, decompress
from merklelog.publish.layout import CHECKPOINT_KEY, CHECKPOINTS, HEAD_KEY, PREFLIGHT
from merklelog.publish.manifest import MANIFEST_KEY, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from merklelog.publish.objects import ObjectReads, ObjectStore, StoredObject
from merklelog.tree.hashing import HASH_SIZE
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, tile_path

# Deflate adds at most 5 bytes to 16 KiB it can not compress (RFC 1951, section 3.2.4), and gzip 18 around it.
_MAX_STORED_BUNDLE: Final = MAX_BUNDLE_BYTES + (MAX_BUNDLE_BYTES >> 10) + 1024


def read_manifest(store: ObjectReads) -> Manifest | None:
    """The copy's `merklelog.json`, None when it has none.

    Raises FormatVersionError for a copy by a newer version, DamagedError for a file that can not be read.
    """
    name = f"{store.location}/{MANIFEST_KEY}"
    try:
        return parse_manifest(store.get(MANIFEST_KEY, limit=MAX_MANIFEST_BYTES).data)
    except NotFoundError:
        return None
    except FormatVersionError as error:
        raise FormatVersionError(f"{name}: {error}") from None
    except FormatError as error:
        raise DamagedError(f"{name}: {error}") from error


def copy_encoding(store: ObjectStore) -> BundleEncoding | None:
    """How the copy's bundles are stored; None where there is nothing yet (but probes of a preflight).

    Raises NotALogError for a place that holds something else, and what `read_manifest` raises.
    """
    manifest = read_manifest(store)
    if manifest is not None:
        return manifest.bundles
    others = (key for key in store.list_keys() if not key.startswith(PREFLIGHT))
    if (other := next(others, None)) is None:
        return None
    # Another writer may have begun it between the two looks: the manifest is always first.
    if (manifest := read_manifest(store)) is None:
        raise NotALogError(
            f"{store.location}: it holds {other} and no {MANIFEST_KEY}: want a copy or an empty place"
        )
    return manifest.bundles


def refuse_lost_pointers(store: ObjectStore) -> None:
    """Refuse a place that has checkpoints under their sizes, for who found neither `head` nor `checkpoint` there.

    Where the store keeps versions, one that is only hidden counts too. Raises DamagedError naming one.
    """
    if (key := next(store.list_keys(CHECKPOINTS), None) or _hidden_checkpoint(store)) is not None:
        raise DamagedError(
            f"{store.location}: it has {key}, and neither `{HEAD_KEY}` nor `{CHECKPOINT_KEY}`: a log was "
            "published there, or a copy of one was not finished, and what names its newest size is gone. "
            f"`merklelog recover DIR --from {store.location}` makes a log from what is left"
        )


def _hidden_checkpoint(store: ObjectStore) -> str | None:
    """The key of a checkpoint of which a version is left that no listing of keys tells; None where none is."""
    versions = getattr(store, "versions", None)
    if versions is None:
        return None
    try:
        return next((found.key for found in versions(CHECKPOINTS) if not found.is_delete_marker), None)
    except UnreachableError:
        return None  # who may list keys and no versions goes by the keys


class StoredTiles:
    """Reads tiles and bundles from a store, under the encoding its manifest names (None: it has no manifest).

    A partial tile or bundle that is not there any more is cut from the full one, which stands there before a
    partial one goes (tlog-tiles, "Partial Tiles"). An encoding that the store itself remembers goes before
    the manifest's.
    """

    def __init__(self, store: ObjectReads, encoding: BundleEncoding | None) -> None:
        self._store = store
        self._encoding = encoding

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` hashes. Raises NotFoundError; DamagedError for another length, naming the file."""
        found, stored_width, name = self._get(level, index, width, TILE_WIDTH * HASH_SIZE)
        if len(found.data) != stored_width * HASH_SIZE:
            raise DamagedError(f"{name}: got {len(found.data)} bytes, want {stored_width * HASH_SIZE}")
        return found.data[: width * HASH_SIZE]

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """`width` framed entries, decompressed. Raises NotFoundError; DamagedError naming the file."""
        found, stored_width, name = self._get(BUNDLE_LEVEL, index, width, _MAX_STORED_BUNDLE)
        try:
            data = self._decode(found, stored_width)
            if width == stored_width:
                return data
            return data[: sum(2 + len(entry) for entry in parse_bundle(data, stored_width)[:width])]
        except FormatError as error:
            raise DamagedError(f"{name}: {error}") from error

    def wanted(self, first: int, last: int) -> Iterator[Wanted]:
        """What reading the full bundles [first, last) with their tiles takes, in that order."""
        for index in range(first, last):
            yield Wanted(tile_path(BUNDLE_LEVEL, index), _MAX_STORED_BUNDLE)
            yield Wanted(tile_path(0, index), TILE_WIDTH * HASH_SIZE)

    def _get(self, level: int, index: int, width: int, limit: int) -> tuple[StoredObject, int, str]:
        """The object, the width it is stored at, and its name."""
        path = tile_path(level, index, width)
        try:
            return self._store.get(path, limit=limit), width, f"{self._store.location}/{path}"
        except NotFoundError:
            if width == TILE_WIDTH:
                raise
        full = tile_path(level, index)
        try:
            return self._store.get(full, limit=limit), TILE_WIDTH, f"{self._store.location}/{full}"
        except NotFoundError:
            location = self._store.location
            raise NotFoundError(f"{location}/{path}: it is not there, nor is the full {full}") from None

    def _decode(self, found: StoredObject, width: int) -> bytes:
        data = found.data
        encoding = self._encoding if found.content_encoding is None else found.content_encoding
        if encoding == BundleEncoding.GZIP:
            # Without the magic it can not be gzip: somebody decoded the copy on its way, as HTTP clients do.
            gzipped = data.startswith(GZIP_MAGIC)
        elif encoding is None:
            # A bundle may begin with the magic too, when its first entry has 8,075 bytes.
            gzipped = data.startswith(GZIP_MAGIC) and not _is_bundle(data, width)
        elif encoding == BundleEncoding.IDENTITY:
            gzipped = False
        else:
            raise FormatError(f"content encoding: got {encoding[:40]!r}, want gzip or none")
        return decompress(data, MAX_BUNDLE_BYTES) if gzipped else data


def _is_bundle(data: bytes, width: int) -> bool:
    try:
        parse_bundle(data, width)
    except FormatError:
        return False
    return True
