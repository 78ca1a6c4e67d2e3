"""Typed values of records (OTLP/JSON's AnyValue) as the Python objects that they stand for."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

# A text with more commas and brackets than this is not read as JSON to look things up in it: each may be a value,
# which takes fifty times the two bytes that it has there. No record that fits one entry has so many.
MAX_VALUES: Final = 65_536

Typed = dict[str, Any]  # an AnyValue: {"stringValue": ...} and its siblings; {} is no value at all


class NotPlainError(ValueError):
    """A typed value that no JSON value stands for: bytes, or one key twice in one list. Never leaves this room."""


def text_of(value: Typed | None) -> str | None:
    """The text of a scalar: a string as it is, true or false, digits, base64 of bytes. None for anything else."""
    if not value:
        return None
    if (text := value.get("stringValue")) is not None:
        return str(text)
    if (flag := value.get("boolValue")) is not None:
        return "true" if flag else "false"
    for kind in ("intValue", "doubleValue", "bytesValue"):
        if (told := value.get(kind)) is not None:
            return str(told)
    return None


def plain(value: Typed | None) -> Any:
    """The Python object of a value, as Python's json would read it: None, bool, int, float, str, list, dict.

    Raises NotPlainError for bytes and for a key that stands twice in one key-value list. A record is not nested
    deeper than `record.MAX_DEPTH`.
    """
    if not value:
        return None
    ((kind, told),) = value.items()
    if kind == "arrayValue":
        return [plain(each) for each in told.get("values", ())]
    if kind == "kvlistValue":
        return plain_pairs(told.get("values", ()))
    if kind == "intValue":
        return int(told)
    if kind == "doubleValue":
        return float(told)
    if kind == "bytesValue":
        raise NotPlainError("bytes have no form in JSON")
    return told


def plain_pairs(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """The dict of a list of keys and values. Raises what `plain` does."""
    made = {each["key"]: plain(each.get("value")) for each in pairs}
    if len(made) != len(pairs):
        raise NotPlainError("a key stands twice in one list")
    return made


def loose(value: Typed | None, depth: int = 64) -> Any:
    """`plain` for looking things up: bytes are their base64, of a key that comes twice the last counts.

    Nothing is raised: what lies deeper than `depth` is None.
    """
    if not value or not depth:
        return None
    ((kind, told),) = value.items()
    if kind == "arrayValue":
        return [loose(each, depth - 1) for each in told.get("values", ())]
    if kind == "kvlistValue":
        return {each["key"]: loose(each.get("value"), depth - 1) for each in told.get("values", ())}
    if kind == "intValue":
        return int(told)
    if kind == "doubleValue" and isinstance(told, str):
        return float(told)
    return told


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, to look things up in it; None for another text, and for too many values."""
    if text[:1] != "{" and text.lstrip()[:1] != "{":
        return None
    if len(text) > MAX_VALUES and sum(map(text.count, ",[{")) > MAX_VALUES:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if type(value) is dict else None


def as_typed(value: Any) -> Typed:
    """The typed value of a Python object: the opposite of `plain`, for what `plain` gives."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _name_of(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [as_typed(each) for each in value]}}
    pairs = [{"key": str(key), "value": as_typed(each)} for key, each in value.items()]
    return {"kvlistValue": {"values": pairs}}


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


__all__ = [
    "MAX_VALUES",
    "NotPlainError",
    "Typed",
    "as_typed",
    "json_object",
    "loose",
    "plain",
    "plain_pairs",
    "text_of",
]
