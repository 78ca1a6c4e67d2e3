"""Entry bundles: up to 256 entries, each behind its length in two bytes, big-endian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from merklelog.errors import EntryError, FormatError

MAX_ENTRY: Final = 65_535
BUNDLE_WIDTH: Final = 256
MAX_BUNDLE_BYTES: Final = BUNDLE_WIDTH * (2 + MAX_ENTRY)

# The prefix of every length: looking one up is twice as fast as packing it, on a path taken for every entry.
LENGTHS: Final = tuple(length.to_bytes(2, "big") for length in range(MAX_ENTRY + 1))


def format_bundle(entries: Sequence[bytes]) -> bytes:
    """The bundle of 1 to 256 entries.

    Raises EntryError for an entry over 65,535 bytes, FormatError for another number of entries.
    Source: tlog-tiles, "Log entries".
    """
    if not 1 <= len(entries) <= BUNDLE_WIDTH:
        raise FormatError(f"bundle: got {len(entries)} entries, want 1 to {BUNDLE_WIDTH}")
    lengths = LENGTHS
    try:
        return b"".join([part for entry in entries for part in (lengths[len(entry)], entry)])
    except IndexError:
        longest = max(map(len, entries))
        raise EntryError(f"entry: got {longest} bytes, want at most {MAX_ENTRY}") from None


def parse_bundle(data: bytes, width: int | None = None) -> list[bytes]:
    """The entries of a bundle, all bytes used; exactly `width` of them when it is given, else 1 to 256.

    Raises FormatError. Source: tlog-tiles, "Log entries".
    """
    most = BUNDLE_WIDTH if width is None else width
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        if len(entries) == most:
            raise FormatError(
                f"bundle: {end - at} bytes follow entry {most - 1}, want nothing after {most} entries"
            )
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1]) if start <= end else end + 1
        if at > end:
            raise FormatError(f"bundle: entry {len(entries)} runs over the end of {end} bytes")
        entries.append(data[start:at])
    if len(entries) < (width or 1):
        raise FormatError(f"bundle: got {len(entries)} entries, want {width or 'at least 1'}")
    return entries
