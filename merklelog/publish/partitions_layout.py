"""Where the partitions of a published log stand, and what their state says.

    partitions.json                                            what is written, and what is being written
    partitions/year=2026/month=11/day=21/hour=17/minute=05/    as deep as the partitions are fine
        <first index>-<index after the last>-<root>.jsonl.gz   indexes of 20 digits, root in hex

A name says everything that ties its file to the tree: the half-open range of its entries, and the root hash of
the tree that ends with them. Names in the order of their bytes are in the order of their entries, day by day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from merklelog.errors import FormatError, FormatVersionError
from merklelog.formats.wire import MAX_INT63, parse_decimal, quote
from merklelog.publish.encoding import same_content
from merklelog.publish.objects import ObjectKind
from merklelog.tree.hashing import Hash

STATE_KEY: Final = "partitions.json"
PARTITIONS: Final = "partitions/"
MAX_STATE_BYTES: Final = 4096
FORMAT_VERSION: Final = 1
STATE_KIND: Final = ObjectKind("application/json", cache_control="no-cache")
# Compressed by name and not by Content-Encoding: what reads partitions goes by ".gz", and nothing may unpack them
# on their way.
PART_KIND: Final = ObjectKind(
    "application/gzip", retain=True, same=same_content, cache_control="public, max-age=31536000, immutable"
)

MAX_TIME: Final = 253_402_300_799  # the last second of the year 9999: a year has four digits
_NAME: Final = re.compile(
    r"(partitions(?:/[a-z]+=[0-9]+){3,5})/([0-9]{20})-([0-9]{20})-([0-9a-f]{64})\.jsonl\.gz"
)
_FIELDS: Final = re.compile(r"([a-z]+)=([0-9]+)")


class Partitioning(StrEnum):
    """How fine partitions are; `none`: there are none."""

    NONE = "none"
    DAILY = "daily"
    HOURLY = "hourly"
    MINUTE = "minute"

    @property
    def seconds(self) -> int:
        """How long one lasts."""
        return _SECONDS[self]


_SECONDS: Final = {
    Partitioning.NONE: 0,
    Partitioning.DAILY: 86_400,
    Partitioning.HOURLY: 3_600,
    Partitioning.MINUTE: 60,
}
# The fields of a path, coarse to fine, and how each is written.
_PATHS: Final = {
    Partitioning.DAILY: "year=%Y/month=%m/day=%d",
    Partitioning.HOURLY: "year=%Y/month=%m/day=%d/hour=%H",
    Partitioning.MINUTE: "year=%Y/month=%m/day=%d/hour=%H/minute=%M",
}
_DEPTHS: Final = {3: Partitioning.DAILY, 4: Partitioning.HOURLY, 5: Partitioning.MINUTE}


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day, an hour or a minute in UTC: `time` is its first second, POSIX."""

    every: Partitioning
    time: int

    @property
    def prefix(self) -> str:
        """Where its files stand, with a slash at the end."""
        began = datetime.fromtimestamp(self.time, UTC)
        # strftime leaves out the zeros of a year before 1000 on some systems; none is before 1970 here
        return f"{PARTITIONS}{began.strftime(_PATHS[self.every])}/"

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.time + self.every.seconds


def period_at(every: Partitioning, time: int) -> Period:
    """The period that a POSIX time lies in, which years 1970 to 9999 bound; `every` is not NONE."""
    return Period(every, min(max(time, 0), MAX_TIME) // every.seconds * every.seconds)


class Closing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A period that is over and whose files are being written: they end before entry `end`."""

    period: Period
    end: int


class PartitionState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the partitions of a target are.

    Every entry below `end` is in a file. Those behind it belong to `closing` up to its own end, where there is
    one, and to `open` from there on.
    """

    origin: str
    end: int
    open: Period
    closing: Closing | None = None
    format: int = FORMAT_VERSION


def format_state(state: PartitionState) -> bytes:
    """The state as it is stored: one line of JSON."""
    return msgspec.json.encode(state) + b"\n"


def parse_state(data: bytes) -> PartitionState:
    """Reads what `format_state` wrote; nothing else is taken.

    Raises FormatVersionError for a newer version, FormatError.
    """
    try:
        version = msgspec.json.decode(data, type=dict[str, object]).get("format")
        if type(version) is int and version > FORMAT_VERSION:
            raise FormatVersionError(
                f"format version {version} is newer than this version reads, {FORMAT_VERSION}"
            )
        state = msgspec.json.decode(data, type=PartitionState)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"state of partitions: {error}") from None
    periods = [state.open, *([state.closing.period] if state.closing else ())]
    if any(not _is_period(period) for period in periods):
        raise FormatError("state of partitions: a period that does not begin where periods do")
    ends = [0, state.end, *([state.closing.end] if state.closing else ()), MAX_INT63]
    if ends != sorted(ends) or state.format != FORMAT_VERSION:
        raise FormatError(f"state of partitions: format {state.format}, ends {ends[1:-1]}: want them to grow")
    if format_state(state) != data:
        raise FormatError("state of partitions: not as this version writes it")
    return state


def _is_period(period: Period) -> bool:
    every = period.every
    return (
        every is not Partitioning.NONE and 0 <= period.time <= MAX_TIME and period.time % every.seconds == 0
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One file: the entries [start, end) of a period, and the root of the tree of size `end`."""

    period: Period
    start: int
    end: int
    root: Hash

    @property
    def key(self) -> str:
        """Its name."""
        return f"{self.period.prefix}{self.start:020d}-{self.end:020d}-{self.root.hex()}.jsonl.gz"


def parse_part_key(key: str) -> Part:
    """Reads the name of a file of partitions. Raises FormatError for any other spelling."""
    match = _NAME.fullmatch(key)
    fields = _FIELDS.findall(match[1]) if match else []
    every = _DEPTHS.get(len(fields))
    if match is None or every is None:
        raise FormatError(f"{quote(key)}: not the name of a partition's file")
    numbers = [_padded(digits, key) for _, digits in fields]
    try:
        year, month, day, hour, minute = (*numbers, 0, 0)[:5]
        began = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{quote(key)}: {error}") from None
    start, end = _padded(match[2], key), _padded(match[3], key)
    part = Part(Period(every, _seconds(began)), start, end, Hash(bytes.fromhex(match[4])))
    if part.key != key or start >= end:
        raise FormatError(f"{quote(key)}: not the name of a partition's file")
    return part


def _padded(digits: str, key: str) -> int:
    return parse_decimal(digits.lstrip("0").encode("ascii") or b"0", key)


def _seconds(began: datetime) -> int:
    return round((began - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
