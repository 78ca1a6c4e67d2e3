"""OTLP's protobuf read field by field: what the parser in C refuses, because of one string or for good.

The same rules as that parser's (unknown fields passed over, a message field that comes again merged into the
first, the last of a oneof kept), but a string that is not UTF-8 is kept as bytes, and so is a list that stands
within `MAX_DEPTH` values: no record makes those beside it be refused. Nothing is copied but what is kept.

Source: protobuf, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from merklelog.errors import FormatError

from .record import (
    ENTITY,
    LOG_RECORD,
    MAX_DEPTH,
    RESOURCE,
    SCOPE,
    Fields,
    Kind,
    Record,
    Tally,
    double_value,
    inside,
    typed_bytes,
)

_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = range(6)
_WIRE: Final = {
    Kind.TIME: _FIXED64,
    Kind.FIXED32: _FIXED32,
    Kind.UINT32: _VARINT,
    Kind.ENUM: _VARINT,
}  # of any other kind: _LENGTH

_MANY: Final = {Kind.ATTRIBUTES, Kind.ENTITIES, Kind.TEXTS}

# A message may come in several parts, which are merged by reading them one after the other.
_Parts = tuple[memoryview, ...]


def records_from_wire(data: bytes) -> list[Record]:
    """The records of an ExportLogsServiceRequest, as `records_from_protobuf`. Raises FormatError."""
    records: list[Record] = []
    tally = Tally()
    for at, group in enumerate(_repeated((memoryview(data),), 1, "request")):
        try:
            records += _of_resource((group,), tally)
        except FormatError as error:
            raise inside(f"resourceLogs[{at}]", error) from None
    return records


def count_records(data: bytes, most: int) -> int:
    """How many records and groups of them a request has, counted no further than `most` and what is malformed."""
    count = 0
    try:
        for count, _ in enumerate(_records_and_groups(data), 1):
            if count > most:
                break
    except FormatError:
        return count  # whoever reads it says what is malformed
    return count


def _records_and_groups(data: bytes) -> Iterator[memoryview]:
    for group in _repeated((memoryview(data),), 1, "request"):
        yield group
        for part in _repeated((group,), 2, "request"):
            yield part
            yield from _repeated((part,), 2, "request")


def _of_resource(group: _Parts, tally: Tally) -> list[Record]:
    shared, size = _envelope(group, RESOURCE, "resource", tally)
    records: list[Record] = []
    for at, part in enumerate(_repeated(group, 2, ": resourceLogs")):
        try:
            scope, own = _envelope((part,), SCOPE, "scope", tally)
            scoped = {**shared, **scope}
            tally.records(sum(1 for _ in _repeated((part,), 2, ": scopeLogs")), size + own)
            for number, record in enumerate(_repeated((part,), 2, ": scopeLogs")):
                try:
                    records.append({**scoped, **_message((record,), LOG_RECORD, tally)})
                except FormatError as error:
                    raise inside(f"logRecords[{number}]", error) from None
        except FormatError as error:
            raise inside(f"scopeLogs[{at}]", error) from None
    return records


def _envelope(group: _Parts, fields: Fields, name: str, tally: Tally) -> tuple[Record, int]:
    """The resource or scope of its group with the group's schema URL, under its name, and how long they are.

    {} when there is neither.
    """
    parts: list[memoryview] = []
    url = memoryview(b"")
    for number, wire, content in _fields(group, f": {name}"):
        if wire == _LENGTH and isinstance(content, memoryview):
            if number == 1:
                _add_part(parts, content, tally)
            elif number == 3:
                url = content
    if not parts and not url:
        return {}, 0
    try:
        found = _message(tuple(parts), fields, tally)
    except FormatError as error:
        raise inside(name, error) from None
    _put_text(found, "schemaUrl", bytes(url))
    return {name: found}, sum(map(len, parts)) + len(url)


def _message(parts: _Parts, fields: Fields, tally: Tally) -> dict[str, Any]:
    """A message of a table, in normal form."""
    found: dict[str, Any] = {}
    values: list[memoryview] = []
    for number, wire, content in _fields(parts, ": message"):
        name, kind = fields.get(number, ("", None))
        if kind is None or wire != _WIRE.get(kind, _LENGTH):
            continue
        if isinstance(content, int):
            _put_number(found, name, kind, content)
        elif kind in _MANY:
            tally.values(1)
            found.setdefault(name, []).append(_one_of(kind, content, tally))
        elif kind is Kind.VALUE:
            _add_part(values, content, tally)
            found[name] = {}
        elif kind is Kind.HEX:
            _put(found, name, content.hex())
        else:
            _put_text(found, name, bytes(content))
    if "attributes" in found:
        found["attributes"] = _attributes(found["attributes"], "attributes", 1, tally)
    if "body" in found:
        try:
            found["body"] = _value(tuple(values), 1, tally)
        except FormatError as error:
            raise inside("body", error) from None
    return found


def _one_of(kind: Kind, content: memoryview, tally: Tally) -> Any:
    """One of a repeated field: an attribute is read later, when its place is known."""
    if kind is Kind.ENTITIES:
        return _message((content,), ENTITY, tally)
    return content if kind is Kind.ATTRIBUTES else _text(bytes(content))


def _attributes(pairs: list[memoryview], name: str, depth: int, tally: Tally) -> list[dict[str, Any]]:
    found = []
    for at, pair in enumerate(pairs):
        try:
            found.append(_pair((pair,), depth, tally))
        except FormatError as error:
            raise inside(f"{name}[{at}]", error) from None
    return found


def _pair(parts: _Parts, depth: int, tally: Tally) -> dict[str, Any]:
    found: dict[str, Any] = {"key": ""}
    values: list[memoryview] = []
    for number, wire, content in _fields(parts, ": attribute"):
        if wire == _LENGTH and isinstance(content, memoryview):
            if number == 1:
                found["key"] = ""
                _put_text(found, "key", bytes(content))
            elif number == 2:
                _add_part(values, content, tally)
    if values:
        found["value"] = _value(tuple(values), depth, tally)
    return found


def _value(parts: _Parts, depth: int, tally: Tally) -> dict[str, Any]:
    member = 0
    kept: list[int | memoryview] = []
    for number, wire, content in _fields(parts, ": value"):
        if _MEMBERS.get(number, (-1,))[0] == wire:
            # A list that comes again is merged into itself; anything else of the oneof replaces what was there.
            if number != member or number not in (5, 6):
                kept = []
            _add_part(kept, content, tally)
            member = number
    if not member:
        return {}
    if member in (5, 6):
        if depth >= MAX_DEPTH:
            return typed_bytes(b"".join(parts))
        return _nested(member, tuple(each for each in kept if isinstance(each, memoryview)), depth, tally)
    read = _MEMBERS[member][1]
    return read(kept[0]) if read is not None else {}


def _nested(member: int, lists: _Parts, depth: int, tally: Tally) -> dict[str, Any]:
    values = []
    for each in _repeated(lists, 1, ": values"):
        tally.values(1)
        values.append(each)
    if member == 6:
        return {"kvlistValue": {"values": _attributes(values, "values", depth + 1, tally)}}
    found = []
    for at, each in enumerate(values):
        try:
            found.append(_value((each,), depth + 1, tally))
        except FormatError as error:
            raise inside(f"values[{at}]", error) from None
    return {"arrayValue": {"values": found}}


def _signed(number: int, bits: int) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def _double(bits: int) -> dict[str, Any]:
    return {"doubleValue": double_value(struct.unpack("<d", bits.to_bytes(8, "little"))[0])}


# Field number of AnyValue -> its wire type, and the value of what it holds (None: absent, or nested).
_MEMBERS: Final[dict[int, tuple[int, Callable[[Any], dict[str, Any]] | None]]] = {
    1: (_LENGTH, lambda content: _typed_text(bytes(content))),
    2: (_VARINT, lambda content: {"boolValue": content != 0}),
    3: (_VARINT, lambda content: {"intValue": str(_signed(content, 64))}),
    4: (_FIXED64, _double),
    5: (_LENGTH, None),
    6: (_LENGTH, None),
    7: (_LENGTH, lambda content: typed_bytes(bytes(content))),
    8: (_VARINT, None),  # an index into the strings of a profile, which a log has none of
}


def _add_part(parts: list[Any], part: int | memoryview, tally: Tally) -> None:
    """A part of a message: the first was counted with the message, and each that comes again takes room too."""
    if parts:
        tally.values(1)
    parts.append(part)


def _typed_text(data: bytes) -> dict[str, Any]:
    text = _text(data)
    return {"stringValue": text} if isinstance(text, str) else text


def _text(data: bytes) -> str | dict[str, Any]:
    """A string, or the typed bytes of one that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return typed_bytes(data)


def _put(found: dict[str, Any], name: str, content: str | int) -> None:
    """A field as protobuf counts it: its default is the same as none."""
    if content:
        found[name] = content
    elif name != "key":
        found.pop(name, None)


def _put_text(found: dict[str, Any], name: str, data: bytes) -> None:
    found.pop(f"{name}Bytes", None)
    text = _text(data)
    if isinstance(text, str):
        _put(found, name, text)
    else:
        _put(found, name, "")
        found[f"{name}Bytes"] = text["bytesValue"]


def _put_number(found: dict[str, Any], name: str, kind: Kind, number: int) -> None:
    if kind is Kind.TIME:
        _put(found, name, str(number) if number else "")
    else:
        _put(found, name, _signed(number, 32) if kind is Kind.ENUM else number & 0xFFFFFFFF)


def _repeated(parts: _Parts, wanted: int, what: str) -> Iterator[memoryview]:
    """The messages of one repeated field."""
    for number, wire, content in _fields(parts, what):
        if number == wanted and wire == _LENGTH and isinstance(content, memoryview):
            yield content


def _fields(parts: _Parts, what: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """Each field of a message: its number, its wire type, and its number or bytes. Groups are passed over."""
    for view in parts:
        at, end = 0, len(view)
        while at < end:
            tag, at = _varint(view, at, what)
            number, wire = tag >> 3, tag & 7
            if not number or tag >> 32:
                raise FormatError(f"{what}: byte {at}: field number {number}, want 1 to 2^29 - 1")
            if wire == _GROUP:
                at = _pass_group(view, at, number, what)
                continue
            content, at = _content(view, at, wire, what)
            yield number, wire, content


def _content(view: memoryview, at: int, wire: int, what: str) -> tuple[int | memoryview, int]:
    if wire == _VARINT:
        return _varint(view, at, what)
    if wire == _LENGTH:
        size, at = _varint(view, at, what)
    elif wire in (_FIXED64, _FIXED32):
        size = 8 if wire == _FIXED64 else 4
    else:
        raise FormatError(f"{what}: byte {at}: wire type {wire} has no place there")
    if size > len(view) - at:
        raise FormatError(f"{what}: byte {at}: {size} bytes announced, {len(view) - at} there")
    content = view[at : at + size]
    return (content if wire == _LENGTH else int.from_bytes(content, "little")), at + size


def _pass_group(view: memoryview, at: int, number: int, what: str) -> int:
    """Where a group ends that begins before `at`; groups within it are counted, not entered."""
    opened = [number]
    while opened:
        if at >= len(view):
            raise FormatError(f"{what}: byte {at}: a group does not end")
        tag, at = _varint(view, at, what)
        wire = tag & 7
        if wire == _GROUP:
            opened.append(tag >> 3)
        elif wire == _END_GROUP:
            if opened.pop() != tag >> 3:
                raise FormatError(f"{what}: byte {at}: a group ends that did not begin")
        else:
            _, at = _content(view, at, wire, what)
    return at


def _varint(view: memoryview, at: int, what: str) -> tuple[int, int]:
    value, shift, size = 0, 0, len(view)
    for position in range(at, min(at + 10, size)):
        byte = view[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    if size < at + 10:
        raise FormatError(f"{what}: byte {size}: a number ends too early")
    raise FormatError(f"{what}: byte {at}: a number of more than 64 bits")
