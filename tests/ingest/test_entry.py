"""Entries of records: what the log says beside a record, and what is no such entry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import EntryError, FormatError
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import Entry, LogPart, Split, encode_entry, parse_entry

RECORD = encode_record({"body": {"stringValue": '"record":{}'}, "eventName": "a"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.builds(
    LogPart,
    st.integers(0, 2**63 - 1),
    st.text(max_size=12),
    st.dictionaries(st.sampled_from(["content_hash", "record", "log", "a"]), JSON, max_size=3),
    st.lists(st.text(max_size=8), max_size=3).map(tuple),
)


def test_an_entry_is_these_bytes() -> None:
    part = LogPart(1_732_222_222_000_000_000, "collector-1", {"content_hash": "ok"}, ("audit.actor",))
    assert encode_entry(part, b'{"eventName":"a"}') == (
        b'{"log":{"format":"merklelog/entry/v1","protected":["audit.actor"],"submitter":"collector-1",'
        b'"time":"1732222222000000000","verdicts":{"content_hash":"ok"}},"record":{"eventName":"a"}}'
    )
    assert (
        encode_entry(LogPart(0), b"{}") == b'{"log":{"format":"merklelog/entry/v1","time":"0"},"record":{}}'
    )
    assert encode_entry(None, b"{}") == b'{"format":"merklelog/entry/v1","record":{}}'


@given(PARTS | st.none())
def test_entries_read_back(part: LogPart | None) -> None:
    data = encode_entry(part, RECORD)
    assert parse_entry(data) == Entry(part, RECORD)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"plain text", b"\x00\xff", RECORD, b'{"record":{}}', b'{"log":{"level":"info"}}']
)
def test_a_raw_entry_is_none(data: bytes) -> None:
    assert parse_entry(data) is None


def entry(log: str = "", rest: str = ',"record":{}') -> bytes:
    return f'{{"log":{{"format":"merklelog/entry/v1"{log}}}{rest}}}'.encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (entry(), "time"),
        (entry(',"time":5'), "str"),
        (entry(',"time":"05"'), "without sign or leading zeroes"),
        (entry(',"time":"-5"'), "without sign or leading zeroes"),
        (entry(',"time":"9223372036854775808"'), "at most"),
        (entry(',"time":"5","later":1'), "later"),
        (entry(',"time":"5","submitter":""'), "not in canonical form"),
        (entry(',"time":"5"', ""), "want a record"),
        (entry(',"time":"5"', ',"piece":"AA=="'), "want a record"),
        (entry(',"time":"5"', ',"record":{},"record":{}'), "not in canonical form"),
        (entry(',"time":"5"', ',"record": {}'), "not in canonical form"),
        (entry(',"time":"5"', ',"record":{},"z":1'), "not in canonical form"),
        (entry(',"format":"other","time":"5"'), "format 'other'"),
        (entry(',"time":"5","verdicts":{"b":1,"a":1}'), "not in canonical form"),
        (entry(',"time":"5"') + b" ", "not in canonical form"),
        (entry(',"time":"5"')[:-1], "entry: "),
        (
            entry(',"time":"5","submitter":"\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1")),
            "canonical|entry",
        ),
        (entry(',"time":"5","verdicts":' + '{"a":' * 10_000), "nested too deep|entry"),
        (b'{"format":"merklelog/entry/v1","record":', "entry"),
        (b'{"format":"merklelog/entry/v1","record":{},"log":{}}', "not in canonical form"),
        (entry(',"split":{"hash":"00","part":0,"parts":1,"size":1},"time":"5"', ',"piece":"AA=="'), "split"),
        (entry(',"split":{"hash":"%s","part":1,"parts":1,"size":1},"time":"5"' % ("0" * 64)), "part 1 of 1"),
        (entry(',"split":{"hash":"%s","part":0,"parts":1,"size":1},"time":"5"' % ("g" * 64)), "want hex"),
        (entry(',"split":{"hash":"%s","part":0,"parts":1,"size":1},"time":"5"' % ("0" * 64)), "want a piece"),
        (
            entry(
                ',"split":{"hash":"%s","part":0,"parts":1,"size":1},"time":"5"' % ("0" * 64),
                ',"piece":"AB=="',
            ),
            "canonical base64",
        ),
    ],
)
def test_a_broken_entry_is_an_error(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_entry(data)


def test_a_log_part_over_its_bound_is_an_error_of_format() -> None:
    with pytest.raises(FormatError, match="want at most 16384"):
        parse_entry(
            encode_entry(LogPart(5), RECORD).replace(b'"time"', b'"submitter":"%s","time"' % (b"s" * 17_000))
        )


def test_a_piece() -> None:
    part = LogPart(5, "a", split=Split(1, 3, 80_000, bytes(32)))
    data = encode_entry(part, b"piece \xff")
    assert parse_entry(data) == Entry(part, b"piece \xff")
    assert b'"split":{"hash":"00000000' in data


@pytest.mark.parametrize("verdicts", [{"a": "x" * 20_000}, {"a": object()}, {"a": "\ud800"}, {"a": {1j: 1}}])
def test_a_log_part_that_can_not_be_written(verdicts: dict[str, Any]) -> None:
    with pytest.raises(EntryError, match="the log's part of an entry"):
        encode_entry(LogPart(5, verdicts=verdicts), b"{}")
