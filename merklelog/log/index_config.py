"""The section [index] of a log's configuration: whether entries can be searched, and what that may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .table import Key, Settings

INDEX_KEYS: Final = (
    Key(
        "index",
        "enabled",
        False,
        "true: entries are indexed for search as they come (needs the extra [search]); the index is made from the "
        "log, and made anew whenever it is missing or damaged",
    ),
    Key(
        "index",
        "memory_bytes",
        64 << 20,
        "bytes of memory in which new entries are indexed before they go to the disk",
        low=16 << 20,
        high=4 << 30,
    ),
    Key(
        "index",
        "interval",
        1.0,
        "seconds between commits of the index, at least: how far behind the log a search may be",
        low=0.05,
        high=3_600,
    ),
)


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """What [index] says; `interval` is in seconds."""

    enabled: bool = False
    memory_bytes: int = 64 << 20
    interval: float = 1.0


def index_config(got: Settings) -> IndexConfig:
    """The checked values of INDEX_KEYS."""
    return IndexConfig(
        enabled=got.flag("index.enabled"),
        memory_bytes=got.number("index.memory_bytes"),
        interval=got.fraction("index.interval"),
    )


__all__ = ["INDEX_KEYS", "IndexConfig", "index_config"]
