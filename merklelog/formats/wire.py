"""The one place for strict decimals, base64, lines and UTF-8.

Python's own helpers take more than the specifications do (`int("1_000")`, `int("٣")`, base64 with stray
bits), so every reader of outside bytes comes here, and the rule is always the same: the re-encoded value
equals the input.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from merklelog.errors import FormatError

MAX_INT63: Final = 2**63 - 1

_SHOWN: Final = 64
# signed-note, "Format": no ASCII control characters (below U+0020) other than newline. DEL and C1 are
# allowed.
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")


def quote(value: bytes | str) -> str:
    """A value as an error message shows it: escaped, in quotes, cut at 64 characters."""
    text = value if isinstance(value, str) else value[: _SHOWN + 1].decode("utf-8", "backslashreplace")
    shown = ascii(text[:_SHOWN])
    return shown if len(value) <= _SHOWN else f"{shown}... ({len(value)} long)"


def parse_decimal(text: bytes, what: str, limit: int = MAX_INT63) -> int:
    """An ASCII decimal with no sign, no leading zeroes and no other digits, at most `limit`.

    Raises FormatError. Source: tlog-checkpoint, "Note text", 2; tlog-proof, "Format".
    """
    # The length is looked at before the conversion, whose cost grows with its square.
    if not text.isdigit() or (text[0] == 0x30 and len(text) > 1):
        raise FormatError(f"{what}: got {quote(text)}, want a decimal number without sign or leading zeroes")
    if len(text) > len(str(limit)) or (value := int(text)) > limit:
        raise FormatError(f"{what}: got {quote(text)}, want at most {limit}")
    return value


def format_decimal(value: int, what: str, limit: int = MAX_INT63) -> bytes:
    """The decimal that `parse_decimal` reads back. Raises FormatError outside 0..limit."""
    if not 0 <= value <= limit:
        raise FormatError(f"{what}: got {value}, want 0 to {limit}")
    return b"%d" % value


def try_base64(text: bytes) -> bytes | None:
    """The bytes `text` is the canonical base64 of, or None: for secrets, which no message may show."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    # Strict mode still lets the unused bits of the last character be anything; comparing closes that.
    return data if binascii.b2a_base64(data, newline=False) == text else None


def decode_base64(text: bytes, what: str) -> bytes:
    """Standard base64 with padding, the unused bits zero, no white space.

    Raises FormatError. Source: RFC 4648, sections 3.5 and 4.
    """
    data = try_base64(text)
    if data is None:
        raise FormatError(f"{what}: got {quote(text)}, want canonical base64")
    return data


def encode_base64(data: bytes) -> bytes:
    """The one base64 of `data`: standard alphabet, padded, no newline. Source: RFC 4648, section 4."""
    return binascii.b2a_base64(data, newline=False)


def split_lines(data: bytes, what: str) -> list[bytes]:
    r"""The lines of `data` without their newlines; each one must end in one, and there is at least one.

    Only U+000A ends a line: `bytes.splitlines` would also cut at a carriage return. Raises FormatError.
    """
    if not data.endswith(b"\n"):
        raise FormatError(f"{what}: the last line does not end in a newline")
    return data[:-1].split(b"\n")


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 without control characters below U+0020 other than newline.

    Raises FormatError. Source: signed-note, "Format".
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what}: not UTF-8 at byte {error.start}") from None
    if found := _CONTROL.search(text):
        raise FormatError(f"{what}: control character {found[0]!a} is not allowed")
    return text


def encode_text(text: str, what: str) -> bytes:
    """The UTF-8 of `text`, under the rule of `decode_text`. Raises FormatError, for a lone surrogate too."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{what}: {quote(text)} can not be written as UTF-8") from None
    if found := _CONTROL.search(text):
        raise FormatError(f"{what}: control character {found[0]!a} is not allowed")
    return data
