"""A server's own log, on standard error: lines for a person, or a JSON object a line for a machine.

The standard library's loggers are used, so that what libraries say lands there too. `event` adds named values to a
sentence. What comes from clients is escaped: no text of theirs can begin a line.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_FIELDS: Final = "merklelog_fields"


def event(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Say a sentence with named values: `key=value` after it, or keys of the JSON object."""
    logger.log(level, "%s", message, extra={_FIELDS: fields})


class HumanFormatter(logging.Formatter):
    """`2026-11-21T14:14:17.123Z warning the sentence key=value`, then a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record. A line break within a sentence is shown as two characters."""
        fields = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
        text = f"{_time(record)} {record.levelname.lower():7} {_escaped(record.getMessage())}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One object: time (RFC 3339, UTC), level, logger, message, the named values, and exception with its text."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, on one line."""
        values: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: _plain(value) for key, value in _fields(record).items()},
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, separators=(",", ":"))


def configure(style: str, level: str, stream: TextIO | None = None) -> None:
    """Send every logger of this process to `stream` (standard error), as "human" or "json"."""
    # Nobody can be told that nobody can be told: a closed standard error must not end a request.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if style == "json" else HumanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found = getattr(record, _FIELDS, {})
    return found if isinstance(found, dict) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z"


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(value: object) -> str:
    text = _escaped(str(value))
    return json.dumps(text) if not text or " " in text or '"' in text else text


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
