"""[ingest.protect]: personal data is left out of a record, or replaced, before an entry is made of it.

What enters a log stays in it, so this is the last moment. A field is named by its attribute's key, of the record,
its resource or its scope; by `body`, the whole body; or by `body.a.b`, a path through a body of key-values or of
JSON text. A name reaches into values that are key-values, by dots, and into every item of a list.

Text that is no JSON stays as it came. What may be JSON and is more than can be read (some hundred values within
each other, a number of thousands of digits) is protected as a whole: dropped if one field of the body is to be,
else replaced.

A value that is replaced becomes the string `hmac-sha256:KEY:HEX`: HMAC-SHA-256 under the key that is named KEY, of
the text of a scalar (a string's own UTF-8, true or false, digits, base64 of bytes), of anything else its canonical
JSON. So equal values stay equal, and who has the key can tell which value it was; without the key nobody can, and
once it is destroyed nobody ever can.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from merklelog.errors import ConfigError, KeyFileError
from merklelog.log.ingest_config import ProtectConfig

from .canonical import encode_record
from .record import Record
from .values import Typed, text_of
from .verdict import dropped, replaced

MIN_KEY_BYTES: Final = 32
_BODY: Final = "body"
_AROUND: Final = ("resource", "scope")
Rules = dict[str, str]  # what is left of a field's name -> how the entry tells it


class Protect:
    """Takes the configured fields out of records. Safe for any number of threads.

    Raises ConfigError for fields that are to be replaced without a key, or that stand in both lists.
    """

    def __init__(self, config: ProtectConfig, key: bytes = b"", key_name: str = "") -> None:
        if config.hmac and len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"ingest.protect.hmac needs a key of at least {MIN_KEY_BYTES} bytes: ingest.protect.key"
            )
        both = sorted({*config.drop} & {*config.hmac})
        if both:
            raise ConfigError(f"ingest.protect: {both[0]!r} stands in drop and in hmac")
        self._key, self.key_name = key, key_name or config.key_name or "key"
        rules = {name: dropped(name) for name in config.drop}
        rules |= {name: replaced(name, self.key_name) for name in config.hmac}
        self._rules = rules
        self._body = {
            name[len(_BODY) + 1 :]: told for name, told in rules.items() if name.startswith(_BODY + ".")
        }
        # The records of one request share their resource and scope; so do they afterwards.
        self._last: dict[str, tuple[Any, Any, frozenset[str]]] = dict.fromkeys(
            _AROUND, (None, None, frozenset())
        )

    @classmethod
    def load(cls, config: ProtectConfig, directory: Path) -> Protect:
        """With the key in the file that the configuration names. Raises ConfigError, KeyFileError."""
        if not config.hmac:
            return cls(config)
        if not config.key:
            raise ConfigError("ingest.protect.hmac needs the file of a key: ingest.protect.key")
        path = directory / config.key
        try:
            key = path.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise KeyFileError(
                f"{path}: the key of [ingest.protect] can not be read: {error.strerror}"
            ) from error
        if len(key) < MIN_KEY_BYTES:
            raise KeyFileError(f"{path}: {len(key)} bytes, want a key of at least {MIN_KEY_BYTES}")
        return cls(config, key, config.key_name or path.stem)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def apply(self, record: Record) -> tuple[Record, tuple[str, ...]]:
        """The record without what is protected, and how the entry tells it, sorted; the record is not changed."""
        if not self._rules:
            return record, ()
        told: set[str] = set()
        made = dict(record)
        if "attributes" in made:
            made["attributes"] = self._pairs(made["attributes"], self._rules, told)
            if not made["attributes"]:
                del made["attributes"]
        for name in _AROUND:
            if name in made:
                made[name] = self._around(name, made[name], told)
        if _BODY in made:
            self._in_body(made, told)
        return (made, tuple(sorted(told))) if told else (record, ())

    def _around(self, name: str, content: Mapping[str, Any], told: set[str]) -> Mapping[str, Any]:
        before, after, found = self._last[name]
        if content is not before:
            inner: set[str] = set()
            after = dict(content)
            if "attributes" in after:
                after["attributes"] = self._pairs(after["attributes"], self._rules, inner)
                if not after["attributes"]:
                    del after["attributes"]
            found = frozenset(inner)
            self._last[name] = (content, after, found)
        told |= found
        return after if found else content

    def _in_body(self, made: Record, told: set[str]) -> None:
        rule = self._rules.get(_BODY)
        if rule is not None:
            told.add(rule)
            if rule.startswith("drop:"):
                del made[_BODY]
            else:
                made[_BODY] = self._hidden(made[_BODY])
        elif self._body:
            body = made[_BODY]
            text = body.get("stringValue")
            left = self._value(body, self._body, told) if text is None else self._in_text(text, told)
            if left is None:
                del made[_BODY]
            else:
                made[_BODY] = left

    # --- typed values --------------------------------------------------------------------------------------------

    def _value(self, value: Typed, rules: Rules, told: set[str]) -> Typed:
        if (pairs := value.get("kvlistValue")) is not None:
            return {"kvlistValue": {**pairs, "values": self._pairs(pairs["values"], rules, told)}}
        if (items := value.get("arrayValue")) is not None:
            inner = [self._value(each, rules, told) for each in items["values"]]
            return {"arrayValue": {**items, "values": inner}}
        return value

    def _pairs(self, pairs: list[dict[str, Any]], rules: Rules, told: set[str]) -> list[dict[str, Any]]:
        made = []
        for pair in pairs:
            key = pair["key"]
            rule = rules.get(key)
            if rule is None:
                value = pair.get("value")
                deeper = _below(rules, key) if value else {}
                inner = self._value(value, deeper, told) if value and deeper else value
                made.append(pair if inner is value else {**pair, "value": inner})
                continue
            told.add(rule)
            if not rule.startswith("drop:"):
                made.append({**pair, "value": self._hidden(pair.get("value") or {})})
        return made

    def _hidden(self, value: Typed) -> Typed:
        text = text_of(value)
        data = encode_record({_BODY: value})[8:-1] if text is None else text.encode()
        return {"stringValue": self._hmac(data)}

    def _hmac(self, data: bytes) -> str:
        return f"hmac-sha256:{self.key_name}:{hmac.new(self._key, data, hashlib.sha256).hexdigest()}"

    # --- a body of JSON text -------------------------------------------------------------------------------------

    def _in_text(self, text: str, told: set[str]) -> Typed | None:
        try:
            inner: set[str] = set()
            # A byte order mark before it is no part of JSON, and there all the same.
            value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_Pairs, parse_float=_Number)
            changed = self._in_plain(value, self._body, inner)
            if not inner:
                return {"stringValue": text}
            made = _dumped(changed, ascii_only=False)
            if not _is_text(made):  # half a surrogate pair, which only an escape can say
                made = _dumped(changed, ascii_only=True)
        except json.JSONDecodeError:
            return {"stringValue": text}  # no JSON: no field has a place in it
        except (ValueError, RecursionError):
            return self._unread(text, told)  # JSON maybe, nested too deep or with too many digits for Python
        told |= inner
        return {"stringValue": made}

    def _unread(self, text: str, told: set[str]) -> Typed | None:
        """What is left of a text of which nobody can say what a field of it is: nothing."""
        told |= set(self._body.values())
        if any(rule.startswith("drop:") for rule in self._body.values()):
            return None
        return {"stringValue": self._hmac(text.encode("utf-8", "surrogatepass"))}

    def _in_plain(self, value: Any, rules: Rules, told: set[str]) -> Any:
        if isinstance(value, _Pairs):
            made = _Pairs()
            for key, inner in value:
                rule = rules.get(key)
                if rule is None:
                    deeper = _below(rules, key)
                    made.append((key, self._in_plain(inner, deeper, told) if deeper else inner))
                    continue
                told.add(rule)
                if not rule.startswith("drop:"):
                    made.append((key, self._hmac(_scalar(inner).encode("utf-8", "surrogatepass"))))
            return made
        return [self._in_plain(each, rules, told) for each in value] if isinstance(value, list) else value


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written: a key that stands twice must not hide what stands under the first."""


class _Number(str):
    """A number with a fraction or an exponent, in the digits that it was written with."""

    __slots__ = ()


def _dumped(value: Any, *, ascii_only: bool) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Pairs):
        rows = (
            f"{_dumped(key, ascii_only=ascii_only)}: {_dumped(each, ascii_only=ascii_only)}"
            for key, each in value
        )
        return f"{{{', '.join(rows)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_dumped(each, ascii_only=ascii_only) for each in value)}]"
    return json.dumps(value, ensure_ascii=ascii_only)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _below(rules: Rules, key: str) -> Rules:
    """The rules for what is inside the value of `key`."""
    start = key + "."
    return {name[len(start) :]: told for name, told in rules.items() if name.startswith(start)}


def _scalar(value: Any) -> str:
    """What the HMAC of a value of JSON is over: a string itself, else its canonical text."""
    if isinstance(value, str):
        return value
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, _Number):
        return float(value)
    if isinstance(value, _Pairs):
        return {key: _plain(each) for key, each in value}
    return [_plain(each) for each in value] if isinstance(value, list) else value


__all__ = ["MIN_KEY_BYTES", "Protect"]
