"""Logs to search in tests: real events and hard ones, and searching by looking at every entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import merklelog
from merklelog.index.assembler import Assembler
from merklelog.index.document import Document
from merklelog.index.match import matches
from merklelog.index.query import parse_query
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import LogPart
from merklelog.ingest.split import split_entry
from merklelog.log import LogReader

ORIGIN = "search.example/log"
SECOND = 10**9
START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


def text(value: str) -> dict[str, Any]:
    return {"stringValue": value}


def attributes(**named: str) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": text(value)} for key, value in named.items()]


def record(time: int = START, body: Any = None, **named: str) -> dict[str, Any]:
    """A record with these attributes: audit__actor="alice" is audit.actor."""
    made: dict[str, Any] = {"timeUnixNano": str(time)} if time else {}
    if named:
        made["attributes"] = attributes(**named)
    return made if body is None else made | {"body": body}


def entries_of(made: dict[str, Any], **part: Any) -> list[bytes]:
    """The entries of a record: one, or several when it is long."""
    return split_entry(LogPart(**({"time": START} | part)), encode_record(made))


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


# What anyone may append, and what must not keep the rest from being found.
POISON = (
    b"",
    b"\xff\xfe\x00",
    b"{",
    b"[1,2]",
    b'{"a":NaN}',
    deep(10_000),
    b'{"a":"' + b"x" * 60_000 + b'"}',
    b'{"time":"2262-04-11T23:47:16.854775807Z","@timestamp":"1970-01-01T00:00:00Z","\\u0000":"\\u0000"}',
    b'{"log":{"format":"merklelog/entry/v1","time":"1"},"record":{"attributes":5}}',
    b'{"log":{"format":"merklelog/entry/v1","time":"1"},"record":{"body":{"kvlistValue":[]}}}',
    b'{"log":{"format":"merklelog/entry/v1","split":{"hash":"'
    + b"00" * 32
    + b'","part":0,"parts":9,"size":300000},"time":"1"},"piece":"AAAA"}',
    b'{"log":{"format":"merklelog/entry/v1"',
    b'{"a":"\\ud800","\\udfff":"b"}',
    b'{"log":{"format":"merklelog/entry/v1","time":"1"},"record":{"timeUnixNano":"99999999999999999999999"}}',
    b'{"log":{"format":"merklelog/entry/v1","time":"9223372036854775807"},"record":{"body":{"stringValue":"\\ud800"}}}',
)


def make_log(path: Path, *batches: list[bytes], **settings: Any) -> Path:
    """A log with these batches."""
    fixed = {"store.min_free_bytes": 0, "index.interval": 0.05}
    merklelog.create_log(path, ORIGIN, settings=fixed | settings)
    append(path, *batches)
    return path


def append(path: Path, *batches: list[bytes]) -> None:
    with merklelog.open(path) as log:
        for batch in batches:
            log.append_batch(batch)


def documents(log: LogReader) -> list[Document]:
    """The documents of a log, in order."""
    assembler = Assembler(0)
    found = [each for data in log.entries(0, log.size) for each in assembler.add(data)]
    return [*found, *assembler.flush()]


def expected(found: list[Document], query: str, *, newest_first: bool = False) -> list[int]:
    """The indexes that a query finds, in order, by looking at every document."""
    condition = parse_query(query)
    hits = [(each.time, each.index) for each in found if matches(condition, each)]
    return [index for _, index in sorted(hits, reverse=newest_first)]


def quoted(value: str) -> str:
    """A value as a query has it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every value of a JSON value with its path, as somebody would type it."""
    if isinstance(value, dict):
        return [
            pair for key, each in value.items() for pair in leaves(each, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list):
        return [pair for each in value for pair in leaves(each, path)]
    if value is None:
        return []
    return [(path, value if isinstance(value, str) else json.dumps(value))]
