"""The canonical bytes: RFC 8785's own numbers, its strings, its order, and nothing else read back."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.ingest.canonical import (
    decode_record,
    encode_record,
    encode_records,
    format_double,
    record_identity,
)

# RFC 8785, appendix B: the bits of a double, and its text.
NUMBERS = {
    "0000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_of_the_rfc(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert format_double(number) == NUMBERS[bits].encode()
    assert (
        encode_record({"body": {"doubleValue": number}})
        == b'{"body":{"doubleValue":%s}}' % NUMBERS[bits].encode()
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(number: float) -> None:
    text = format_double(number).decode()
    assert struct.pack("<d", float(text.strip('"'))) == struct.pack("<d", number)
    record = {"body": {"doubleValue": number if number or str(number)[0] != "-" else "-0"}}
    assert decode_record(encode_record(record)) == record


def test_strings_and_order_of_the_rfc() -> None:
    text = '\u20ac$\u000f\nA\'"\\\\"/\x7f\u2028'
    record = {
        "timeUnixNano": "1",
        "body": {"stringValue": text},
        "attributes": [{"value": {}, "key": "\ufb33"}],
    }
    assert (
        encode_record(record)
        == (
            '{"attributes":[{"key":"\ufb33","value":{}}],'
            '"body":{"stringValue":"\u20ac$\\u000f\\nA\'\\"\\\\\\\\\\"/\x7f\u2028"},"timeUnixNano":"1"}'
        ).encode()
    )


@given(st.text(max_size=30))
def test_strings_are_those_of_the_rfc(text: str) -> None:
    record = {"eventName": text} if text else {}
    want = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    assert encode_record(record) == want
    assert decode_record(want) == record


@pytest.mark.parametrize(
    "text", ['x"doubleValue":1.0', '{"doubleValue":1e400}', '"doubleValue":null', "doubleValue"]
)
def test_a_string_that_looks_like_a_number_is_left_alone(text: str) -> None:
    record = {
        "attributes": [{"key": "doubleValue", "value": {"doubleValue": 1e21}}, {"key": text, "value": {}}],
        "body": {"stringValue": text},
        "resource": {"attributes": [{"key": text, "value": {"stringValue": text}}]},
    }
    data = encode_record(record)
    assert b'"value":{"doubleValue":1e+21}' in data
    assert decode_record(data) == record


def test_what_records_share_is_encoded_once_and_right() -> None:
    shared = {"attributes": [{"key": "k", "value": {"doubleValue": 0.5}}]}
    records = [{"resource": shared, "scope": {"name": str(each)}, "eventName": "e"} for each in range(5)]
    assert encode_records(records) == [encode_record(each) for each in records]
    assert records[0]["resource"] is shared
    shared["attributes"].append({"key": "later"})
    assert b"later" in encode_records(records)[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"eventName": "a"}', "not in canonical form"),
        (b'{"timeUnixNano":"1","eventName":"a"}', "not in canonical form"),
        (b'{"eventName":""}', "not in canonical form"),
        (b'{"eventName":"\\u0041"}', "not in canonical form"),
        (b'{"later":1}', "not in canonical form"),
        (b'{"body":null}', "not in canonical form"),
        (b'{"body":{"doubleValue":1.0}}', "not in canonical form"),
        (b'{"body":{"doubleValue":-0}}', "not in canonical form"),
        (b'{"body":{"intValue":1}}', "not in canonical form"),
        (b'{"body":{"arrayValue":{}}}', "not in canonical form"),
        (b'{"traceId":"AB"}', "not in canonical form"),
        (b'{"eventNameBytes":"YQ=="}', "not in canonical form"),
        (b'{"eventName":"a","eventName":"a"}', "not in canonical form"),
        (b'{"attributes":[{"key":"a","keyBytes":"/w=="}]}', "not in canonical form"),
        (b"[]", "got an array, want an object"),
        (b"", "record: not JSON"),
        (b'{"eventName":"\\ud800"}', "record: not JSON"),
        (b'{"eventName":"\xff"}', "record: not JSON"),
        (b'{"body":' + b"[" * 10_000, "nested too deep"),
        (b'{"resource":5}', "record.resource: got 5, want an object"),
        (b'{"resource":null}', "record.resource: got null, want an object"),
    ],
)
def test_what_is_not_canonical_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        decode_record(data)


@pytest.mark.parametrize(
    "record",
    [
        {"body": {"doubleValue": float("nan")}},
        {"body": {"doubleValue": float("inf")}},
        {"eventName": "\ud800"},
        {"body": object()},
    ],
)
def test_what_can_not_be_written(record: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="record"):
        encode_record(record)


def test_the_identity_is_of_the_record_alone() -> None:
    data = encode_record({"eventName": "a"})
    assert record_identity(data).hex() == "963685a0ca3c3cd901ef94726ef86c05e2de09ca39e318ec56b8d5e684263b03"
    assert record_identity(data) != record_identity(encode_record({"eventName": "b"}))
