"""The normal form of a record that came as JSON: known names, values of their kind, and nothing that says nothing.

`record` is the form. Lists and objects that are in it already are kept as they are, not copied: what is given here
is changed, and must be the caller's own.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from typing import Any, Final

from merklelog.errors import FormatError
from merklelog.formats.wire import encode_base64, parse_decimal, quote

from .record import (
    ENTITY,
    LOG_RECORD,
    MAX_DEPTH,
    ODD_DOUBLES,
    RESOURCE,
    SCOPE,
    Fields,
    Kind,
    double_value,
    inside,
    too_deep,
    typed_bytes,
)

Object = dict[str, Any]
# A reader gives a value in normal form, None for one that is as good as absent, and raises FormatError.
_Reader = Callable[[Any], Any]

_TIME: Final = re.compile("[1-9][0-9]{0,18}")
_PLAIN: Final = re.compile("0|-?[1-9][0-9]{0,17}")
_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})*")
_INTEGER: Final = re.compile("-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_SEVERITIES: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def normal_record(raw: Object) -> Object:
    """A LogRecord of OTLP/JSON. Raises FormatError that names the field."""
    return _message(raw, _LOG_RECORD)


def normal_resource(raw: Object) -> Object:
    """A Resource, with its envelope's `schemaUrl` inside. Raises FormatError that names the field."""
    return _message(raw, _RESOURCE)


def normal_scope(raw: Object) -> Object:
    """An InstrumentationScope, with its envelope's `schemaUrl` inside. Raises FormatError that names the field."""
    return _message(raw, _SCOPE)


def shown(value: Any) -> str:
    """A JSON value as an error message shows it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return quote(value) if isinstance(value, str) else quote(repr(value)).strip("'")


def _message(raw: Any, table: dict[str, tuple[str, _Reader]]) -> Object:
    if type(raw) is not dict:
        raise FormatError(f": got {shown(raw)}, want an object")
    found: Object = {}
    for name, content in raw.items():
        known = table.get(name)
        if known is None or content is None:
            continue
        try:
            value = known[1](content)
        except FormatError as error:
            raise inside(name, error) from None
        if value is not None:
            found[known[0]] = value
    if len(found) < len(raw):  # else every name was a plain one
        for name in raw:
            if name.endswith("Bytes") and (base := table.get(name[:-5])) and base[1] is _text:
                _put_bytes(found, base[0], raw[name])
    return found


def _put_bytes(found: Object, name: str, content: Any) -> None:
    """A string that came as its bytes: as a string after all where they are UTF-8."""
    try:
        data = b"" if content is None else _base64(content)
    except FormatError as error:
        raise inside(f"{name}Bytes", error) from None
    if not data:
        return
    found.pop(name, None)
    text = _utf8(data)
    if text is None:
        found[f"{name}Bytes"] = _encoded(data)
    else:
        found[name] = text


def _attributes(items: Any, depth: int = 1) -> list[Object] | None:
    if type(items) is not list:
        raise FormatError(f": got {shown(items)}, want an array")
    for at, item in enumerate(items):
        # Nearly every attribute of nearly every sender is plain, and stays as it is.
        try:
            value = item["value"]
            is_plain = (
                len(item) == 2
                and len(value) == 1
                and type(item["key"]) is str
                and (
                    type(value.get("stringValue")) is str
                    or (type(number := value.get("intValue")) is str and bool(_PLAIN.fullmatch(number)))
                )
            )
        except (TypeError, KeyError, AttributeError):
            is_plain = False  # `_pair` says what is wrong with it, or makes it what it should be
        if is_plain:
            continue
        try:
            items[at] = _pair(item, depth)
        except FormatError as error:
            raise inside(f"[{at}]", error) from None
    return items or None


def _pair(item: Any, depth: int) -> Object:
    if type(item) is not dict:
        raise FormatError(f": got {shown(item)}, want an object with key and value")
    found: Object = {"key": ""}
    for name, content in item.items():
        if content is None:
            continue
        try:
            if name == "key":
                found["key"] = _text(content) or ""
            elif name == "keyBytes":
                data = _base64(content)
                if (text := _utf8(data)) is None:
                    found["keyBytes"] = _encoded(data)
                else:
                    found["key"] = text
            elif name == "value":
                found["value"] = _value(content, depth)
        except FormatError as error:
            raise inside(name, error) from None
    if "keyBytes" in found:
        found["key"] = ""
    return found


def _value(raw: Any, depth: int = 1) -> Object:
    if type(raw) is not dict:
        raise FormatError(f": got {shown(raw)}, want an object that names the type of its value")
    there = [(name, content) for name, content in raw.items() if content is not None and name in _MEMBERS]
    if not there:
        return {}
    if len(there) > 1:
        raise FormatError(f": a value of {len(there)} types, {' and '.join(name for name, _ in there)}")
    name, content = there[0]
    try:
        return _MEMBERS[name](content, depth)
    except FormatError as error:
        raise inside(name, error) from None


def _string_value(content: Any, _: int) -> Object:
    if type(content) is not str:
        raise FormatError(f": got {shown(content)}, want a string")
    return {"stringValue": content}


def _bool_value(content: Any, _: int) -> Object:
    if type(content) is not bool:
        raise FormatError(f": got {shown(content)}, want true or false")
    return {"boolValue": content}


def _int_value(content: Any, _: int) -> Object:
    return {"intValue": str(_integer(content, -(2**63), 2**63 - 1))}


def _double_value(content: Any, _: int) -> Object:
    number: float | None = None
    if type(content) is str and (content in ODD_DOUBLES or _NUMBER.fullmatch(content)):
        if content in ODD_DOUBLES:
            return {"doubleValue": content}
        number = float(content)
    elif type(content) is float or (type(content) is int and abs(content) < 2**1024):
        number = float(content) if abs(content) < 2**1024 - 2**970 else math.inf
    if number is None or not math.isfinite(number):
        raise FormatError(
            f": got {shown(content)}, want a number of 64 bits, or 'NaN', 'Infinity', '-Infinity'"
        )
    return {"doubleValue": double_value(number)}


def _bytes_value(content: Any, _: int) -> Object:
    return typed_bytes(_base64(content))


def _list_of(content: Any, depth: int) -> list[Any]:
    if depth >= MAX_DEPTH:
        raise too_deep(": value")
    if type(content) is not dict:
        raise FormatError(f": got {shown(content)}, want an object with values")
    values = content.get("values")
    if values is None:
        return []
    if type(values) is not list:
        raise FormatError(f".values: got {shown(values)}, want an array")
    return values


def _array_value(content: Any, depth: int) -> Object:
    values = _list_of(content, depth)
    for at, each in enumerate(values):
        try:
            values[at] = _value(each, depth + 1)
        except FormatError as error:
            raise inside(f"values[{at}]", error) from None
    return {"arrayValue": {"values": values}}


def _kvlist_value(content: Any, depth: int) -> Object:
    values = _list_of(content, depth)
    try:
        return {"kvlistValue": {"values": _attributes(values, depth + 1) or []}}
    except FormatError as error:
        raise inside("values", error) from None


_MEMBERS: Final[dict[str, Callable[[Any, int], Object]]] = {
    "stringValue": _string_value,
    "string_value": _string_value,
    "boolValue": _bool_value,
    "bool_value": _bool_value,
    "intValue": _int_value,
    "int_value": _int_value,
    "doubleValue": _double_value,
    "double_value": _double_value,
    "bytesValue": _bytes_value,
    "bytes_value": _bytes_value,
    "arrayValue": _array_value,
    "array_value": _array_value,
    "kvlistValue": _kvlist_value,
    "kvlist_value": _kvlist_value,
}


def _integer(content: Any, low: int, high: int) -> int:
    number: int | None = None
    if type(content) is int:
        number = content
    elif type(content) is str and _INTEGER.fullmatch(content):
        digits = parse_decimal(content.removeprefix("-").encode(), "", 2**64)
        number = -digits if content[0] == "-" else digits
    elif type(content) is float and content.is_integer():
        number = round(content)
    if number is None or not low <= number <= high:
        raise FormatError(f": got {shown(content)}, want an integer from {low} to {high}")
    return number


def _text(content: Any) -> str | None:
    if type(content) is not str:
        raise FormatError(f": got {shown(content)}, want a string")
    return content or None


def _time(content: Any) -> str | None:
    if type(content) is str and _TIME.fullmatch(content):
        return content
    number = _integer(content, 0, 2**64 - 1)
    return str(number) if number else None


def _hex(content: Any) -> str | None:
    if type(content) is not str or not _HEX.fullmatch(content):
        raise FormatError(f": got {shown(content)}, want bytes in hex")
    return content.lower() or None


def _uint32(content: Any) -> int | None:
    return _integer(content, 0, 2**32 - 1) or None


def _enum(content: Any) -> int | None:
    if type(content) is str and content.startswith("SEVERITY_NUMBER_"):
        return _severity(content)
    return _integer(content, -(2**31), 2**31 - 1) or None


def _severity(name: str) -> int | None:
    """The number of a severity by its name in the protocol, which OTLP/JSON does not use and ProtoJSON does."""
    word = name.removeprefix("SEVERITY_NUMBER_")
    if word == "UNSPECIFIED":
        return None
    if word.rstrip("234") in _SEVERITIES and len(word) - len(word.rstrip("234")) <= 1:
        step = word[len(word.rstrip("234")) :]
        return 4 * _SEVERITIES.index(word.rstrip("234")) + ("1234".index(step) if step else 0) + 1
    raise FormatError(f": got {shown(name)}, want a severity of the protocol or its number")


def _base64(content: Any) -> bytes:
    """The bytes of base64 in either alphabet, with its padding or without, as ProtoJSON takes it."""
    if type(content) is not str or not content.isascii():
        raise _no_base64(content)
    text = content.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise _no_base64(content) from None


def _no_base64(content: Any) -> FormatError:
    return FormatError(f": got {shown(content)}, want base64")


def _encoded(data: bytes) -> str:
    return encode_base64(data).decode("ascii")


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _entities(content: Any) -> list[Object] | None:
    if type(content) is not list:
        raise FormatError(f": got {shown(content)}, want an array")
    return [_message(each, _ENTITY) for each in content] or None


def _texts(content: Any) -> list[Any] | None:
    if type(content) is not list:
        raise FormatError(f": got {shown(content)}, want an array of strings")
    found = []
    for each in content:
        if type(each) is dict:
            data = _base64(each.get("bytesValue"))
            text = _utf8(data)
            found.append(typed_bytes(data) if text is None else text)
        else:
            found.append(_text(each) or "")
    return found or None


_READERS: Final[dict[Kind, _Reader]] = {
    Kind.TEXT: _text,
    Kind.HEX: _hex,
    Kind.TIME: _time,
    Kind.UINT32: _uint32,
    Kind.FIXED32: _uint32,
    Kind.ENUM: _enum,
    Kind.TEXTS: _texts,
    Kind.VALUE: _value,
    Kind.ATTRIBUTES: _attributes,
    Kind.ENTITIES: _entities,
}


def _table(fields: Fields, *more: tuple[str, Kind]) -> dict[str, tuple[str, _Reader]]:
    """Both spellings of each name: OTLP's, and that of the protocol's own files."""
    table: dict[str, tuple[str, _Reader]] = {}
    for name, kind in (*fields.values(), *more):
        snake = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
        table[name] = table[snake] = (name, _READERS[kind])
    return table


# The fields that hold a string, whose bytes are kept where they are no text.
TEXT_NAMES: Final = frozenset(
    name
    for fields in (ENTITY, LOG_RECORD, RESOURCE, SCOPE)
    for name, row in _table(fields, ("schemaUrl", Kind.TEXT)).items()
    if row[1] is _text
) | {"key"}

_ENTITY: Final = _table(ENTITY)
_LOG_RECORD: Final = _table(LOG_RECORD)
_RESOURCE: Final = _table(RESOURCE, ("schemaUrl", Kind.TEXT))
_SCOPE: Final = _table(SCOPE, ("schemaUrl", Kind.TEXT))
