"""Records for tests: plain ones, and ones with an ID or a content hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def text(value: str) -> dict[str, str]:
    return {"stringValue": value}


def record(body: str = "x", record_id: str | None = None, **attributes: str) -> dict[str, Any]:
    """A record with a text as its body."""
    named = {"audit.record.id": record_id} if record_id is not None else {}
    pairs = {**named, **{key.replace("__", "."): value for key, value in attributes.items()}}
    made: dict[str, Any] = {"body": text(body)}
    if pairs:
        made["attributes"] = [{"key": key, "value": text(value)} for key, value in pairs.items()]
    return made


def hashed(event: Any, *, wrong: bool = False) -> dict[str, Any]:
    """A record of this event with its content hash, made the way it is published."""
    dumped = json.dumps(event, sort_keys=True)
    digest = hashlib.sha256((dumped + wrong * "!").encode()).hexdigest()
    return record(json.dumps(event), audit__content_hash=digest)
