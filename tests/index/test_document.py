"""What of an entry can be found: fields by name, words, time; and what a sender can not claim."""

from __future__ import annotations

import json
from typing import Any

import pytest

from merklelog.index.assembler import Assembler
from merklelog.index.document import Document, document
from merklelog.index.match import matches
from merklelog.index.query import parse_query
from merklelog.ingest.entry import FORMAT
from merklelog.ingest.values import MAX_VALUES
from tests.index.corpus import POISON, SECOND, START, entries_of, record, text


def made(entries: list[bytes], start: int = 0) -> list[Document]:
    assembler = Assembler(start)
    found = [each for data in entries for each in assembler.add(data)]
    return [*found, *assembler.flush()]


def finds(query: str, found: Document) -> bool:
    return matches(parse_query(query), found)


def test_a_record_is_found_by_model_attribute_resource_scope_and_body() -> None:
    whole = record(
        START + 5,
        {
            "kvlistValue": {
                "values": [
                    {
                        "key": "user",
                        "value": {"kvlistValue": {"values": [{"key": "id", "value": text("U1")}]}},
                    },
                    {
                        "key": "ports",
                        "value": {"arrayValue": {"values": [{"intValue": "22"}, {"intValue": "80"}]}},
                    },
                    {"key": "ok", "value": {"boolValue": True}},
                ]
            }
        },
        audit__actor="Alice",
        audit__action="delete",
        audit__resource="file 7",
        http__method="GET",
    ) | {
        "resource": {"attributes": [{"key": "service.name", "value": text("shop")}]},
        "scope": {"name": "lib", "attributes": [{"key": "team", "value": text("Core")}]},
        "severityText": "WARN",
        "traceId": "0af7651916cd43dd8448eb211c80319c",
    }
    (found,) = made(entries_of(whole, submitter="gate", verdicts={"content_hash": "mismatch"}))
    assert found.time == START + 5
    assert found.fields["actor"] == "Alice"
    for query in (
        *("actor:alice", "action:DELETE", 'resource:"file 7"', "http.method:get", "audit.actor:alice"),
        *("service.name:shop", "source:shop", "team:core", "scope:lib", "severity:warn", "user.id:u1"),
        *("ports:22", "ports:80", "ok:true", "trace_id:0AF7651916cd43dd8448eb211c80319c", "submitter:gate"),
        *("verdict:content_hash:mismatch", "alice", '"file 7"', "u1", "shop", "ali*"),
        "actor:alice action:delete after:2026-01-01 before:2026-01-01T00:00:00.000000006Z",
    ):
        assert finds(query, found), query
    for query in ("actor:ali", "submitter:alice", "ports:2", "before:2026-01-01", '"7 file"', "lic"):
        assert not finds(query, found), query


def test_what_only_the_log_says_is_no_sender_s_to_claim() -> None:
    (found,) = made(entries_of(record(submitter="root", Verdict="content_hash:ok"), submitter="bob"))
    assert finds("submitter:bob", found)
    assert not finds("submitter:root", found)
    assert not finds("verdict:*", found)
    assert finds("attributes.submitter:root", found)
    assert finds("attributes.verdict:content_hash:ok", found)


def test_a_time_is_the_record_s_else_the_log_s() -> None:
    (own,) = made(entries_of(record(START), time=START + 9))
    (intake,) = made(entries_of(record(0, text("no time")), time=START + 9))
    assert (own.time, intake.time) == (START, START + 9)
    raw = document(0, None, b"no time at all")
    assert raw.time == 0
    assert not finds("before:2200-01-01", raw)
    assert not finds("after:1970-01-01", raw)
    for time in (1, 9_223_372_036 * SECOND, 2**64 - 1):
        (found,) = made(entries_of(record(time)))
        assert found.time == time


def test_an_event_in_a_body_of_text_and_a_raw_one_have_the_same_values() -> None:
    event = {
        "eventName": "DeleteObject",
        "userIdentity": {"arn": "arn:x", "n": 3, "none": None},
        "tags": ["a"],
    }
    (logged,) = made(entries_of(record(START, text(json.dumps(event)))))
    raw = document(0, None, json.dumps(event).encode())
    for found in (logged, raw):
        for query in (
            "eventname:deleteobject",
            "useridentity.arn:arn:x",
            "userIdentity.n:3",
            "tags:a",
            "deleteobject",
        ):
            assert finds(query, found), query
        assert not finds("useridentity.none:*", found)


def test_long_values_are_found_whole_and_by_how_they_begin() -> None:
    long = "Z" * 300 + "end"
    (found,) = made(entries_of(record(audit__actor=long)))
    assert finds(f"actor:{long}", found)
    assert not finds(f"actor:{long}x", found)
    assert finds(f"actor:{'z' * 128}*", found)


def test_a_split_record_is_one_document() -> None:
    parts = entries_of(record(START, text("begin " + "é" * 90_000 + " finish"), audit__actor="alice"))
    assert len(parts) > 2
    (found,) = made(parts, 7)
    assert (found.index, found.entries) == (7, len(parts))
    assert finds("actor:alice begin finish", found)


def test_a_false_part_keeps_nothing_from_being_found() -> None:
    good = entries_of(record(START, text("x" * 100_000), audit__actor="alice"))
    plain = entries_of(record(audit__actor="bob"))
    for order in (
        [good[0], *plain],
        [good[1], *plain],
        [good[0], *good, *plain],
        [*good[:-1], *plain, good[-1]],
    ):
        found = made(order)
        assert sum(each.entries for each in found) == len(order)
        assert [each.index for each in found if finds("actor:bob", each)] == [order.index(plain[0])]
    assert [finds("actor:alice", each) for each in made([good[0], *good])] == [False, True]


@pytest.mark.parametrize("data", POISON, ids=[repr(data[:24]) for data in POISON])
def test_poison_is_a_document_and_so_is_what_follows(data: bytes) -> None:
    found = made([data, *entries_of(record(audit__actor="alice"))])
    assert [each.index for each in found] == [0, 1]
    assert finds("actor:alice", found[1])
    assert finds("", found[0])


@pytest.mark.parametrize("body", [None, [], False, 5, "carol", {"kvlistValue": 5}, [{"carol": 1}]], ids=repr)
def test_no_body_hides_what_its_writer_did(body: Any) -> None:
    """Whoever appends entries by themselves may write what no OpenTelemetry record has."""
    actor = [{"key": "audit.actor.id", "value": text("mallory")}]
    told = json.dumps({"attributes": actor, "body": body}, separators=(",", ":"))
    (found,) = made([b'{"format":"%s","record":%s}' % (FORMAT.encode(), told.encode())])
    assert finds("mallory", found)
    assert finds("actor:mallory", found) == (not body)
    assert finds("carol", found) == ("carol" in told)


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        ({"stringValue": '{"beans":[' + "1," * (MAX_VALUES - 3) + "7]}"}, True),
        ({"stringValue": '{"beans":[' + "1," * MAX_VALUES + "7]}"}, False),
        ({"stringValue": '{"beans":[' + "{}," * (MAX_VALUES // 2) + "7]}"}, False),
        ({"arrayValue": {"values": [{"boolValue": True}] * MAX_VALUES + [text("beans 7")]}}, False),
    ],
    ids=["values", "too many values", "too many objects", "too many typed values"],
)
def test_a_record_of_very_many_values_is_text(body: dict[str, Any], parsed: bool) -> None:
    (found,) = made(entries_of(record(START, body), submitter="collector"))
    assert finds("submitter:collector 7", found)
    assert finds("beans:1", found) is parsed
    assert found.time == START
    assert len(found.terms) < 10
