"""Times as other systems write them, to nanoseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# RFC 3339 section 5.6, and what is common beside it: a space for the T, no zone (taken as UTC).
_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?(?: ?(?:([Zz])|([+-])(\d\d):?(\d\d)))?",
    re.ASCII,
)
_DIGITS: Final = re.compile(r"\d{1,19}", re.ASCII)
_SECOND: Final = 1_000_000_000
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A bare number is in the unit that puts it between 1973 and the year 5138; a second has one unit only.
_UNITS: Final = ((10**11, _SECOND), (10**14, 1_000_000), (10**17, 1_000), (10**19, 1))


def parse_time(text: str | None) -> int | None:
    """Nanoseconds since 1970 of a date and time, or of a number of s, ms, us or ns; None for anything else.

    None for 0 and for times before 1970 too.
    """
    if not text:
        return None
    if _DIGITS.fullmatch(text):
        number = int(text)
        return next(number * unit for bound, unit in _UNITS if number < bound) or None
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        # A leap second, 60, is the second after 59.
        at = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC) - _START
    except ValueError:
        return None
    seconds = at // timedelta(seconds=1) + (second == 60)
    if match[9]:
        shift = int(match[10]) * 3600 + int(match[11]) * 60
        seconds += -shift if match[9] == "+" else shift
    total = seconds * _SECOND + int((match[7] or "").ljust(9, "0"))
    return total if total > 0 else None


__all__ = ["parse_time"]
