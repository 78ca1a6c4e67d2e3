"""The objects of a published copy: their keys, and what a store has to know of each kind.

merklelog.json          the format version and the bundles' encoding; written first
tile/<L>/<N>[.p/<W>]    tiles, tile/entries/<N>[.p/<W>] entry bundles (c2sp.org/tlog-tiles)
checkpoints/<size>      every checkpoint that was published, by its size
checkpoint              the newest one (c2sp.org/tlog-tiles, "Checkpoints")
unfinished              there while a publication runs, or after one that was killed
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.note import parse_note
from merklelog.formats.wire import parse_decimal
from merklelog.publish.encoding import BundleEncoding, compress, same_content
from merklelog.publish.objects import ObjectKind, ObjectStore

CHECKPOINT_KEY: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints/"
UNFINISHED_KEY: Final = "unfinished"
TILES: Final = "tile/"

_TEXT: Final = "text/plain; charset=utf-8"


def _same_body(there: bytes, new: bytes) -> bool:
    """Whether two notes say the same, whoever signed."""
    try:
        return parse_note(there).text == parse_note(new).text
    except FormatError:
        return False


MANIFEST_KIND: Final = ObjectKind("application/json")
CHECKPOINT_KIND: Final = ObjectKind(_TEXT)
CHECKPOINT_OF_SIZE_KIND: Final = ObjectKind(_TEXT, retain=True, same=_same_body)
MARK_KIND: Final = ObjectKind(_TEXT)
_FULL: Final = ObjectKind(retain=True)
_PARTIAL: Final = ObjectKind()
_FULL_GZIP: Final = ObjectKind(content_encoding="gzip", retain=True, same=same_content)
_PARTIAL_GZIP: Final = ObjectKind(content_encoding="gzip", same=same_content)


def checkpoint_key(size: int) -> str:
    """The key under which the checkpoint of that size stays."""
    return f"{CHECKPOINTS}{size}"


def stored_checkpoint_sizes(store: ObjectStore) -> Iterator[int]:
    """The sizes below `checkpoints/`, in the order of their keys; what has no such name is passed over."""
    for key in store.list_keys(CHECKPOINTS):
        try:
            yield parse_decimal(key.removeprefix(CHECKPOINTS).encode("ascii"), key)
        except FormatError:
            continue  # a file of somebody else


def tile_kind(*, partial: bool) -> ObjectKind:
    """The kind of a tile."""
    return _PARTIAL if partial else _FULL


def bundle_kind(encoding: BundleEncoding, *, partial: bool) -> ObjectKind:
    """The kind of an entry bundle."""
    if encoding is BundleEncoding.IDENTITY:
        return tile_kind(partial=partial)
    return _PARTIAL_GZIP if partial else _FULL_GZIP


def encode_bundle(data: bytes, encoding: BundleEncoding) -> bytes:
    """A bundle as it is stored."""
    return data if encoding is BundleEncoding.IDENTITY else compress(data)
