"""What a program says of an event, as values that JSON, OTLP and a content hash all take the same way."""

from __future__ import annotations

import enum
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence, Set
from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

from merklelog.errors import UsageError

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

DEEPEST: Final = 48  # a record may have 64, and details lie within its body
_LEAST, _MOST = -(2**63), 2**63 - 1
_AS_TEXT: Final = (UUID, PurePath, Decimal, Fraction)


def plain_text(value: str) -> str:
    r"""Text that UTF-8 can carry: half of a surrogate pair (a file name's stray byte) is written `\udc80`."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return str.__str__(value)


def plain(value: Any, where: str = "details") -> Plain:
    """A copy of `value` made of None, bool, int, float, str, list and dict with str keys.

    Numbers that OTLP or JSON has no place for become text: integers beyond 64 bits, NaN and the infinities. So do
    times (ISO 8601), UUIDs, paths, decimals and bytes (base64); of an enum it is the value. Sets are sorted. Zero
    has no sign. Raises UsageError naming the place for anything else, for keys that are not text or whole numbers,
    and for what is more than 48 levels deep (what contains itself is).
    """
    return _plain(value, where, 0)


def plain_mapping(value: Mapping[str, Any] | None, where: str) -> dict[str, Plain]:
    """The same for a mapping, `{}` for None. Raises UsageError for what is no mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {type(value).__name__}, want a mapping of names to values")
    return _mapping(value, where, 0)


def _plain(value: Any, where: str, depth: int) -> Plain:
    if depth > DEEPEST:
        raise UsageError(f"{where}: more than {DEEPEST} levels deep")
    if isinstance(value, enum.Enum):
        return _plain(value.value, where, depth + 1)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return int(value) if _LEAST <= value <= _MOST else _long(value, where)
    if isinstance(value, float):
        return float(value) + 0.0 if math.isfinite(value) else repr(float(value))
    return _other(value, where, depth)


def _other(value: Any, where: str, depth: int) -> Plain:
    if isinstance(value, Mapping):
        return _mapping(value, where, depth)
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode("ascii")
    if isinstance(value, Sequence):
        return [_plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, Set):
        return sorted((_plain(item, f"{where}{{}}", depth + 1) for item in value), key=repr)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        return plain_text(str(value))
    raise UsageError(
        f"{where}: a {type(value).__name__} has no plain form; give text, numbers, lists or mappings"
    )


def _long(value: int, where: str) -> str:
    try:
        return str(value)
    except ValueError as error:  # Python refuses thousands of digits, which take long
        raise UsageError(f"{where}: an integer of {value.bit_length()} bits is too long") from error


def _mapping(value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Plain]:
    made: dict[str, Plain] = {}
    for key, item in value.items():
        name = _name(key, where)
        if name in made:
            raise UsageError(f"{where}: two of its keys are {name!r} as text")
        made[name] = _plain(item, f"{where}.{name}", depth + 1)
    return made


def _name(key: object, where: str) -> str:
    if isinstance(key, str):
        return plain_text(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return _long(key, where)
    raise UsageError(f"{where}: a key is a {type(key).__name__}, want text")
