"""OTLP's JSON, in and out: the records of an export request, and a record as such a request.

The encoding differs from protobuf's own JSON in its ids, which are hex; names are taken in both spellings, 64-bit
integers as strings and as numbers, and what no version of OTLP knows is passed over, as the specification asks.

Source: OTLP specification, "JSON Protobuf Encoding"; protobuf, "ProtoJSON Format".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from merklelog.errors import FormatError
from merklelog.formats.wire import encode_base64

from .canonical import encode_record
from .normal import TEXT_NAMES, normal_record, normal_resource, normal_scope, shown
from .record import Record, Tally, inside, too_many

_DECODER: Final = msgspec.json.Decoder()
# A brace in eight bytes of the largest request: an attribute has two in thirty. In strings they count too.
_MOST_OBJECTS: Final = 2**21
_OTHERS: Final = ("resourceSpans", "resourceMetrics", "resourceProfiles")


def records_from_json(data: bytes) -> list[Record]:
    """The records of an OTLP/JSON export request, in order, in normal form.

    Records of one resource share its object, and those of one scope its: change a copy. Raises FormatError that
    names the place.
    """
    return list(read_json(data))


def read_json(data: bytes) -> Iterator[Record]:
    """`records_from_json`, one at a time. It may raise after the first ones: then none of them counts."""
    if data.count(b"{") > _MOST_OBJECTS:
        raise too_many()  # before the parser makes one of each
    document = _decode(data)
    if type(document) is not dict:
        raise FormatError(f"request: got {shown(document)}, want an object with resourceLogs")
    for other in _OTHERS:
        if other in document:
            raise FormatError(f"request: {other} are no logs, want resourceLogs")
    tally = Tally()
    for at, group in enumerate(_objects(document, "resourceLogs", "resource_logs")):
        try:
            yield from _of_resource(group, tally)
        except FormatError as error:
            raise inside(f"resourceLogs[{at}]", error) from None


def _of_resource(group: dict[str, Any], tally: Tally) -> Iterator[Record]:
    shared: Record = {}
    resource = _member(group, "resource")
    if resource is not None:
        shared["resource"] = _within("resource", normal_resource, resource)
    size = len(encode_record(shared))
    for at, part in enumerate(_objects(group, "scopeLogs", "scope_logs")):
        try:
            scoped = shared
            scope = _member(part, "scope")
            if scope is not None:
                scoped = {**shared, "scope": _within("scope", normal_scope, scope)}
            raws = _objects(part, "logRecords", "log_records")
            own = 0 if scope is None else len(encode_record(scoped["scope"]))
            tally.records(len(raws), size + own)
            for number, raw in enumerate(raws):
                try:
                    record = normal_record(raw)
                except FormatError as error:
                    raise inside(f"logRecords[{number}]", error) from None
                record.update(scoped)
                yield record
        except FormatError as error:
            raise inside(f"scopeLogs[{at}]", error) from None


def _within(name: str, normal: Any, raw: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = normal(raw)
    except FormatError as error:
        raise inside(name, error) from None
    return found


def _member(group: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The resource or scope of a group, with the group's schema URL inside; None when there is neither."""
    content = group.get(name)
    if content is not None and type(content) is not dict:
        raise FormatError(f"{name}: got {shown(content)}, want an object")
    own = {key: value for key, value in (content or {}).items() if key not in _URLS}
    url = {key: group[key] for key in _URLS if group.get(key) not in (None, "")}
    return {**own, **url} if content is not None or url else None


_URLS: Final = ("schemaUrl", "schema_url", "schemaUrlBytes", "schema_urlBytes")


def _objects(parent: dict[str, Any], name: str, snake: str) -> list[dict[str, Any]]:
    content = parent.get(name)
    if content is None:
        content = parent.get(snake)
    if content is None:
        return []
    if type(content) is not list:
        raise FormatError(f"{name}: got {shown(content)}, want an array")
    for at, each in enumerate(content):
        if type(each) is not dict:
            raise FormatError(f"{name}[{at}]: got {shown(each)}, want an object")
    return content


def _decode(data: bytes) -> Any:
    if b":-0" in data or b": -0" in data:
        return _decode_again(data)  # it may be a negative zero, which the fast parser reads as 0
    try:
        return _DECODER.decode(data)
    except RecursionError:
        raise FormatError("request: JSON nested too deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _decode_again(data)


def _decode_again(data: bytes) -> Any:
    """JSON that the fast parser refuses: for strings that are not UTF-8, whose bytes are kept, or for good."""
    try:
        text, errors = data.decode("utf-8"), "surrogatepass"
    except UnicodeDecodeError:
        text, errors = data.decode("utf-8", "surrogateescape"), "surrogateescape"
    try:
        document = json.loads(text, parse_constant=_no_number, parse_int=_integer)
    except RecursionError:
        raise FormatError("request: JSON nested too deep") from None
    except ValueError as error:
        raise FormatError(f"request: not JSON: {error}") from None
    _keep_bytes(document, errors)
    return document


def _integer(digits: str) -> int | float:
    return -0.0 if digits == "-0" else int(digits)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON, want it in quotes")


def _keep_bytes(document: Any, errors: str) -> None:
    """Every string with a part that is not Unicode becomes the bytes it was, as `record` has it."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for name in list(node):
                content = node[name]
                if isinstance(content, str) and (encoded := _broken(content, errors)) is not None:
                    typed = name in ("stringValue", "string_value")
                    if typed or name in TEXT_NAMES:  # of any other it is said that it can not be read
                        del node[name]
                        node["bytesValue" if typed else f"{name}Bytes"] = encoded
                elif isinstance(content, dict | list):
                    waiting.append(content)
        elif isinstance(node, list):
            for at, content in enumerate(node):
                if isinstance(content, str) and (encoded := _broken(content, errors)) is not None:
                    node[at] = {"bytesValue": encoded}
                elif isinstance(content, dict | list):
                    waiting.append(content)


def _broken(text: str, errors: str) -> str | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            data = text.encode("utf-8", errors)
        except UnicodeEncodeError:  # both kinds in one request: half a pair, beside bytes that are not UTF-8
            data = text.encode("utf-8", "surrogatepass")
        return encode_base64(data).decode("ascii")
    return None


def record_to_json(record: Record) -> bytes:
    """A record as an OTLP/JSON export request of its own, in canonical order. Raises FormatError."""
    inner = {name: content for name, content in record.items() if name not in ("resource", "scope")}
    part: dict[str, Any] = {"logRecords": [inner]}
    group: dict[str, Any] = {"scopeLogs": [part]}
    for name, parent in (("resource", group), ("scope", part)):
        if name in record:
            content = dict(record[name])
            for key in ("schemaUrl", "schemaUrlBytes"):
                if key in content:
                    parent[key] = content.pop(key)
            parent[name] = content
    return encode_record({"resourceLogs": [group]})
