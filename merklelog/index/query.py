"""The language of searches: text to a tree of conditions, or an error that says where and what was expected.

    alice                 the word, anywhere in the entry's values    "token right"    words next to each other
    actor:alice           a field with this value    actor:"a b"      action:Delete*   one that begins so
    after:2026-01-01      at that time or later      before:2026-02-01T10:00:00Z       before that time
    a b, a AND b, a OR b, NOT a, -a, ( ... )         AND binds more strongly than OR, and need not be written

Upper and lower case are the same, but for AND, OR and NOT. Docs: docs/search.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from merklelog.errors import FieldError

from .document import MAX_TIME
from .words import PREFIX_CHARS, fold, words_of

MAX_QUERY_CHARS: Final = 4_096
MAX_CONDITIONS: Final = 256
MAX_DEPTH: Final = 32
QUERY: Final = "query"  # the field that errors name


@dataclass(frozen=True, slots=True)
class Everything:
    """Every entry."""


@dataclass(frozen=True, slots=True)
class Value:
    """A field `name` with exactly this value; both folded."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """A field `name` with a value that begins so; both folded."""

    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Words:
    """These words, one after the other; the last one only begins so where `open_ended`."""

    words: tuple[str, ...]
    open_ended: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """A known time in [start, end), in nanoseconds."""

    start: int = 1
    end: int = MAX_TIME + 1


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """What does not meet the condition."""

    part: Condition


Condition = Everything | Value | Prefix | Words | Times | And | Or | Not

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<open>\() | (?P<close>\))
    | (?P<minus>-)(?=[^\s)])
    | (?:(?P<name>[^\s:"()\-][^\s:"()]*):)?
      (?: "(?P<quoted>(?:[^"\\]|\\["\\])*)" | (?P<bare>[^\s()"]+) )
    )""",
    re.VERBOSE,
)
_NAME_ALONE: Final = re.compile(r'\s*[^\s:"()]+:(?=\s|\)|\(|$)')
_UNCLOSED: Final = re.compile(r'\s*(?:[^\s:"()]+:)?"')
_WORDS: Final = frozenset(("AND", "OR", "NOT"))
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)
_TIME_FORM: Final = "a time such as 2026-01-31 or 2026-01-31T10:00:00Z"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Token:
    """One token: `kind` is open, close, and, or, not, condition or end; `at` is its position, from 1."""

    kind: str
    at: int
    text: str
    condition: Condition | None = None


def parse_query(text: str) -> Condition:
    """What a query asks for; an empty one asks for everything.

    Raises FieldError of the field "query", with the position of the character (from 1) and what was expected.
    """
    if len(text) > MAX_QUERY_CHARS:
        raise FieldError(QUERY, f"{len(text):,} characters: want at most {MAX_QUERY_CHARS:,}")
    half = re.search("[\ud800-\udfff]", text)
    if half is not None:
        _refuse(half.start() + 1, "got half of a surrogate pair", "text")
    tokens = _tokens(text)
    if tokens[0].kind == "end":
        return Everything()
    parser = _Parser(tokens)
    found = parser.alternatives(0)
    if parser.next.kind != "end":
        _refuse(parser.next.at, f"got {parser.next.text!r}", "a condition, AND, OR or the end")
    return found


def _refuse(at: int, got: str, want: str) -> NoReturn:
    raise FieldError(QUERY, f"character {at}: {got}, want {want}")


class _Parser:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def alternatives(self, depth: int) -> Condition:
        parts = [self._all(depth)]
        while self.next.kind == "or":
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while True:
            if self.next.kind == "and":
                self._take()
            elif self.next.kind not in {"open", "not", "condition"}:
                return parts[0] if len(parts) == 1 else And(tuple(parts))
            parts.append(self._one(depth))

    def _one(self, depth: int) -> Condition:
        token = self._take()
        if depth > MAX_DEPTH:
            _refuse(token.at, "too many within each other", f"at most {MAX_DEPTH}")
        if token.kind == "not":
            return Not(self._one(depth + 1))
        if token.kind == "open":
            found = self.alternatives(depth + 1)
            if self.next.kind != "close":
                _refuse(self.next.at, f"got {self.next.text!r}" if self.next.text else "it ends here", "')'")
            self._take()
            return found
        if token.condition is None:
            _refuse(token.at, f"got {token.text!r}" if token.text else "it ends here", "a condition")
        return token.condition


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        begin = at + len(text[at:]) - len(text[at:].lstrip())
        if found is None or _NAME_ALONE.match(text, at):
            _explain(text, at, begin)
        if found["bare"] is not None and text[found.end() : found.end() + 1] == '"':
            if found["bare"].endswith(":"):
                _explain(text, at, begin)
            _refuse(
                found.end() + 1, "got '\"'", 'a space before it; a value that has one in it in quotes, as \\"'
            )
        tokens.append(_token(found, begin + 1))
        if len(tokens) > 4 * MAX_CONDITIONS:
            _refuse(begin + 1, "too many conditions", f"at most {MAX_CONDITIONS}")
        at = found.end()
    if sum(token.kind == "condition" for token in tokens) > MAX_CONDITIONS:
        _refuse(len(text) + 1, "too many conditions", f"at most {MAX_CONDITIONS}")
    return [*tokens, _Token("end", len(text) + 1, "")]


def _explain(text: str, at: int, begin: int) -> NoReturn:
    if (name := _NAME_ALONE.match(text, at)) is not None:
        _refuse(name.end() + 1, "nothing after the field's ':'", 'a value; "" for the empty one, * for any')
    if _UNCLOSED.match(text, at) is not None:
        _refuse(len(text) + 1, "it ends within quotes", "'\"'")
    _refuse(begin + 1, f"got {text[begin]!r}", "a condition, '(' or NOT")


def _token(found: re.Match[str], at: int) -> _Token:
    whole = found[0].strip()
    name, quoted, bare = found["name"], found["quoted"], found["bare"]
    if found["open"]:
        return _Token("open", at, whole)
    if found["close"]:
        return _Token("close", at, whole)
    if found["minus"]:
        return _Token("not", at, whole)
    if name is None and bare in _WORDS:
        return _Token(bare.lower(), at, whole)
    if quoted is not None:
        value, at_value = re.sub(r"\\(.)", r"\1", quoted), at + (0 if name is None else len(name) + 1)
        return _Token("condition", at, whole, _condition(name, value, at_value, open_ended=False))
    value, at_value = bare, at + (0 if name is None else len(name) + 1)
    open_ended = value.endswith("*")
    return _Token(
        "condition", at, whole, _condition(name, value.removesuffix("*"), at_value, open_ended=open_ended)
    )


def _condition(name: str | None, value: str, at: int, *, open_ended: bool) -> Condition:
    if name is None:
        words = words_of(value)
        if open_ended and not value:
            return Everything()
        if not words:
            _refuse(at, f"got {value!r}", "a letter or a digit to look for")
        if open_ended and max(map(len, words)) > PREFIX_CHARS:
            _refuse(at, f"{max(map(len, words))} characters in a word before '*'", f"at most {PREFIX_CHARS}")
        return Words(words, open_ended)
    lower = name.lower()
    if lower in {"after", "before"}:
        if open_ended:
            _refuse(at, f"got {value + '*'!r}", _TIME_FORM)
        time = _time(value, at)
        return Times(start=max(time, 1)) if lower == "after" else Times(end=max(time, 1))
    if not open_ended:
        return Value(fold(name), fold(value))
    prefix = value.lower() if value.isascii() else value.casefold()
    if len(prefix) > PREFIX_CHARS:
        _refuse(at, f"{len(prefix)} characters before '*'", f"at most {PREFIX_CHARS}")
    return Prefix(fold(name), prefix)


def _time(text: str, at: int) -> int:
    """Nanoseconds since 1970; a day is its first moment, and UTC what names no offset."""
    found = _TIME.fullmatch(text)
    if found is None:
        _refuse(at, f"got {text!r}", _TIME_FORM)
    year, month, day, hour, minute, second = (int(found[i] or 0) for i in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        _refuse(at, f"got {text!r} ({error})", _TIME_FORM)
    zone = found[8] or "Z"
    shift = 0
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            _refuse(at, f"got {text!r}", _TIME_FORM)
        shift = (60 * hours + minutes) * (-60 if zone[0] == "+" else 60)
    since = moment - _EPOCH
    seconds = since // timedelta(seconds=1) + shift
    return min(max(seconds * 10**9 + int((found[7] or "").ljust(9, "0") or 0), 0), MAX_TIME)


__all__ = [
    "MAX_CONDITIONS",
    "MAX_DEPTH",
    "MAX_QUERY_CHARS",
    "QUERY",
    "And",
    "Condition",
    "Everything",
    "Not",
    "Or",
    "Prefix",
    "Times",
    "Value",
    "Words",
    "parse_query",
]
