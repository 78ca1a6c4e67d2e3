"""Patterns over entries: the matcher that a command line can name.

A pattern is a regular expression over an entry's bytes, or over one field of an entry that is a JSON object: the
field's text if it is a string, else the field as JSON. Entries are never trusted: one that is no JSON has no
fields.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from merklelog.errors import UsageError

_MOST_DIGITS: Final = 4_000

# Says why an entry is one that the caller watches for; None when it is not.
Matcher = Callable[[int, bytes], str | None]


@dataclass(frozen=True, slots=True)
class FieldPattern:
    """A field of a JSON object, one name for each level, and what its value must hold."""

    path: tuple[str, ...]
    pattern: re.Pattern[str]
    label: str


class Patterns:
    """A matcher: an entry is picked when any pattern is found in it; the answer names all that are."""

    def __init__(self, expressions: Sequence[str] = (), fields: Sequence[str] = ()) -> None:
        """`expressions` are searched for in the bytes; `fields` are like `actor.name=^alice$`. Raises
        UsageError.
        """
        self._expressions = [(_compile(text).search, text) for text in expressions]
        self._fields = [_field(text) for text in fields]

    def __call__(self, index: int, entry: bytes) -> str | None:  # noqa: ARG002  a matcher's signature
        """The patterns that are found in an entry; None when there is none."""
        found = [label for search, label in self._expressions if search(entry) is not None]
        if self._fields and (value := _object(entry)) is not None:
            found += [each.label for each in self._fields if _is_found(each, value)]
        return ", ".join(found) if found else None

    def among(self, start: int, entries: Sequence[bytes]) -> list[tuple[int, str]]:
        """Index and patterns of each entry that is picked, in order; the first of `entries` has index `start`.

        A call for each would cost three times as much where few are.
        """
        picked: Iterable[int] = range(len(entries))
        if not self._fields:
            picked = sorted(
                {at for search, _ in self._expressions for at, entry in enumerate(entries) if search(entry)}
            )
        calls = ((start + at, self(start + at, entries[at])) for at in picked)
        return [(index, found) for index, found in calls if found is not None]


def _compile(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(text.encode("utf-8", "surrogateescape"))
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"pattern {text[:80]!r}: {error}") from error


def _field(text: str) -> FieldPattern:
    path, separator, pattern = text.partition("=")
    names = tuple(path.split("."))
    if not separator or not all(names):
        raise UsageError(f"field {text[:80]!r}: want NAME=PATTERN, or OUTER.INNER=PATTERN")
    try:
        return FieldPattern(names, re.compile(pattern), text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"field {text[:80]!r}: {error}") from error


def _object(entry: bytes) -> object | None:
    """The JSON object that an entry is, with the readings that keep nobody from hiding a field beside another."""
    if not entry.lstrip().removeprefix(BOM_UTF8).lstrip().startswith(b"{"):
        return None
    try:
        try:
            found: object = json.loads(entry, parse_int=_number)
        except UnicodeDecodeError:  # some text in it: the others are what they say
            text = entry.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape")
            found = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError):
        return None  # no JSON that can be read, so it has no fields
    return found


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) < _MOST_DIGITS else digits  # Python makes no number of more than 4,300


def _is_found(field: FieldPattern, value: object) -> bool:
    """Whether the pattern is found in the field, in any element where a list is on the way."""
    values = [value]
    for name in field.path:
        flat = [each for item in values for each in (item if isinstance(item, list) else [item])]
        values = [item[name] for item in flat if isinstance(item, dict) and name in item]
    for each in (each for item in values for each in (item if isinstance(item, list) else [item])):
        text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False, separators=(",", ":"))
        if field.pattern.search(text) is not None:
            return True
    return False


__all__ = ["Matcher", "Patterns"]
