"""The logs that benchmarks of reading fill, and published copies of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import ORIGIN

import merklelog
from merklelog.publish import DirectoryStore, publish_copy


def compressible_entries(count: int) -> list[bytes]:
    """Audit events of about 256 bytes that differ in little."""
    line = b'{"actor":"user-%06d","action":"read","resource":"/accounts/%06d/statement","outcome":"success"}'
    return [(line % (i * 7919 % 1_000_000, i) * 3)[:256] for i in range(count)]


def fill_log(path: Path, pool: Sequence[bytes], count: int) -> None:
    """A new log at `path` / "log" of `count` entries, those of the pool again and again."""
    merklelog.create_log(path / "log", ORIGIN)
    with merklelog.open(path / "log") as log:
        for start in range(0, count, 10_000):
            at = start % len(pool)
            log.append_batch(pool[at : at + min(10_000, count - start)])


def publish_both(path: Path) -> None:
    """Copies of that log in `path` / "identity" and "gzip", each in that encoding of its bundles."""
    for encoding in ("identity", "gzip"):
        with merklelog.open_reader(path / "log") as log:
            store = DirectoryStore(path / encoding)
            publish_copy(log, store, verifiers=log.vkeys, bundle_encoding=encoding)
