"""Key names and origins: what a signature line can carry, and the narrower rule for logs of our own."""

from __future__ import annotations

import re
from typing import Final

from merklelog.errors import KeyFormatError, OriginError
from merklelog.formats.wire import quote

MAX_ORIGIN_BYTES: Final = 255
STATEMENT_LINE: Final = "merklelog/statement/v1"  # the first line of a log's statements: see `statement`

# "Unicode spaces" are the characters with the White_Space property. `str.isspace` is another set: it adds
# U+001C to U+001F, so it is spelled out here.
_SPACE: Final = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_C0: Final = re.compile("[\x00-\x1f]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def _bytes_of(name: str) -> bytes | None:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        return None


def key_name_fault(name: str) -> str | None:
    """What keeps a signature line from carrying `name`, or None. Source: signed-note, "Format"."""
    if not name:
        return "it is empty"
    if _bytes_of(name) is None:
        return "it can not be written as UTF-8"
    if found := _SPACE.search(name):
        return f"it holds the space {found[0]!a}"
    # A note holds no control characters at all, so no signature line could ever name such a key.
    if found := _C0.search(name):
        return f"it holds the control character {found[0]!a}"
    return "it holds a plus" if "+" in name else None


def validate_key_name(name: str) -> str:
    """Returns `name` if a signature line can carry it.

    Not empty, no Unicode space, no plus, no control character. Raises KeyFormatError naming the value.
    Source: signed-note, "Format".
    """
    if fault := key_name_fault(name):
        raise KeyFormatError(f"key name {quote(name)}: {fault}")
    return name


def validate_origin(text: str) -> str:
    """Returns `text` if this project makes logs of that origin.

    1 to 255 bytes of UTF-8, no Unicode space, no plus, no control character, no scheme, no slash at either
    end, and not the first line of a statement. Raises OriginError naming the value. Source: design, "Formats";
    the 255 bytes are tlog-cosignature's `log_origin`.
    """
    fault = key_name_fault(text)
    if fault is None and (found := _CONTROL.search(text)):
        fault = f"it holds the control character {found[0]!a}"
    if fault is None and len(data := text.encode("utf-8")) > MAX_ORIGIN_BYTES:
        fault = f"it is {len(data)} bytes, want at most {MAX_ORIGIN_BYTES}"
    if fault is None and "://" in text:
        fault = "it has a scheme; an origin is a URL without one, like example.com/log"
    if fault is None and (text.startswith("/") or text.endswith("/")):
        fault = "it begins or ends with a slash"
    if fault is None and text == STATEMENT_LINE:
        fault = "statements of logs begin with it, so it is no log's name"
    if fault is not None:
        raise OriginError(f"origin {quote(text)}: {fault}")
    return text
