"""The record: an OpenTelemetry log record in the one typed form that this project keeps, as plain JSON values.

A `Record` is what OTLP/JSON says of one log record, with its resource and its scope inside, so that it stands
alone: `docs/record.md` is the format. Doors make it (`otlp_protobuf`, `otlp_json`), `canonical` writes and reads
its bytes. Its normal form, which every door makes:

- A field that protobuf can not tell from absent is left out when it has its default: "", 0, no attributes.
  A message field (`resource`, `scope`, `body`, an attribute's `value`) is there, maybe as {}, when it was sent.
- `key` of an attribute and `values` of an array or a list of pairs are always there.
- 64-bit integers and times are decimal strings. A double is a float; NaN, the infinities and the negative zero,
  which RFC 8785 has no number for, are the strings of `ODD_DOUBLES`. Bytes are padded base64; ids lowercase hex.
- Attributes are arrays in arrival order, duplicates kept.
- A string that is not UTF-8 is bytes: a `stringValue` becomes a `bytesValue`; of any other string `name` the bytes
  stand under `nameBytes` instead (an attribute's `key` is then "" beside its `keyBytes`).
- A list that stands within `MAX_DEPTH` values is bytes too, its protobuf encoding; in JSON it is refused.
- `schemaUrl` of the resource's and the scope's envelope stands inside `resource` and `scope`.

Source: opentelemetry-proto 1.x, "logs.proto", "common.proto", "resource.proto"; OTLP specification, "JSON Protobuf
Encoding".
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from merklelog.errors import FormatError
from merklelog.formats.wire import encode_base64

Record = dict[str, Any]

# How many values may stand within each other: arrays and lists of pairs count one each. Every level costs four of
# the interpreter's own, whose limit is 1,000 for everything that runs.
MAX_DEPTH: Final = 64

# What the records of one request may take beside what they say themselves: an empty one is two bytes on the wire
# and much more in memory, and a resource and a scope are sent once and stand in each of their records.
MAX_SHARED_BYTES: Final = 128 * 2**20
MAX_RECORDS: Final = 131_072
_FRAME_BYTES: Final = MAX_SHARED_BYTES // MAX_RECORDS
_VALUE_BYTES: Final = 128

ODD_DOUBLES: Final = frozenset({"NaN", "Infinity", "-Infinity", "-0"})


class Kind(Enum):
    """What a field of a message holds."""

    TEXT = "text"
    HEX = "bytes, hex in JSON"
    TIME = "fixed64, a decimal string in JSON"
    UINT32 = "uint32"
    FIXED32 = "fixed32"
    ENUM = "enum, an int32"
    TEXTS = "repeated text"
    VALUE = "AnyValue"
    ATTRIBUTES = "repeated KeyValue"
    ENTITIES = "repeated EntityRef"


# Field number -> name in a record, kind. Of each message, by its number on the wire.
Fields = dict[int, tuple[str, Kind]]

LOG_RECORD: Final[Fields] = {
    1: ("timeUnixNano", Kind.TIME),
    2: ("severityNumber", Kind.ENUM),
    3: ("severityText", Kind.TEXT),
    5: ("body", Kind.VALUE),
    6: ("attributes", Kind.ATTRIBUTES),
    7: ("droppedAttributesCount", Kind.UINT32),
    8: ("flags", Kind.FIXED32),
    9: ("traceId", Kind.HEX),
    10: ("spanId", Kind.HEX),
    11: ("observedTimeUnixNano", Kind.TIME),
    12: ("eventName", Kind.TEXT),
}
RESOURCE: Final[Fields] = {
    1: ("attributes", Kind.ATTRIBUTES),
    2: ("droppedAttributesCount", Kind.UINT32),
    3: ("entityRefs", Kind.ENTITIES),
}
SCOPE: Final[Fields] = {
    1: ("name", Kind.TEXT),
    2: ("version", Kind.TEXT),
    3: ("attributes", Kind.ATTRIBUTES),
    4: ("droppedAttributesCount", Kind.UINT32),
}
ENTITY: Final[Fields] = {
    1: ("schemaUrl", Kind.TEXT),
    2: ("type", Kind.TEXT),
    3: ("idKeys", Kind.TEXTS),
    4: ("descriptionKeys", Kind.TEXTS),
}


def double_value(number: float) -> float | str:
    """A double as a record holds it: itself, or the string of one that JSON has no number for."""
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0 and str(number)[0] == "-":
        return "-0"
    return number


def typed_bytes(data: bytes) -> dict[str, Any]:
    """Bytes as a value."""
    return {"bytesValue": encode_base64(data).decode("ascii")}


class Tally:
    """What a request's records take beside their own strings and numbers, counted before any of it is made.

    A record counts for 1 KiB and for its resource and scope, an attribute or another value for 128 bytes. Adding
    raises FormatError over 128 MiB.
    """

    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total = 0

    def records(self, count: int, size: int) -> None:
        """So many records more, with a resource and a scope of `size` bytes."""
        self._total += (size + _FRAME_BYTES) * count
        if self._total > MAX_SHARED_BYTES:
            raise too_many()

    def values(self, count: int) -> None:
        """So many attributes or values more."""
        self._total += _VALUE_BYTES * count
        if self._total > MAX_SHARED_BYTES:
            raise too_many()


def too_many() -> FormatError:
    """What is said of a request with too many records or values, or too large resources for so many records."""
    return FormatError(
        "request: its records (1 KiB each, 128 bytes an attribute or value, and their resources and scopes, which"
        f" stand in each of them) come to more than {MAX_SHARED_BYTES >> 20} MiB; send fewer at once"
    )


def inside(where: str, error: FormatError) -> FormatError:
    """The same error, said of what lies deeper: `where` is put before its place, unless it is of the request."""
    text = str(error)
    if text.startswith("request: "):
        return error
    return FormatError(f"{where}{text}" if text.startswith(("[", ":")) else f"{where}.{text}")


def too_deep(what: str) -> FormatError:
    """What is said of JSON with more than `MAX_DEPTH` values within each other."""
    return FormatError(f"{what}: nested more than {MAX_DEPTH} values deep")
