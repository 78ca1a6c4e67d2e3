"""`staging/<size>-<root>`: all that is new in a publication, in one object that is there before `head` moves.

    merklelog staging 1
    {"origin":"...","size":1256,"root":"<64 hex>","objects":[["tile/entries/004",8123],...]}
    the objects' stored bytes, one after the other

So whoever finds `head` can finish what it names, the writer's disk or none. It is never locked, and goes once
every object of it stands under its own key. Nothing in it is believed: its tiles must lead to the root.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from merklelog.errors import FormatError
from merklelog.formats.wire import quote
from merklelog.protocol.publication import TreeHead
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.layout import kind_of
from merklelog.publish.objects import MAX_OBJECT_BYTES, NewObject
from merklelog.tree.hashing import HASH_SIZE, SIZE_LIMIT, Hash
from merklelog.tree.tiles import Tile, parse_path, width_at

MAX_STAGING_BYTES: Final = MAX_OBJECT_BYTES
# Whoever reads one has no more objects to look at than this: 32 MiB of the smallest bundles are fewer.
MAX_STAGED_OBJECTS: Final = 1 << 20

_FIRST_LINE: Final = b"merklelog staging 1\n"


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """The second line."""

    origin: str
    size: int
    root: str
    objects: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging object: the tree it is for, and the stored bytes of each new object by its key, in order."""

    origin: str
    size: int
    root: Hash
    objects: Mapping[str, bytes] = field(repr=False)

    def new_objects(self, encoding: BundleEncoding) -> Iterator[NewObject]:
        """The objects as they are put, where bundles are stored so."""
        for key, data in self.objects.items():
            yield NewObject(key, data, kind_of(parse_path(key), encoding))

    def tiles(self) -> list[Tile]:
        """What the objects are."""
        return [parse_path(key) for key in self.objects]


class StagingWriter:
    """Makes a staging object, one object after the other, and holds its bytes once.

    `tiles` are what will be added, in that order. The second line has to say how long each is, and stands before
    them: room for it is left, and what is not needed of that is filled with spaces, which JSON allows.
    """

    def __init__(self, origin: str, head: TreeHead, tiles: Sequence[Tile]) -> None:
        self.places: list[tuple[Tile, int, int]] = []  # each object added: its tile, start and length
        self._header = _Header(
            origin, head.size, head.root.hex(), [(tile.path, MAX_STAGING_BYTES) for tile in tiles]
        )
        self._tiles = tiles
        self._room = len(msgspec.json.encode(self._header))
        self._buffer = io.BytesIO()
        self._buffer.write(_FIRST_LINE + b" " * self._room + b"\n")

    def add(self, data: bytes) -> None:
        """The stored bytes of the next object."""
        self.places.append((self._tiles[len(self.places)], self._buffer.tell(), len(data)))
        self._buffer.write(data)

    def finish(self) -> bytes:
        """The whole object. Raises FormatError when it is too long to be one."""
        if self._buffer.tell() > MAX_STAGING_BYTES:
            raise FormatError(f"staging: {self._buffer.tell()} bytes, want at most {MAX_STAGING_BYTES}")
        self._header.objects = [(tile.path, length) for tile, _, length in self.places]
        self._buffer.seek(len(_FIRST_LINE))
        self._buffer.write(msgspec.json.encode(self._header))
        return self._buffer.getvalue()  # CPython gives its buffer away here, and makes no copy


def format_staging(
    origin: str, head: TreeHead, objects: Sequence[tuple[str, int]], payload: Iterable[bytes]
) -> bytes:
    """The object's bytes; `payload` are the bytes of `objects` (key and length), one after the other."""
    header = msgspec.json.encode(_Header(origin, head.size, head.root.hex(), list(objects)))
    return b"".join((_FIRST_LINE, header, b"\n", *payload))


def parse_staging(data: bytes) -> Staging:
    """Reads the object: every key is a tile or bundle of the tree it names, once, and all bytes are used.

    The bytes of the objects are not looked at. Raises FormatError.
    """
    if not data.startswith(_FIRST_LINE):
        raise FormatError(f"staging: got {quote(data[:32])}, want {quote(_FIRST_LINE)} first")
    end = data.find(b"\n", len(_FIRST_LINE))
    if end < 0:
        raise FormatError("staging: it ends in its second line")
    try:
        header = msgspec.json.decode(data[len(_FIRST_LINE) : end].decode("utf-8"), type=_Header)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"staging: second line: {error}") from None
    root = _root(header)
    if len(header.objects) > MAX_STAGED_OBJECTS:
        raise FormatError(f"staging: got {len(header.objects)} objects, want at most {MAX_STAGED_OBJECTS}")
    objects: dict[str, bytes] = {}
    at = end + 1
    for key, length in header.objects:
        tile = parse_path(key)
        if tile.width != width_at(tile.level, tile.index, header.size):
            raise FormatError(f"staging: {key} is no tile of a tree of size {header.size}")
        if not 0 < length <= len(data) - at or key in objects:
            raise FormatError(f"staging: {key}: named twice, or its {length} bytes are not there")
        objects[key] = data[at : at + length]
        at += length
    if at != len(data):
        raise FormatError(f"staging: {len(data) - at} bytes follow the last object")
    return Staging(header.origin, header.size, root, objects)


def _root(header: _Header) -> Hash:
    try:
        root = Hash(bytes.fromhex(header.root))
    except ValueError:
        root = Hash(b"")
    if len(root) != HASH_SIZE or root.hex() != header.root:
        raise FormatError(f"staging: root: got {quote(header.root)}, want 64 digits of lower-case hex")
    if not 0 < header.size < SIZE_LIMIT:
        raise FormatError(f"staging: size: got {header.size}, want 1 or more, below 2**63")
    return root
