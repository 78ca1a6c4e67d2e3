"""OTLP's protobuf, out: a record as an ExportLogsServiceRequest of its own.

Written field by field, since the generated classes hold no string that is not UTF-8. Source: protobuf, "Encoding".
"""

from __future__ import annotations

import struct
from typing import Any, Final

from merklelog.errors import FormatError
from merklelog.formats.wire import decode_base64, parse_decimal

from .record import ENTITY, LOG_RECORD, RESOURCE, SCOPE, Fields, Kind, Record


def record_to_protobuf(record: Record) -> bytes:
    """The ExportLogsServiceRequest of one record in normal form; `records_from_protobuf` gives it back.

    Several such requests put after each other are the request of them all. Raises FormatError for what is none.
    """
    try:
        part = _envelope(record, "scope", SCOPE, _length(2, _message(record, LOG_RECORD)))
        return _length(1, _envelope(record, "resource", RESOURCE, _length(2, part)))
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, RecursionError) as error:
        raise FormatError(f"record: not in normal form: {error!r}") from None


def _envelope(record: Record, name: str, fields: Fields, inner: bytes) -> bytes:
    if name not in record:
        return inner
    return _length(1, _message(record[name], fields)) + inner + _text(record[name], 3, "schemaUrl")


def _message(found: dict[str, Any], fields: Fields) -> bytes:
    data = []
    for number, (name, kind) in sorted(fields.items()):
        if kind is Kind.TEXT:
            data.append(_text(found, number, name))
        elif name in found:
            data.append(_field(number, kind, found[name]))
    return b"".join(data)


def _field(number: int, kind: Kind, content: Any) -> bytes:
    if kind is Kind.TIME:
        return _tag(number, 1) + struct.pack("<Q", parse_decimal(content.encode(), "time", 2**64 - 1))
    if kind is Kind.FIXED32:
        return _tag(number, 5) + struct.pack("<I", content)
    if kind in (Kind.UINT32, Kind.ENUM):
        return _tag(number, 0) + _varint(content)
    if kind is Kind.HEX:
        return _length(number, bytes.fromhex(content))
    if kind is Kind.VALUE:
        return _length(number, _value(content))
    if kind is Kind.ATTRIBUTES:
        return b"".join(_length(number, _pair(each)) for each in content)
    if kind is Kind.ENTITIES:
        return b"".join(_length(number, _message(each, ENTITY)) for each in content)
    return b"".join(_length(number, _bytes_of(each)) for each in content)


def _bytes_of(text: str | dict[str, Any]) -> bytes:
    if isinstance(text, dict):
        return decode_base64(text["bytesValue"].encode(), "bytesValue")
    return text.encode("utf-8")


def _text(found: dict[str, Any], number: int, name: str) -> bytes:
    if f"{name}Bytes" in found:
        return _length(number, decode_base64(found[f"{name}Bytes"].encode(), name))
    return _length(number, found[name].encode("utf-8")) if found.get(name) else b""


def _pair(pair: dict[str, Any]) -> bytes:
    return _text(pair, 1, "key") + (_length(2, _value(pair["value"])) if "value" in pair else b"")


def _value(value: dict[str, Any]) -> bytes:
    if not value:
        return b""
    ((name, content),) = value.items()
    if name == "stringValue":
        return _length(1, content.encode("utf-8"))
    if name == "boolValue":
        return _tag(2, 0) + (b"\x01" if content else b"\x00")
    if name == "intValue":
        digits = parse_decimal(content.removeprefix("-").encode(), "intValue", 2**63)
        return _tag(3, 0) + _varint(-digits if content[0] == "-" else digits)
    if name == "doubleValue":
        return _tag(4, 1) + struct.pack("<d", float(content))
    if name == "arrayValue":
        return _length(5, b"".join(_length(1, _value(each)) for each in content["values"]))
    if name == "kvlistValue":
        return _length(6, b"".join(_length(1, _pair(each)) for each in content["values"]))
    if name == "bytesValue":
        return _length(7, decode_base64(content.encode(), "bytesValue"))
    raise ValueError(f"a value of type {name}")


_MASK: Final = 2**64 - 1


def _varint(number: int) -> bytes:
    number &= _MASK  # a negative number is ten bytes, as protobuf has it
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _length(number: int, data: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(data)) + data
