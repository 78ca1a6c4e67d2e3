"""docs/record.md is what holds: its table of cases, each by every way into a record and out of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from merklelog.ingest.canonical import IDENTITY_CONTEXT, decode_record, encode_record
from merklelog.ingest.entry import FORMAT, MAX_ENTRY_BYTES, LogPart, encode_entry
from merklelog.ingest.otlp_json import record_to_json, records_from_json
from merklelog.ingest.otlp_out import record_to_protobuf
from merklelog.ingest.otlp_protobuf import records_from_protobuf
from merklelog.ingest.record import LOG_RECORD, MAX_DEPTH, MAX_SHARED_BYTES, RESOURCE, SCOPE
from merklelog.ingest.split import MAX_RECORD_BYTES, PIECE_BYTES, split_entry
from tests.ingest.record_strategies import of_length

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "record.md").read_text("utf-8")
ROWS = re.findall(r"(?m)^\| ([^|`]+) \| `([^`|]+)` \| `([^`|]+)` \|$", PAGE)


def records_of(came: str) -> list[dict[str, object]]:
    """What a cell of the table makes."""
    if re.fullmatch("[0-9a-f ]+", came):
        return records_from_protobuf(of_length(1, of_length(2, of_length(2, bytes.fromhex(came)))))
    group = came if '"scopeLogs"' in came else f'{{"scopeLogs":[{{"logRecords":[{came}]}}]}}'
    return records_from_json(f'{{"resourceLogs":[{group}]}}'.encode())


@pytest.mark.parametrize(("case", "came", "want"), ROWS, ids=[row[0] for row in ROWS])
def test_a_case_of_the_table(case: str, came: str, want: str) -> None:
    (record,) = records_of(came)
    assert encode_record(record) == want.encode()
    assert decode_record(want.encode()) == record
    assert records_from_protobuf(record_to_protobuf(record)) == [record]
    assert records_from_json(record_to_json(record)) == [record]


def test_the_table_covers_every_field_and_type() -> None:
    assert len(ROWS) >= 45
    assert PAGE.count("\n| ") - 8 - len(ROWS) == 0, "a row of the table was not read"
    wanted = "".join(row[2] for row in ROWS)
    names = {name for fields in (LOG_RECORD, RESOURCE, SCOPE) for name, _ in fields.values()}
    types = {f"{each}Value" for each in ("string", "bool", "int", "double", "bytes", "array", "kvlist")}
    assert {name for name in names | types | {"schemaUrl", "keyBytes"} if f'"{name}"' not in wanted} == set()
    assert all(json.loads(row[2]) is not None for row in ROWS)


def test_the_page_names_what_is_there() -> None:
    assert f"`{FORMAT}`" in PAGE
    assert f"`{IDENTITY_CONTEXT}`" in PAGE
    for number in (MAX_ENTRY_BYTES, PIECE_BYTES):
        assert f"{number:,}" in PAGE
    assert f"At most {MAX_DEPTH - 1} lists" in PAGE
    assert f"at most {MAX_RECORD_BYTES >> 20} MiB" in PAGE
    assert f"at most {MAX_SHARED_BYTES >> 20} MiB" in PAGE
    part = LogPart(1, "a", {"content_hash": "ok"}, ("drop:a",))
    whole = json.loads(encode_entry(part, b"{}"))
    pieces = json.loads(split_entry(part, b"x" * 80_000)[0])
    named = set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE))
    assert named == set(whole["log"]) | set(pieces["log"])
    assert set(pieces["log"]["split"]) == {"hash", "part", "parts", "size"}
    for start in re.findall(r"`(\{\"[^`.]*)`", PAGE.split("An entry is recognised")[1].split("\n\n")[0]):
        assert encode_entry(part, b"{}").startswith(start.encode()) or encode_entry(None, b"{}").startswith(
            start.encode()
        )
