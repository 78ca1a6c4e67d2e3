"""`merklelog get --record`: what the sender of an audit event said, joined, from a log and from a copy of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import LogPart, encode_entry
from merklelog.ingest.otlp_json import records_from_json
from merklelog.ingest.split import split_entry

SMALL = encode_record(
    {"eventName": "login", "resource": {"attributes": [{"key": "a", "value": {"intValue": "1"}}]}}
)
LONG = encode_record(
    {"body": {"stringValue": "x" * 150_000}, "scope": {"name": "s", "schemaUrl": "https://x.example"}}
)
PART = LogPart(1_732_222_222_000_000_000, "collector")
PIECES = split_entry(PART, LONG)


@pytest.fixture
def log(log: Path) -> Path:
    """Three raw entries (0 to 2), a record (3), one of several entries (4 to 8), one that a client wrote (9)."""
    with merklelog.open(log) as opened:
        opened.append_batch([encode_entry(PART, SMALL), *PIECES, encode_entry(None, SMALL)])
    return log


def test_records_are_printed_a_line_each_and_joined(
    run: Callable, log: Path, copy: str, vkeys: list[str]
) -> None:
    assert len(PIECES) == 5
    lines = [SMALL, LONG, SMALL]
    for target in ((log,), (copy, "--vkey", vkeys[0])):
        assert run("get", *target, 3, "--record").out == SMALL + b"\n"
        assert run("get", *target, "3:", "--record").out.splitlines() == lines
        for index in range(4, 9):
            assert run("get", *target, index, "--record").out == LONG + b"\n"
        assert run("get", *target, "6:10", "--record").out.splitlines() == lines[1:]
        assert run("get", *target, "5:5", "--record").out == b""


def test_records_as_otlp_come_back_as_they_were(run: Callable, log: Path, tmp_path: Path) -> None:
    run("get", log, "3:", "--otlp", "-o", tmp_path / "requests.jsonl")
    requests = (tmp_path / "requests.jsonl").read_bytes().splitlines()
    assert [encode_record(each) for line in requests for each in records_from_json(line)] == [
        SMALL,
        LONG,
        SMALL,
    ]
    scopes = json.loads(requests[1])["resourceLogs"][0]["scopeLogs"][0]
    assert (scopes["schemaUrl"], scopes["scope"]) == ("https://x.example", {"name": "s"})


def test_what_is_no_record_is_said(run: Callable, log: Path) -> None:
    assert "entry 2 holds no record: it is a raw entry" in run("get", log, "2:4", "--record", status=2).err
    for words in (("--json",), ("--jsonl",)):
        assert "leave --json and --jsonl out" in run("get", log, 3, "--record", *words, status=2).err
    assert "the log has 10 entries" in run("get", log, 10, "--record", status=2).err


def test_broken_records_are_findings(run: Callable, log: Path) -> None:
    with merklelog.open(log) as opened:
        opened.append_batch([encode_entry(PART, b"{}") + b" ", *PIECES[:4]])
    assert "entry 10: entry: " in run("get", log, 10, "--record", status=1).err
    assert "entry 15: the log ends before the record does" in run("get", log, 11, "--record", status=1).err
    assert run("get", log, 10).out == encode_entry(PART, b"{}") + b" "
