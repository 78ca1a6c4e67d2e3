"""What the log found out about a record on its way in, as the entry's `log` part keeps it.

`verdicts` of an entry is an object with these members, each absent when there is nothing to say:

    "content_hash"  "ok", "mismatch" or "not checkable": `audit.content_hash` against the record as it arrived
    "record_id"     {"conflict_with": N}: entry N was the first with this record ID, and has other content
    "incomplete"    the names of mandatory fields of an audit record that it came without (POST /v1/audit)

`protected` of an entry are strings, `drop:NAME` for a field that was left out and `hmac:KEY:NAME` for one whose
value was replaced by its HMAC-SHA-256 under the key of that name; NAME is a field as [ingest.protect] names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

CONTENT_HASH: Final = "content_hash"
RECORD_ID: Final = "record_id"
CONFLICT_WITH: Final = "conflict_with"
INCOMPLETE: Final = "incomplete"


class Verdict(StrEnum):
    """What became of a record's claim about its own content."""

    OK = "ok"
    MISMATCH = "mismatch"
    NOT_CHECKABLE = "not checkable"


def make_verdicts(
    content: Verdict | None = None, conflict_with: int | None = None, incomplete: Sequence[str] = ()
) -> dict[str, Any]:
    """The `verdicts` of an entry; empty when there is nothing to say."""
    made: dict[str, Any] = {}
    if content is not None:
        made[CONTENT_HASH] = content.value
    if conflict_with is not None:
        made[RECORD_ID] = {CONFLICT_WITH: conflict_with}
    if incomplete:
        made[INCOMPLETE] = list(incomplete)
    return made


def content_verdict(verdicts: Mapping[str, Any]) -> Verdict | None:
    """The stored verdict on the content hash; None when there is none, or one that this version does not know."""
    told = verdicts.get(CONTENT_HASH)
    return next((each for each in Verdict if each.value == told), None)


def conflict_of(verdicts: Mapping[str, Any]) -> int | None:
    """The entry that has the same record ID and other content; None when the entry conflicts with none."""
    told = verdicts.get(RECORD_ID)
    index = told.get(CONFLICT_WITH) if isinstance(told, dict) else None
    return index if type(index) is int and index >= 0 else None


def dropped(name: str) -> str:
    """How an entry says that the field was left out."""
    return f"drop:{name}"


def replaced(name: str, key: str) -> str:
    """How an entry says that the field's value was replaced by its HMAC under that key."""
    return f"hmac:{key}:{name}"


def touches_content(protected: Iterable[str]) -> bool:
    """Whether what was protected is part of what a content hash covers, the body, or is the content hash."""
    names = (each.split(":", 2 if each.startswith("hmac:") else 1)[-1] for each in protected)
    return any(
        name == "audit.content_hash" or name == "body" or name.startswith(("body.", "audit.content_hash."))
        for name in names
    )


__all__ = [
    "Verdict",
    "conflict_of",
    "content_verdict",
    "dropped",
    "make_verdicts",
    "replaced",
    "touches_content",
]
