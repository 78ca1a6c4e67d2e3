"""Entries that nobody but the log's own receivers may make: those with a part of the log's own words.

In such an entry the log says who sent a record and when, and an auditor believes it. So whoever appends bytes may
not append these, or a sender could write another's name there. The same record without that part may be appended.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Final

from merklelog.ingest.entry import FORMAT

_START: Final = b'{"log":{"format":"%s"' % FORMAT.encode()
WHY: Final = (
    f"begins as {FORMAT} with a log part, which the log alone writes: send the record by OTLP or to /v1/audit, or "
    "append it without that part"
)


def is_reserved(data: bytes) -> bool:
    """Whether these bytes claim to be the log's own."""
    return data.startswith(_START)


def any_reserved(entries: Iterable[bytes]) -> bool:
    """Whether one of them does."""
    return any(map(bytes.startswith, entries, repeat(_START)))


__all__ = ["WHY", "any_reserved", "is_reserved"]
