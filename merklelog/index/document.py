"""What of an entry can be found: its time, its fields by name, and its words.

An entry made of an OpenTelemetry record has the fields of the audit model (`FIELDS`), every attribute of the
record, of its scope and of its resource under the attribute's own key, and every value in its body under its path
("userIdentity.arn"). An entry that is a JSON object and no record, in a raw log, is taken as the body of one. Any
other entry is text where it is UTF-8, and else has an index and nothing more. So is a record of more than
`MAX_VALUES` values, which only one of several entries can be: it is text beside what the log says of it.

What only the log may say (`submitter`, `verdict`) can not be claimed by a sender: an attribute of a name that is
in FIELDS is found under "attributes." and that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import msgspec

from merklelog.errors import MerklelogError
from merklelog.ingest.entry import Entry
from merklelog.ingest.model import AuditFields, audit_fields
from merklelog.ingest.values import MAX_VALUES, json_object, text_of

from .words import SEPARATOR, VALUE_CHARS, fold, spaced

# The fields of the model, and what of a record stands beside it: what a hit shows, and what counts are made by.
FIELDS: Final = {
    "actor": "who did it",
    "actor_type": "what kind of actor that is",
    "action": "what was done",
    "resource": "to what",
    "resource_type": "what kind of resource that is",
    "outcome": "how it ended",
    "source": "the machine or service that told it",
    "source_type": "what kind of source that is",
    "record_id": "the record's own ID",
    "content_hash": "the content hash that the record claims",
    "schema_version": "the version of the record's schema that it claims",
    "trace_id": "the trace, 32 hex digits",
    "span_id": "the span, 16 hex digits",
    "event_name": "the name of the event's kind",
    "severity": "the severity's text",
    "scope": "the name of the instrumentation scope",
    "mapper": "whose field names the event has",
    "submitter": "who sent it to the log, by its token",
    "verdict": "what the log found when it came: content_hash:mismatch, record_id:conflict and others",
}
RESERVED: Final = "attributes."
MAX_TIME: Final = 2**64 - 1
_MAX_DEPTH: Final = 64
_SHOWN: Final = 500  # characters of a field that a hit shows
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_MAX_TERMS: Final = 4_096  # of one entry: a record of 64 KiB can have no more than some thousand values
_OF_MODEL: Final = tuple(name for name in FIELDS if name in AuditFields.__struct_fields__)
_MODEL: Final = attrgetter(*_OF_MODEL)


class Document(msgspec.Struct, frozen=True):
    """One entry (or the `entries` that one record was split into, from `index` on) as it can be found.

    `time` is in nanoseconds since 1970, 0 where the entry says none. `terms` are those of `words.term`; `text` is
    words with spaces between them; `fields` is what a hit shows of FIELDS.
    """

    index: int
    entries: int = 1
    time: int = 0
    terms: frozenset[str] = frozenset()
    text: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)


def document(index: int, entry: Entry | None, data: bytes, entries: int = 1) -> Document:
    """The document of an entry: `entry` is what `parse_entry` or `join_entries` gave, None for no record.

    Raises nothing: an entry that begins as a record and is none is text, too.
    """
    try:
        return _document(index, entry, data, entries)
    except (MerklelogError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Whoever may append may append anything: it must neither keep what follows from being found, nor hide.
        return Document(index, entries, text=_words(data))


def _words(data: bytes) -> str:
    try:
        return spaced(data.decode("utf-8"))
    except ValueError:
        return ""


def _document(index: int, entry: Entry | None, data: bytes, entries: int) -> Document:
    if entry is not None:
        record, part = _record(entry.record_bytes), entry.part
        text = (record.get("body") or _NONE).get("stringValue")
        event = json_object(text) if text else None
    else:
        text, part = data.decode("utf-8"), None
        event = json_object(text)
        if event is None:
            return Document(index, entries, text=spaced(text))
        record = {"body": {"stringValue": text}}
    model = audit_fields(record, told=event)
    shown = _shown(model, record)
    time = model.time_ns or 0
    verdicts: list[str] = []
    if part is not None:
        if part.submitter:
            shown["submitter"] = part.submitter
        verdicts = [*_verdicts(part.verdicts), *(["protected"] if part.protected else ())]
        if verdicts:
            shown["verdict"] = ", ".join(verdicts)
        time = time or part.time
    pairs = _pairs(record, event)
    terms = {_own(name) + _folded(value) for name, value in shown.items() if name != "verdict"}
    terms.update([_own("verdict") + _folded(each) for each in verdicts])
    terms.update([_other(name) + _folded(value) for name, value in model.extra.items()])
    terms.update(  # `_folded`, written out: there are dozens in each entry
        [
            _other(name) + (value.lower() if len(value) <= VALUE_CHARS and value.isascii() else fold(value))
            for name, value in pairs[:_MAX_TERMS]
        ]
    )
    texts = [shown[name] for name in ("actor", "action", "resource") if name in shown]
    texts += [value for _, value in pairs]
    words = spaced(" ".join(texts))
    cut = {name: value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..." for name, value in shown.items()}
    return Document(index, entries, min(max(time, 0), MAX_TIME), frozenset(terms), words, cut)


def _record(data: bytes) -> dict[str, Any]:
    """A record by its bytes; one of too many values is all text."""
    if len(data) > MAX_VALUES and data.count(b"{") > MAX_VALUES:
        return {"body": {"stringValue": data.decode("utf-8")}}
    record: dict[str, Any] = msgspec.json.decode(data)
    return record


@lru_cache(maxsize=4_096)
def _own(name: str) -> str:
    return f"{fold(name)}{SEPARATOR}"


@lru_cache(maxsize=4_096)
def _other(name: str) -> str:
    """The same for a name that a sender chose, which can not be one of FIELDS."""
    folded = fold(name)
    return f"{RESERVED}{folded}{SEPARATOR}" if folded in FIELDS else f"{folded}{SEPARATOR}"


def _folded(value: str) -> str:
    # What `fold` would say, for nearly all values there are.
    return value.lower() if len(value) <= VALUE_CHARS and value.isascii() else fold(value)


def _shown(model: AuditFields, record: dict[str, Any]) -> dict[str, str]:
    found = {
        name: value
        for name, value in zip(_OF_MODEL, _MODEL(model), strict=True)
        if type(value) is str and value
    }
    if severity := record.get("severityText"):
        found["severity"] = severity
    if scope := record.get("scope", _NONE).get("name"):
        found["scope"] = scope
    return found


def _verdicts(verdicts: dict[str, Any]) -> Iterator[str]:
    for name, told in verdicts.items():
        if isinstance(told, str):
            yield f"{name}:{told}"
        elif name == "record_id":
            yield f"{name}:conflict"
        else:
            yield name


_Pairs = list[tuple[str, str]]


def _pairs(record: dict[str, Any], event: dict[str, Any] | None) -> _Pairs:
    """Every value of a record with its name: attributes by their keys, the body's by their paths.

    `event` is what the body's text says, None for a text that is no event.
    """
    found: _Pairs = []
    for holder in (record, record.get("scope", _NONE), record.get("resource", _NONE)):
        if "attributes" in holder:
            _leaves(holder["attributes"], "", _MAX_DEPTH, found)
    body = record.get("body")
    if not body:
        return found
    text = body.get("stringValue")
    if text is not None:
        if event is None:
            found.append(("body", text))
        else:  # an event that was logged as its text: its values are found all the same
            _plain(event, "", _MAX_DEPTH, found)
    elif "kvlistValue" in body:
        _leaves(body["kvlistValue"].get("values", ()), "", _MAX_DEPTH, found)
    else:
        _values(body, "body", _MAX_DEPTH, found)
    return found


def _plain(value: dict[str, Any], path: str, depth: int, found: _Pairs) -> None:
    """The values of a JSON object, by their paths; null is none."""
    for key, each in value.items():
        name = path + key
        if type(each) is str:
            found.append((name, each))
        elif type(each) is dict:
            if depth:
                _plain(each, f"{name}.", depth - 1, found)
        else:
            _plain_value(each, name, depth, found)


def _plain_value(value: Any, name: str, depth: int, found: _Pairs) -> None:
    if isinstance(value, list):
        for each in value if depth else ():
            _plain_value(each, name, depth - 1, found)
    elif isinstance(value, dict):
        _plain(value, f"{name}.", depth - 1, found)
    elif isinstance(value, bool):
        found.append((name, "true" if value else "false"))
    elif value is not None:
        found.append((name, str(value)))


def _leaves(pairs: Iterable[dict[str, Any]], path: str, depth: int, found: _Pairs) -> None:
    for each in pairs:
        value = each.get("value")
        if value:
            text = value.get("stringValue")
            if text is not None:
                found.append((path + each["key"], text))
            else:
                _values(value, path + each["key"], depth, found)


def _values(value: dict[str, Any], name: str, depth: int, found: _Pairs) -> None:
    text = text_of(value)
    if text is not None:
        found.append((name, text))
    elif depth and "kvlistValue" in value:
        _leaves(value["kvlistValue"].get("values", ()), f"{name}.", depth - 1, found)
    elif depth and "arrayValue" in value:
        for each in value["arrayValue"].get("values", ()):
            if each:
                _values(each, name, depth - 1, found)


__all__ = ["FIELDS", "MAX_TIME", "RESERVED", "Document", "document"]
