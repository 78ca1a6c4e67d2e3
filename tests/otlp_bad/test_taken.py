"""Records that are odd, wrong or hostile in what they say: none is refused for that, and none spoils others."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from tests.otlp_bad.conftest import Target
from tests.otlp_bad.senders import (
    JSON,
    attribute,
    field,
    named,
    nested,
    raw_request,
    request,
    value,
    varint,
)

NOT_UTF8 = b"caf\xe9"
TYPED = base64.b64encode(NOT_UTF8).decode()
TIMES = {"0": 0, "1970": 1, "2262": 2**63 - 1, "after 2262": 2**63, "2554": 2**64 - 1}


@pytest.mark.parametrize("name", TIMES)
def test_times(target: Target, name: str) -> None:
    """They are what the sender says; the log's own time stands beside them."""
    time = TIMES[name]
    body = request(named("t", time_unix_nano=time, observed_time_unix_nano=time)).SerializeToString()
    text = json.dumps({"eventName": "t", "timeUnixNano": str(time), "observedTimeUnixNano": str(time)})
    assert target.send.post(body).code == 200
    assert target.send.call(body).code == 0
    assert target.send.post(in_json(text), JSON).code == 200
    first = target.stored(3)
    want = {"eventName": "t"}
    if time:  # protobuf does not tell a time of 0 from none
        want |= {"timeUnixNano": str(time), "observedTimeUnixNano": str(time)}
    for index in range(first, first + 3):
        assert target.record(index) == want


def in_json(record: str) -> bytes:
    return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%s]}]}]}' % record.encode()


RAW: dict[str, tuple[bytes, dict[str, Any]]] = {
    "a body that is not UTF-8": (field(5, field(1, NOT_UTF8)), {"body": {"bytesValue": TYPED}}),
    "an attribute that is not UTF-8": (
        field(6, field(1, b"a") + field(2, field(1, NOT_UTF8))),
        {"attributes": [{"key": "a", "value": {"bytesValue": TYPED}}]},
    ),
    "a key that is not UTF-8": (
        field(6, field(1, NOT_UTF8) + field(2, field(1, b"v"))),
        {"attributes": [{"key": "", "keyBytes": TYPED, "value": {"stringValue": "v"}}]},
    ),
    "a severity text that is not UTF-8": (field(3, NOT_UTF8), {"severityTextBytes": TYPED}),
    "an event name that is not UTF-8": (field(12, NOT_UTF8), {"eventNameBytes": TYPED}),
    "fields that nobody knows": (field(99, b"x") + varint(98 << 3) + b"\x05", {}),
    "a severity of 4,000,000,000": (b"\x10" + varint(4_000_000_000), {"severityNumber": -294967296}),
    "a trace ID of five bytes": (field(9, b"12345"), {"traceId": b"12345".hex()}),
    "a body given twice": (
        field(5, field(1, b"one")) + field(5, field(1, b"two")),
        {"body": {"stringValue": "two"}},
    ),
    "an empty body": (field(5, b""), {"body": {}}),
    "NaN": (field(5, b"\x21" + struct.pack("<d", math.nan)), {"body": {"doubleValue": "NaN"}}),
    "minus infinity": (
        field(5, b"\x21" + struct.pack("<d", -math.inf)),
        {"body": {"doubleValue": "-Infinity"}},
    ),
    "minus zero": (field(5, b"\x21" + struct.pack("<d", -0.0)), {}),
    "nothing at all": (b"", {}),
}


@pytest.mark.parametrize("name", RAW)
def test_odd_records(target: Target, name: str) -> None:
    data, want = RAW[name]
    body = raw_request(data)
    assert target.send.post(body).code == 200
    assert target.send.call(body).code == 0
    first = target.stored(2)
    record = target.record(first)
    assert record == target.record(first + 1)
    if name == "minus zero":
        sign = record["body"]["doubleValue"]
        assert math.copysign(1, float(sign)) == -1 or sign == 0
    else:
        assert record == want


def test_a_string_in_json_that_is_not_utf8(target: Target) -> None:
    body = in_json('{"eventName":"t","body":{"stringValue":"caf\\u00e9"}}').replace(b"\\u00e9", b"\xe9")
    assert target.send.post(body, JSON).code == 200
    assert target.record(target.stored(1)) == {"eventName": "t", "body": {"bytesValue": TYPED}}


def test_duplicates_order_and_kinds_are_kept(target: Target) -> None:
    pairs = [
        attribute("k", "1"),
        attribute("k", "1"),
        KeyValue(key="none"),
        KeyValue(key="empty", value=AnyValue()),
        KeyValue(key="", value=value("")),
        KeyValue(key="list", value=AnyValue(array_value=ArrayValue())),
    ]
    assert target.send.call(request(named("d", attributes=pairs)).SerializeToString()).code == 0
    assert target.record(target.stored(1))["attributes"] == [
        {"key": "k", "value": {"stringValue": "1"}},
        {"key": "k", "value": {"stringValue": "1"}},
        {"key": "none"},
        {"key": "empty", "value": {}},
        {"key": "", "value": {"stringValue": ""}},
        {"key": "list", "value": {"arrayValue": {"values": []}}},
    ]


def test_records_longer_than_an_entry_are_split_and_joined(target: Target) -> None:
    """One of 200,000 bytes and one of 20,000 attributes, between two small ones that stay where they are."""
    long = named("long", body=value("x" * 200_000))
    wide = named("wide", attributes=[attribute(f"key-{i}", f"value-{i}") for i in range(20_000)])
    small = [named("small 1"), named("small 2")]
    before = target.receiver.size()
    assert target.send.call(request(small[0], long, wide, small[1]).SerializeToString()).code == 0
    target.wanted = target.receiver.size()
    assert target.record(before)["eventName"] == "small 1"
    assert target.record(target.wanted - 1)["eventName"] == "small 2"
    whole = target.record(before + 1)
    assert whole["body"] == {"stringValue": "x" * 200_000}
    assert target.record(before + 3) == whole, "any part of it gives the whole"
    last = target.record(target.wanted - 2)
    assert last["attributes"][-1] == {"key": "key-19999", "value": {"stringValue": "value-19999"}}
    assert len(last["attributes"]) == 20_000


@pytest.mark.parametrize("depth", [60, 500, 10_000])
def test_a_value_nested_deep_does_not_take_its_neighbours_with_it(target: Target, depth: int) -> None:
    """A Collector sends records of many applications together, and throws all away of what is refused."""
    poison = field(12, b"poison") + field(5, nested(depth))
    good = [named(f"neighbour {i}").SerializeToString() for i in range(2)]
    body = raw_request(good[0], poison, good[1])
    poisons = []
    for take in (target.send.post, target.send.call):
        first = target.receiver.size()
        assert take(body).code in (200, 0)
        target.wanted = target.receiver.size()
        assert target.record(first)["eventName"] == "neighbour 0"
        assert target.record(target.wanted - 1)["eventName"] == "neighbour 1"
        poisons.append(target.record(first + 1))
    assert poisons[0] == poisons[1]
    assert poisons[0]["eventName"] == "poison"
