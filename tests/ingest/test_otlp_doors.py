"""One record, whichever door it came by: the parser in C, the one of our own, JSON, and back out of each."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import struct
from random import Random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.errors import FormatError
from merklelog.ingest import record as record_module
from merklelog.ingest.canonical import decode_record, encode_record, encode_records
from merklelog.ingest.otlp_json import record_to_json, records_from_json
from merklelog.ingest.otlp_out import record_to_protobuf
from merklelog.ingest.otlp_protobuf import records_from_protobuf
from merklelog.ingest.otlp_wire import records_from_wire
from merklelog.ingest.record import MAX_DEPTH
from tests.ingest.record_strategies import of_length, requests, tagged


@given(requests())
def test_both_parsers_of_protobuf_agree(data: bytes) -> None:
    ExportLogsServiceRequest.FromString(data)  # which takes it: the strategy makes what protobuf allows
    assert records_from_wire(data) == records_from_protobuf(data)


@given(requests(broken=True))
def test_through_protobuf_json_and_back(data: bytes) -> None:
    records = records_from_protobuf(data)
    encoded = encode_records(records)
    assert encoded == [encode_record(each) for each in records]
    for record, want in zip(records, encoded, strict=True):
        for again in (
            *records_from_protobuf(record_to_protobuf(record)),
            *records_from_wire(record_to_protobuf(record)),
            *records_from_json(record_to_json(record)),
            decode_record(want),
        ):
            assert again == record
            assert encode_record(again) == want
    together = b"".join(map(record_to_protobuf, records))
    assert encode_records(records_from_protobuf(together)) == encoded


@given(requests(broken=True))
def test_what_is_broken_is_broken_for_both_parsers(data: bytes) -> None:
    random = Random(data)
    for _ in range(4):
        at = random.randrange(len(data) + 1)
        bent = data[:at] + random.randbytes(random.randrange(3)) + data[at + random.randrange(3) :]
        try:
            ExportLogsServiceRequest.FromString(bent)
        except DecodeError:
            with contextlib.suppress(FormatError):  # or it is taken: for strings that are not UTF-8
                records_from_wire(bent)
            continue
        assert records_from_wire(bent) == records_from_protobuf(bent)


def nested(levels: int) -> bytes:
    """A request whose body is a string in `levels` lists."""
    value = of_length(1, b"x")
    for _ in range(levels):
        value = of_length(5, of_length(1, value))
    return in_body(value)


def in_body(value: bytes) -> bytes:
    return of_length(1, of_length(2, of_length(2, of_length(5, value))))


def nested_json(levels: int) -> bytes:
    value = b'{"arrayValue":{"values":[' * levels + b'{"stringValue":"x"}' + b"]}}" * levels
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":%s}]}]}]}' % value


@pytest.mark.parametrize("levels", [1, 30, 63])
def test_nesting_that_is_kept(levels: int) -> None:
    (record,) = records_from_protobuf(nested(levels))
    assert records_from_json(nested_json(levels)) == [record]
    assert decode_record(encode_record(record)) == record
    assert records_from_protobuf(record_to_protobuf(record)) == [record]


@pytest.mark.parametrize("levels", [64, 65, 99, 500, 10_000])
def test_nesting_that_is_too_deep(levels: int) -> None:
    with pytest.raises(FormatError, match=r"nested (too|more than 64 values) deep"):
        records_from_json(nested_json(levels))
    (record, beside) = records_from_protobuf(nested(levels) + in_body(of_length(1, b"beside")))
    assert beside == {"body": {"stringValue": "beside"}}
    kept = record["body"]
    for _ in range(MAX_DEPTH - 1):
        (kept,) = kept["arrayValue"]["values"]
    # What is too deep is there as its bytes: a list of all the levels that are left, with the string at its end.
    value = base64.b64decode(kept["bytesValue"])
    assert records_from_protobuf(in_body(value)) == records_from_protobuf(nested(levels - MAX_DEPTH + 1))
    assert decode_record(encode_record(record)) == record
    assert records_from_protobuf(record_to_protobuf(record)) == [record]


def test_nesting_in_lists_of_pairs() -> None:
    value = of_length(1, b"x")
    for level in range(10_000):
        value = of_length(6, of_length(1, of_length(1, b"k") + of_length(2, value)))
        if level in (40, 62):
            assert len(records_from_protobuf(in_body(value))) == 1
    (record,) = records_from_protobuf(in_body(value))
    assert encode_record(record).count(b'"kvlistValue"') == MAX_DEPTH - 1


def test_nesting_where_nobody_looks() -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    with pytest.raises(FormatError, match="nested too deep"):
        records_from_json(b'{"resourceLogs":[],"later":%s}' % deep)
    groups = b"".join(tagged(97, 3, b"") for _ in range(10_000)) + tagged(97, 4, b"") * 10_000
    assert records_from_wire(groups) == []


def test_what_records_share_may_not_come_to_more_than_memory_holds() -> None:
    megabyte = of_length(1, b"k") + of_length(2, of_length(1, b"x" * 2**20))
    for number in (1, 3):  # of the resource, of the scope
        for count, taken in ((100, True), (200, False)):
            records = of_length(2, b"") * count
            scope = of_length(1, of_length(3, megabyte)) if number == 3 else b""
            resource = of_length(1, of_length(1, megabyte)) if number == 1 else b""
            data = of_length(1, resource + of_length(2, scope + records))
            document = {"scopeLogs": [{"logRecords": [{}] * count}]}
            owner = document if number == 1 else document["scopeLogs"][0]
            attributes = {"attributes": [{"key": "k", "value": {"stringValue": "x" * 2**20}}]}
            owner["resource" if number == 1 else "scope"] = attributes  # type: ignore[index]
            text = json.dumps({"resourceLogs": [document]}).encode()
            broken = of_length(1, of_length(2, of_length(2, of_length(3, b"\xff"))))
            for read, sent in (
                (records_from_protobuf, data),
                (records_from_json, text),
                (records_from_wire, data),
            ):
                if taken:
                    assert len(read(sent)) == count
                    continue
                with pytest.raises(FormatError, match=r"^request: its records .* more than 128 MiB"):
                    read(sent)
            if not taken:
                with pytest.raises(FormatError, match=r"^request: its records"):
                    records_from_protobuf(broken + data)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request may come to is 2 MiB: 2,048 records or 16,384 values."""
    monkeypatch.setattr(record_module, "MAX_SHARED_BYTES", 2**21)


@pytest.mark.usefixtures("small_memory")
def test_more_records_than_memory_holds_are_refused_before_they_are_made() -> None:
    empty = of_length(2, b"")
    assert len(records_from_protobuf(of_length(1, of_length(2, empty * 2_048)))) == 2_048
    many = (
        of_length(1, of_length(2, empty * 2_049)),
        of_length(1, of_length(2, empty) * 2_049),
        of_length(1, of_length(2, empty)) * 2_049,
    )
    for data in many:
        for read in (records_from_protobuf, records_from_wire):
            with pytest.raises(FormatError, match=r"^request: its records"):
                read(data)
    with pytest.raises(FormatError, match=r"^request: its records"):
        records_from_json(b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s{}]}]}]}' % (b"{}," * 2_048))
    assert records_from_protobuf(of_length(1, b"") * 1000) == []


@pytest.mark.parametrize(
    "data",
    [
        of_length(1, of_length(2, of_length(2, b"") * 600_000)),
        of_length(1, of_length(2, b"") * 600_000),
        of_length(1, b"") * 600_000,
    ],
    ids=["records", "scopes", "resources"],
)
def test_a_large_request_is_counted_before_it_is_parsed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merklelog.ingest.otlp_protobuf.ExportLogsServiceRequest", None)
    with pytest.raises(FormatError, match=r"^request: its records"):
        records_from_protobuf(data)


PAIR, NO_PAIR = of_length(1, b"k"), b""
DENSE = {
    "attributes": of_length(6, PAIR) * 1_000,
    "attributes of nothing": of_length(6, NO_PAIR) * 1_000,
    "an array": of_length(5, of_length(5, of_length(1, b"") * 1_000)),
    "pairs": of_length(5, of_length(6, of_length(1, PAIR) * 1_000)),
    "an array in parts": of_length(5, of_length(5, of_length(1, b"")) * 1_000),
    "a body in parts": of_length(5, of_length(5, of_length(1, b""))) * 1_000,
}


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("name", DENSE)
def test_more_values_than_memory_holds_are_refused_before_they_are_made(name: str) -> None:
    record = of_length(2, DENSE[name])
    for read in (records_from_protobuf, records_from_wire):
        assert len(read(of_length(1, of_length(2, record * 5)))) == 5
        with pytest.raises(FormatError, match=r"^request: its records .* 128 bytes an attribute"):
            read(of_length(1, of_length(2, record * 17)))


def test_more_json_than_memory_holds_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(FormatError, match=r"^request: its records .* 128 bytes an attribute"):
        records_from_json(b'{"resourceLogs":[%s{}]}' % (b"{}," * 2**21))


def test_lists_that_come_again_and_again_are_merged_in_linear_time() -> None:
    again = of_length(5, of_length(1, of_length(1, b"a"))) * 100_000
    (record,) = records_from_wire(in_body(again))
    assert len(record["body"]["arrayValue"]["values"]) == 100_000
    assert records_from_protobuf(in_body(again)) == [record]


MALFORMED = {
    "cut": (of_length(1, b"")[:-1], "a number ends too early"),
    "long": (b"\x0a\x05abc", "5 bytes announced, 3 there"),
    "varint": (b"\x0a" + b"\xff" * 10, "more than 64 bits"),
    "wire type": (b"\x0f", "wire type 7"),
    "end of no group": (b"\x0c", "wire type 4"),
    "open group": (b"\x0b", "a group does not end"),
    "other group": (b"\x0b\x14", "a group ends that did not begin"),
    "field 0": (b"\x02\x00", "field number 0"),
    "text": (b"Hello, this is no protobuf", "request"),
    "inside": (
        of_length(1, of_length(2, of_length(2, b"\x2a\x09\x0a"))),
        r"resourceLogs\[0\].scopeLogs\[0\].logRecords\[0\]",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_protobuf(name: str) -> None:
    data, said = MALFORMED[name]
    with pytest.raises(DecodeError):
        ExportLogsServiceRequest.FromString(data)
    with pytest.raises(FormatError, match=said):
        records_from_protobuf(data)


def test_one_broken_string_loses_nothing_else() -> None:
    good = of_length(2, tagged(1, 1, struct.pack("<Q", 5)) + of_length(5, of_length(1, b"good")))
    broken = of_length(2, of_length(5, of_length(1, b"caf\xe9")) + of_length(3, b"\xff"))
    data = of_length(1, of_length(2, good + broken + good))
    first, odd, last = records_from_protobuf(data)
    assert first == last == {"timeUnixNano": "5", "body": {"stringValue": "good"}}
    assert odd == {"body": {"bytesValue": "Y2Fm6Q=="}, "severityTextBytes": "/w=="}


def record_of(raw: object) -> dict[str, object]:
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [raw]}]}]}
    (record,) = records_from_json(json.dumps(document).encode())
    return record


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"body": {"stringValue": 5}}, r"body.stringValue: got 5, want a string"),
        (
            {"body": {"intValue": "1e3"}},
            "body.intValue: got '1e3', want an integer from -9223372036854775808",
        ),
        ({"body": {"intValue": "９"}}, "body.intValue"),
        ({"body": {"intValue": 2**63}}, "body.intValue"),
        ({"body": {"intValue": True}}, "body.intValue: got true"),
        ({"body": {"intValue": 1.5}}, "body.intValue: got 1.5, want an integer"),
        ({"traceId": "\ud800"}, r"traceId: got '\\ud800', want bytes in hex"),
        ({"body": {"boolValue": "true"}}, "body.boolValue: got 'true', want true or false"),
        ({"body": {"doubleValue": "1_0"}}, "body.doubleValue"),
        ({"body": {"doubleValue": 10**400}}, "body.doubleValue"),
        ({"body": {"bytesValue": "a"}}, "body.bytesValue: got 'a', want base64"),
        (
            {"body": {"stringValue": "a", "intValue": "1"}},
            "body: a value of 2 types, stringValue and intValue",
        ),
        ({"body": "text"}, "body: got 'text', want an object that names the type"),
        ({"attributes": {"a": 1}}, "attributes: got an object, want an array"),
        ({"attributes": [{"key": 5}]}, r"attributes\[0\].key: got 5, want a string"),
        ({"attributes": [5]}, r"attributes\[0\]: got 5, want an object with key and value"),
        (
            {"attributes": [{"key": "a", "value": {"arrayValue": {"values": [{}, 1]}}}]},
            r"\[0\].value.arrayValue.values\[1\]",
        ),
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "traceId: got .*, want bytes in hex"),
        ({"timeUnixNano": "-1"}, "timeUnixNano: got '-1', want an integer from 0"),
        ({"timeUnixNano": str(2**64)}, "timeUnixNano"),
        ({"timeUnixNano": "0005"}, "timeUnixNano"),
        ({"severityNumber": "INFO"}, "severityNumber"),
        ({"severityNumber": "SEVERITY_NUMBER_INFO5"}, "severityNumber"),
        ({"severityText": ["a"]}, "severityText: got an array, want a string"),
        ({"flags": -1}, "flags"),
        ([], r"logRecords\[0\]: got an array"),
    ],
)
def test_json_of_the_wrong_kind(raw: object, said: str) -> None:
    with pytest.raises(FormatError, match=said) as caught:
        record_of(raw)
    assert str(caught.value).startswith("resourceLogs[0].scopeLogs[0].logRecords[0]")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "got an array, want an object with resourceLogs"),
        (b'{"resourceLogs":{}}', "resourceLogs: got an object, want an array"),
        (b'{"resourceLogs":[5]}', r"resourceLogs\[0\]: got 5, want an object"),
        (b'{"resourceLogs":[{"resource":[]}]}', r"resourceLogs\[0\].resource: got an array"),
        (b'{"resourceSpans":[]}', "resourceSpans are no logs"),
        (b'{"resourceMetrics":[]}', "resourceMetrics are no logs"),
        (b'{"a":NaN}', "NaN is no number of JSON"),
        (b'{"a":%s}' % (b"9" * 5000), "not JSON"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ('{"resourceLogs":[]}'.encode("utf-16"), "not JSON"),
        (b"\x0a\x02abc", "not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_json_that_is_none(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        records_from_json(data)


def test_numbers_that_two_senders_write_differently() -> None:
    plain = record_of(
        {"timeUnixNano": "1544712660300000000", "body": {"intValue": "10"}, "severityNumber": 9}
    )
    assert (
        record_of({"time_unix_nano": 1544712660300000000, "body": {"int_value": 10}, "severity_number": 9.0})
        == plain
    )
    assert record_of({"body": {"doubleValue": "1.50"}}) == record_of({"body": {"doubleValue": 1.5}})
    assert record_of({"timeUnixNano": 1544712660300000000.0}) == {"timeUnixNano": "1544712660300000000"}
    assert record_of({"body": {"doubleValue": -0.0}}) == {"body": {"doubleValue": "-0"}}
    zero = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"doubleValue":%s-0},"flags":-0}]}]}]}'
    assert (
        records_from_json(zero % b"") == records_from_json(zero % b" ") == [{"body": {"doubleValue": "-0"}}]
    )
    assert record_of({"body": {"doubleValue": 5}}) == {"body": {"doubleValue": 5.0}}
    assert record_of({"severityNumber": "SEVERITY_NUMBER_WARN2"}) == {"severityNumber": 14}
    assert record_of({"severityNumber": "SEVERITY_NUMBER_UNSPECIFIED", "body": None}) == {}
    assert record_of({"body": {"bytesValue": "-_8"}}) == {"body": {"bytesValue": "+/8="}}
    assert record_of({"body": {"doubleValue": "NaN"}}) == {"body": {"doubleValue": "NaN"}}


def test_half_a_pair_and_bytes_that_are_no_text() -> None:
    frame = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s]}]}]}'
    (half,) = records_from_json(frame % b'{"body":{"stringValue":"a\\ud800"},"eventName":"\\udfff"}')
    assert half == {"body": {"bytesValue": "Ye2ggA=="}, "eventNameBytes": "7b+/"}
    (latin,) = records_from_json(frame % b'{"attributes":[{"key":"caf\xe9","value":{"stringValue":"\xff"}}]}')
    assert latin == {"attributes": [{"key": "", "keyBytes": "Y2Fm6Q==", "value": {"bytesValue": "/w=="}}]}
    assert encode_record(latin) == encode_record(records_from_protobuf(record_to_protobuf(latin))[0])


def test_doubles_that_json_has_no_number_for() -> None:
    for number, text in ((math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (-0.0, "-0")):
        data = in_body(tagged(4, 1, struct.pack("<d", number)))
        (record,) = records_from_protobuf(data)
        assert record == {"body": {"doubleValue": text}}
        assert encode_record(record) == b'{"body":{"doubleValue":"%s"}}' % text.encode()
        assert records_from_wire(data) == [record]
