"""The canonical bytes of a record: RFC 8785 over the typed form of `record`.

Every name in a record is ASCII, so sorting by bytes is sorting by UTF-16 units as the RFC wants, and the encoder's
strings are the RFC's already. Only doubles need their own text, in the form of ECMAScript.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import blake3
import msgspec

from merklelog.errors import FormatError
from merklelog.formats.wire import quote

from .normal import normal_record, normal_resource, normal_scope, shown
from .otlp_out import record_to_protobuf
from .record import Record, double_value, inside

__all__ = [
    "RecordEncoder",
    "decode_record",
    "encode_record",
    "encode_records",
    "format_double",
    "record_identity",
    "record_to_protobuf",
]

IDENTITY_CONTEXT: Final = "merklelog 2026-11 ingest record identity v1"

# A copy of it is ready in less time than the context takes to be read again.
_IDENTITY: Final = blake3.blake3(derive_key_context=IDENTITY_CONTEXT)
_DECODER: Final = msgspec.json.Decoder()
_PARTS: Final = (("resource", normal_resource), ("scope", normal_scope))
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
# In canonical JSON a quote and a colon end a name and nothing else: inside a string the quote is escaped.
_DOUBLE: Final = re.compile(rb'"doubleValue":(?:(null)|(-?[0-9][-+.0-9eE]*))')
_MARK: Final = b'"doubleValue":'


def encode_record(record: Record) -> bytes:
    """The canonical bytes of a record. Raises FormatError for a value that is not of JSON."""
    return encode_records((record,))[0]


def encode_records(records: Iterable[Record]) -> list[bytes]:
    """The canonical bytes of each, in order. Raises FormatError for a value that is not of JSON."""
    return list(map(RecordEncoder().encode, records))


class RecordEncoder:
    """Encodes records one after the other; a resource or scope that it had just before is encoded once."""

    __slots__ = ("_resource", "_scope")

    def __init__(self) -> None:
        self._resource: tuple[object, msgspec.Raw] = (None, msgspec.Raw())
        self._scope = self._resource

    def encode(self, record: Record) -> bytes:
        """The canonical bytes of a record. Raises FormatError for a value that is not of JSON."""
        whole = dict(record)
        if (resource := whole.get("resource")) is not None:
            if resource is not self._resource[0]:
                self._resource = resource, msgspec.Raw(_encode(resource))
            whole["resource"] = self._resource[1]
        if (scope := whole.get("scope")) is not None:
            if scope is not self._scope[0]:
                self._scope = scope, msgspec.Raw(_encode(scope))
            whole["scope"] = self._scope[1]
        return _encode(whole)


def _encode(value: dict[str, Any]) -> bytes:
    try:
        data = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"record: can not be written as JSON: {error}") from None
    return _DOUBLE.sub(_number, data) if _MARK in data else data


def _number(found: re.Match[bytes]) -> bytes:
    if found[1]:
        raise FormatError("record: a doubleValue is not a number: want the string of it, as 'NaN'")
    return _MARK + format_double(float(found[2]))


def decode_record(data: bytes) -> Record:
    """The record of its canonical bytes, in normal form.

    Raises FormatError for bytes that are not JSON, no record, or not canonical: what is read is written again and
    compared.
    """
    try:
        raw = _DECODER.decode(data)
    except RecursionError:
        raise FormatError("record: JSON nested too deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"record: not JSON: {error}") from None
    if type(raw) is not dict:
        raise FormatError(f"record: got {shown(raw)}, want an object")
    try:
        parts = [(name, normal, raw.pop(name)) for name, normal in _PARTS if name in raw]
        record = normal_record(raw)
        for name, normal, content in parts:
            try:
                record[name] = normal(content)
            except FormatError as error:
                raise inside(name, error) from None
    except FormatError as error:
        raise inside("record", error) from None
    if encode_record(record) != data:
        raise FormatError(f"record: {quote(data)} is not in canonical form")
    return record


def format_double(number: float) -> bytes:
    """A finite double as RFC 8785 writes it; the negative zero as the string "-0".

    Source: RFC 8785, section 3.2.2.3; ECMA-262, Number::toString.
    """
    checked = double_value(number)
    if isinstance(checked, str):
        return b'"%s"' % checked.encode()
    text = repr(number)
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    # The shortest digits that read back, and where their point lies: 0.digits times ten to the point.
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + (int(exponent) if exponent else 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return (sign + _place(digits or "0", point if digits else 1)).encode("ascii")


def _place(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = point - 1
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def record_identity(record_bytes: bytes) -> bytes:
    """The 32 bytes by which a record is known, whatever entry it stands in: BLAKE3 of its canonical bytes."""
    return _IDENTITY.copy().update(record_bytes).digest()
