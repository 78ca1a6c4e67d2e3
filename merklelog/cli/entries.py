"""Verified entries as a stream, and the forms in which they are written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict

from merklelog.cli.results import EntryResult
from merklelog.errors import UsageError
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import TILE_WIDTH, leaf_hash

Indexed = Iterator[tuple[int, bytes]]


def verified_entries(tiles: VerifiedTiles, start: int, end: int) -> Indexed:
    """(index, entry) of [start, end), each proven to be under the tiles' root; holds one bundle at a time."""
    for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
        first = number * TILE_WIDTH
        for at, entry in enumerate(tiles.entries(number), first):
            if start <= at < end:
                yield at, entry


def as_line(index: int, entry: bytes) -> bytes:
    """An entry as a line. Raises UsageError for one that is no line."""
    if b"\n" in entry:
        raise UsageError(
            f"entry {index} holds a newline, so it can not be a line of its own; --json shows it"
        )
    return entry + b"\n"


def as_json(index: int, entry: bytes) -> bytes:
    """An entry as a JSON object."""
    data = base64.b64encode(entry).decode("ascii")
    result = EntryResult(index, leaf_hash(entry).hex(), data)
    return json.dumps(asdict(result), separators=(",", ":")).encode("ascii")
