"""`audit.content_hash`: a sender's SHA-256 of a record's body, checked against the body that came.

The widely published way to make it is Python's: `sha256(json.dumps(event, sort_keys=True).encode())`, with json's
default separators and ASCII only, in hexadecimal, and `json.dumps(event)` as the body. So a body that is a string
is parsed by Python's json and dumped again that way; a body of key-values becomes the same Python objects first.
The other way is RFC 8785 (JSON Canonicalization Scheme) over the same value. A hash that either way gives is "ok".

A hash that neither gives is a "mismatch" only where the body carries its value through json without a loss. Where
it does not, nothing is told: "not checkable" is a body that is missing or no JSON, that has bytes, one key twice
in an object or a number with more digits than a double has, and a claim that is no SHA-256 in hexadecimal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from .canonical import format_double
from .model import AuditFields
from .values import NotPlainError, plain
from .verdict import Verdict

_CLAIM: Final = re.compile(r"(?:sha-?256[:=-])?([0-9a-f]{64})")
_READ: Final = json.JSONDecoder()
_PYTHON: Final = json.JSONEncoder(sort_keys=True)
_TEXT: Final = json.JSONEncoder(ensure_ascii=False)
_SAFE: Final = 2**53  # every whole number up to here is a double of the same digits


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, how the hash was made ("python json", "RFC 8785"; "" when neither gives it), and why not."""

    verdict: Verdict
    convention: str = ""
    reason: str = ""


_OK_PYTHON: Final = Judgement(Verdict.OK, "python json")


def check_content(record: Mapping[str, Any], fields: AuditFields) -> Verdict | None:
    """The verdict on a record's content hash; None for a record without one. Raises nothing for any record."""
    if fields.content_hash is None:
        return None
    return judge_content(record, fields.content_hash).verdict


def judge_content(record: Mapping[str, Any], claimed: str) -> Judgement:
    """The verdict on a claim about a record's body, with how or why."""
    claim = _CLAIM.fullmatch(claimed.strip().lower())
    if claim is None:
        return _unknown("the claim is no SHA-256 in hexadecimal")
    digest, body = claim[1], record.get("body")
    if not body:
        return _unknown("there is no body")
    text = body.get("stringValue")
    try:
        value = plain(body) if text is None else _loads(text)
        if _sha256(_PYTHON.encode(value).encode("ascii")) == digest:
            return _OK_PYTHON
    except (ValueError, RecursionError) as error:  # NotPlainError is a ValueError
        return _unknown(f"the body is not JSON: {error}" if text is not None else str(error))
    try:
        if _is_rfc_8785(value, digest):
            return Judgement(Verdict.OK, "RFC 8785")
        if text is not None:
            json.loads(text, object_pairs_hook=_once, parse_float=_exact)
    except (ValueError, RecursionError) as error:
        return _unknown(str(error))
    return Judgement(
        Verdict.MISMATCH, reason="neither Python's json nor RFC 8785 gives that hash of the body"
    )


def _loads(text: str) -> Any:
    """What json.loads gives and raises; in half the time where there is no space around the value."""
    try:
        value, end = _READ.raw_decode(text)
        if end == len(text):
            return value
    except ValueError:
        return json.loads(text)  # which passes over the space, or says what is wrong
    return json.loads(text)


def _is_rfc_8785(value: Any, digest: str) -> bool:
    try:
        return _sha256(canonical_json(value)) == digest
    except NotPlainError:
        return False  # what the RFC has no form for nobody has hashed by it


def _unknown(reason: str) -> Judgement:
    return Judgement(Verdict.NOT_CHECKABLE, reason=reason)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise NotPlainError("a key stands twice in one object")


def _exact(text: str) -> float:
    number = float(text)
    if repr(number) == text:
        return number
    # Shortest digits that read back: what any writer of doubles may have written, in whatever notation.
    if Decimal(repr(number)) != Decimal(text):
        raise NotPlainError(f"a number has more digits than a double: {text[:40]}")
    return number


def canonical_json(value: Any) -> bytes:
    """RFC 8785 of what Python's json reads; every number is a double there.

    Raises NotPlainError for what the RFC has no form for: a NaN, an infinity, half a surrogate pair.
    """
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError:
        raise NotPlainError("half a surrogate pair has no form in RFC 8785") from None


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(_TEXT.encode(value))
    elif value is None or isinstance(value, bool):
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int | float):
        parts.append(_number(value))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            parts.append("," if at else "[")
            _write(each, parts)
        parts.append("]" if value else "[]")
    else:
        # By UTF-16 units (section 3.2.3); a lone half of a pair is found when all is encoded.
        rows = sorted(value.items(), key=lambda row: row[0].encode("utf-16-be", "surrogatepass"))
        for at, (key, each) in enumerate(rows):
            parts.append(f"{',' if at else '{'}{_TEXT.encode(key)}:")
            _write(each, parts)
        parts.append("}" if rows else "{}")


def _number(value: float) -> str:
    # Nearly all numbers there are, in a fifth of the time: a body may hold millions of them.
    if type(value) is int and -_SAFE <= value <= _SAFE:
        return str(value)
    if type(value) is float and 1e-4 < abs(value) < 1e16:
        return repr(value).removesuffix(".0")
    try:
        number = float(value)
    except OverflowError:
        raise NotPlainError("a number is too large for a double") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise NotPlainError("a NaN or an infinity has no form in RFC 8785")
    return format_double(number).decode() if number else "0"


__all__ = ["Judgement", "canonical_json", "check_content", "judge_content"]
