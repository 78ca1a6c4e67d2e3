"""The objects of a published copy: their keys, and what a store has to know of each kind.

merklelog.json          the format version and the bundles' encoding; written first
tile/<L>/<N>[.p/<W>]    tiles, tile/entries/<N>[.p/<W>] entry bundles (c2sp.org/tlog-tiles)
checkpoints/<size>      every checkpoint that was published, by its size
checkpoint              the newest one (c2sp.org/tlog-tiles, "Checkpoints")

Of a log with witnesses (docs/witnessing.md):
cosigned/<size>         a checkpoint with the cosignatures of a quorum, by its size
checkpoint.unwitnessed  the newest one, where `checkpoint` waits for a quorum
checkpoint.witnessed    the newest one with a quorum, where `checkpoint` does not wait for it

Of a log's target alone (`publisher`):
head                    epoch, size and root of the newest publication, and who writes: see `pointer`
staging/<size>-<root>   what is new in a publication that is under way: see `staging`

Of a static copy alone (`copy`):
unfinished              there while a publication runs, or after one that was killed

Others put below the same prefix: partitions/ and partitions.json (the same entries for analysts), preflight/
(probes, while they run).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.note import parse_note
from merklelog.formats.wire import parse_decimal, quote
from merklelog.publish.encoding import BundleEncoding, compress, same_content
from merklelog.publish.objects import ObjectKind, ObjectStore
from merklelog.tree.hashing import HASH_SIZE, Hash
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, Tile

CHECKPOINT_KEY: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints/"
UNWITNESSED_KEY: Final = "checkpoint.unwitnessed"
WITNESSED_KEY: Final = "checkpoint.witnessed"
COSIGNED: Final = "cosigned/"
HEAD_KEY: Final = "head"
STAGING: Final = "staging/"
PREFLIGHT: Final = "preflight/"
UNFINISHED_KEY: Final = "unfinished"
TILES: Final = "tile/"

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
# What never changes may be kept for ever; a partial tile goes once the full one is there; the rest is asked for
# anew each time.
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_FOR_A_WHILE: Final = "public, max-age=3600"
_ASK: Final = "no-cache"


def _same_body(there: bytes, new: bytes) -> bool:
    """Whether two notes say the same, whoever signed."""
    try:
        return parse_note(there).text == parse_note(new).text
    except FormatError:
        return False


MANIFEST_KIND: Final = ObjectKind(_JSON, cache_control=_ASK)
CHECKPOINT_KIND: Final = ObjectKind(_TEXT, cache_control=_ASK)
CHECKPOINT_OF_SIZE_KIND: Final = ObjectKind(_TEXT, retain=True, same=_same_body, cache_control=_FOR_EVER)
HEAD_KIND: Final = ObjectKind(_JSON, cache_control=_ASK)
STAGING_KIND: Final = ObjectKind(cache_control="no-store")
MARK_KIND: Final = ObjectKind(_TEXT, cache_control=_ASK)
_FULL: Final = ObjectKind(retain=True, cache_control=_FOR_EVER)
_PARTIAL: Final = ObjectKind(cache_control=_FOR_A_WHILE)
_FULL_BUNDLE: Final = replace(_FULL, cold=True)
_FULL_GZIP: Final = replace(_FULL_BUNDLE, content_encoding="gzip", same=same_content)
_PARTIAL_GZIP: Final = replace(_PARTIAL, content_encoding="gzip", same=same_content)


def checkpoint_key(size: int) -> str:
    """The key under which the checkpoint of that size stays."""
    return f"{CHECKPOINTS}{size}"


def cosigned_key(size: int) -> str:
    """The key under which the checkpoint of that size stays with its cosignatures."""
    return f"{COSIGNED}{size}"


def staging_key(size: int, root: Hash) -> str:
    """The key of what is new in the publication of that tree."""
    return f"{STAGING}{size}-{root.hex()}"


def parse_staging_key(key: str) -> tuple[int, Hash]:
    """The size and root that a staging key names. Raises FormatError."""
    size, _, root = key.removeprefix(STAGING).partition("-")
    try:
        found = parse_decimal(size.encode("ascii"), "staging size"), Hash(bytes.fromhex(root))
    except (UnicodeEncodeError, ValueError):
        raise FormatError(f"{quote(key)}: want {STAGING}<size>-<root in hex>") from None
    # The one spelling only: fromhex takes spaces and capitals too.
    if len(found[1]) != HASH_SIZE or staging_key(*found) != key:
        raise FormatError(f"{quote(key)}: want {STAGING}<size>-<root in hex>")
    return found


def stored_checkpoint_sizes(store: ObjectStore, folder: str = CHECKPOINTS) -> Iterator[int]:
    """The sizes below `checkpoints/`, or another folder, in the order of their keys; what has no such name is
    passed over.
    """
    for key in store.list_keys(folder):
        try:
            yield parse_decimal(key.removeprefix(folder).encode("ascii"), key)
        except FormatError:
            continue  # a file of somebody else


def tile_kind(*, partial: bool) -> ObjectKind:
    """The kind of a tile."""
    return _PARTIAL if partial else _FULL


def bundle_kind(encoding: BundleEncoding, *, partial: bool) -> ObjectKind:
    """The kind of an entry bundle."""
    if encoding is BundleEncoding.IDENTITY:
        return _PARTIAL if partial else _FULL_BUNDLE
    return _PARTIAL_GZIP if partial else _FULL_GZIP


def kind_of(tile: Tile, encoding: BundleEncoding) -> ObjectKind:
    """The kind of a tile or an entry bundle."""
    partial = tile.width < TILE_WIDTH
    return (
        bundle_kind(encoding, partial=partial) if tile.level == BUNDLE_LEVEL else tile_kind(partial=partial)
    )


def encode_bundle(data: bytes, encoding: BundleEncoding) -> bytes:
    """A bundle as it is stored."""
    return data if encoding is BundleEncoding.IDENTITY else compress(data)
