"""Log records as entries: a line of JSON, and never longer than an entry may be."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from merklelog.formats import MAX_ENTRY

_KNOWN: Final = frozenset(
    (*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName")
)
_BEGINNING: Final = 4_096  # letters of an entry that is too long; each may take 12 bytes


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, process, thread, and what else there is.

    `exception` and `stack` are texts; what a program gave as `extra` is under that name, and what of it JSON does
    not know as its `repr`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        fields = _head(record.created, record.levelname, record.name)
        fields |= {"message": record.getMessage(), "process": record.process, "thread": record.threadName}
        if record.exc_info:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        extra = {name: value for name, value in record.__dict__.items() if name not in _KNOWN}
        if extra:
            fields["extra"] = extra
        return _json(fields)


def entry_of(record: logging.LogRecord, text: str) -> bytes:
    """The formatted record as an entry; one that is too long is replaced by how it begins, and its hash."""
    entry = text.encode("utf-8", "backslashreplace")
    if len(entry) <= MAX_ENTRY:
        return entry
    fields = _head(record.created, record.levelname, record.name)
    fields["too_long"] = {"bytes": len(entry), "sha256": sha256(entry).hexdigest()}
    fields["begins"] = text[:_BEGINNING]
    return _json(fields).encode("utf-8", "backslashreplace")


def gap_entry(now: float, logger: str, count: int, reason: str) -> bytes:
    """An entry that says that `count` records before it are missing."""
    fields = _head(now, "WARNING", logger)
    fields["message"] = f"{count} log records were not stored: {reason}"
    fields["lost"] = count
    return _json(fields).encode("utf-8", "backslashreplace")


def _head(created: float, level: str, logger: str) -> dict[str, Any]:
    time = datetime.fromtimestamp(created, UTC).isoformat(timespec="microseconds")
    return {"time": time.replace("+00:00", "Z"), "level": level, "logger": logger}


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=repr, separators=(",", ":"))
