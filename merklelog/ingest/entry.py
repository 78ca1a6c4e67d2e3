"""The entry: one JSON object of two parts, what the log says of a record and the record.

    {"log":{"format":"merklelog/entry/v1",...},"record":{...}}

`docs/record.md` is the format. A record too long for an entry stands in several, which `split` makes and joins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from merklelog.errors import EntryError, FormatError
from merklelog.formats.wire import decode_base64, encode_base64, parse_decimal, quote

FORMAT: Final = "merklelog/entry/v1"
MAX_ENTRY_BYTES: Final = 65_535  # tlog-tiles, "Log Entries"
# What the log's own part may take of an entry, so that every part of a split record has room for a piece.
MAX_LOG_BYTES: Final = 16_384

_START: Final = b'{"log":{"format":"%s"' % FORMAT.encode()
_BARE: Final = b'{"format":"%s","record":' % FORMAT.encode()
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class Split:
    """The place of an entry among the `parts` entries of one record; `size` and `hash` are of the whole record."""

    part: int
    parts: int
    size: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LogPart:
    """What the log says of a record: its own words, not the sender's.

    `time` is the intake time in nanoseconds since 1970; `submitter` who was authenticated, "" for nobody;
    `verdicts` what checks found, by name, JSON values; `protected` the names of what was dropped or replaced
    before the entry was made; `split` the place of this entry in a record of several.
    """

    time: int
    submitter: str = ""
    verdicts: dict[str, Any] = field(default_factory=dict)
    protected: tuple[str, ...] = ()
    split: Split | None = None


class Entry(msgspec.Struct, frozen=True):
    """An entry's two parts. Of a split record's entry `record_bytes` is only the piece that stands in it.

    `part` is None where a client wrote the entry itself, and no receiver said anything of it.
    """

    part: LogPart | None
    record_bytes: bytes


_NO_RECORD: Final = msgspec.Raw()


class _Wire(msgspec.Struct):
    log: msgspec.Raw = _NO_RECORD
    record: msgspec.Raw = _NO_RECORD
    piece: str | None = None


class _SplitWire(msgspec.Struct, forbid_unknown_fields=True):
    hash: str
    part: int
    parts: int
    size: int


class _LogWire(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    time: str
    protected: tuple[str, ...] = ()
    split: _SplitWire | None = None
    submitter: str = ""
    verdicts: dict[str, Any] = {}


_WIRE: Final = msgspec.json.Decoder(_Wire)
_LOG_WIRE: Final = msgspec.json.Decoder(_LogWire)


def encode_entry(part: LogPart | None, record_bytes: bytes) -> bytes:
    """The bytes of an entry, RFC 8785 as a whole when the record is; a piece of one when `part.split` says so.

    Without a log part it is one that a client wrote itself, which says so by having none.
    They may be longer than a log takes: `split.split_entry` is for any record. Raises EntryError for a log part of
    more than 16,384 bytes or with what is no JSON.
    """
    return _joined(part, b"" if part is None else encode_log_part(part), record_bytes)


def _joined(part: LogPart | None, log: bytes, record_bytes: bytes) -> bytes:
    """The bytes of an entry whose log part has the bytes `log`."""
    if part is None:
        return b"%s%s}" % (_BARE, record_bytes)
    if part.split is not None:
        return b'{"log":%s,"piece":"%s"}' % (log, encode_base64(record_bytes))
    return b'{"log":%s,"record":%s}' % (log, record_bytes)


def encode_log_part(part: LogPart) -> bytes:
    """The `log` object of an entry. Raises EntryError as `encode_entry`."""
    wire: dict[str, Any] = {"format": FORMAT, "time": str(part.time)}
    if part.protected:
        wire["protected"] = part.protected
    if part.split is not None:
        split = part.split
        wire["split"] = {
            "hash": split.hash.hex(),
            "part": split.part,
            "parts": split.parts,
            "size": split.size,
        }
    if part.submitter:
        wire["submitter"] = part.submitter
    if part.verdicts:
        wire["verdicts"] = part.verdicts
    try:
        data = _ENCODER.encode(wire)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EntryError(f"the log's part of an entry can not be written as JSON: {error}") from None
    if len(data) > MAX_LOG_BYTES:
        raise EntryError(f"the log's part of an entry: {len(data)} bytes, want at most {MAX_LOG_BYTES}")
    return data


def parse_entry(data: bytes) -> Entry | None:
    """The parts of an entry; None for bytes that do not claim to be one, which a raw log holds.

    The record is not looked into: `canonical.decode_record` does that. Raises FormatError for what begins as an
    entry and is none.
    """
    bare = data.startswith(_BARE)
    if not bare and not data.startswith(_START):
        return None
    try:
        wire = _WIRE.decode(data)
        part, log = (None, b"") if bare else _log_part(bytes(wire.log))
    except RecursionError:
        raise FormatError("entry: JSON nested too deep") from None
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        EntryError,
    ) as error:  # the last: a log part over its bound
        raise FormatError(f"entry: {error}") from None
    record = _content(wire, part.split if part is not None else None)
    if _joined(part, log, record) != data:
        raise FormatError(f"entry: {quote(data)} is not in canonical form")
    return Entry(part, record)


@lru_cache(maxsize=256)
def _log_part(data: bytes) -> tuple[LogPart, bytes]:
    """What a log part says, and how it is written; kept, as those of one commit say the same."""
    wire = _LOG_WIRE.decode(data)
    if wire.format != FORMAT:
        raise FormatError(f"entry: format {quote(wire.format)}, want {FORMAT}")
    time = parse_decimal(wire.time.encode(), "entry: log.time")
    split = None if wire.split is None else _split(wire.split)
    part = LogPart(time, wire.submitter, wire.verdicts, wire.protected, split)
    return part, encode_log_part(part)


def _split(wire: _SplitWire) -> Split:
    if not 0 <= wire.part < wire.parts or len(wire.hash) != 64:
        raise FormatError(f"entry: log.split: part {wire.part} of {wire.parts}, hash {quote(wire.hash)}")
    try:
        return Split(wire.part, wire.parts, wire.size, bytes.fromhex(wire.hash))
    except ValueError:
        raise FormatError(f"entry: log.split.hash: got {quote(wire.hash)}, want hex") from None


def _content(wire: _Wire, split: Split | None) -> bytes:
    if split is None and (record := bytes(wire.record)):
        return record
    if split is not None and wire.piece is not None:
        return decode_base64(wire.piece.encode(), "entry: piece")
    raise FormatError(f"entry: want {'a record' if split is None else 'a piece, being split'}")
