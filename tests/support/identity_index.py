"""What the tests of the identity index share: keys, a feeder, and what must be found."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from merklelog.store.fingerprints import FingerprintIndex

SMALL = {"tail_limit": 64, "parts_a_run": 2, "young_runs": 2, "fan_in": 2}


def key_of(index: int) -> bytes:
    return hashlib.sha256(index.to_bytes(8, "big")).digest()


def keys_of(start: int, end: int) -> list[bytes]:
    return [key_of(index) for index in range(start, end)]


def feed(index: FingerprintIndex, size: int, step: int = 64) -> None:
    """Feed what is missing below `size`, as an owner does."""
    while index.end < size:
        start = index.end
        index.add(keys_of(start, min(start + step, size)), start)


def assert_finds_all(index: FingerprintIndex, size: int) -> None:
    found, end = index.search(keys_of(0, size))
    assert end >= size
    assert found == {position: [position] for position in range(size)}


def made(folder: Path, size: int) -> list[Path]:
    """The run files of a settled and closed index; of 7 * 128 + 64 entries these are 512, 256 and 128 long."""
    index = FingerprintIndex(folder, **SMALL)
    for end in range(64, size + 64, 64):
        feed(index, min(end, size))
        index.settle()
    index.close()
    return sorted(folder.iterdir())


SIZE = 7 * 128 + 64


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)
