"""POST /v1/audit: what each record is answered with, and that a retry finds its first entry."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from merklelog.cli import main
from merklelog.formats import parse_proof
from merklelog.formats.bundle import MAX_ENTRY
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.model import audit_fields
from merklelog.tree import leaf_hash
from merklelog.tree.verify import verify_inclusion
from tests.audit_records.conftest import ORIGIN, Audited, event, request

Make = Callable[..., Audited]


def proven(audited: Audited, receipt: str) -> int:
    """The index in a receipt's text, once its proof leads from the log's entry to the log's own checkpoint."""
    proof = parse_proof(receipt.encode())
    head = audited.log.published
    assert proof.checkpoint == head.note
    leaf = leaf_hash(audited.log.entry(proof.index))
    verify_inclusion(leaf, proof.index, head.size, proof.hashes, head.root)
    return proof.index


def test_a_record_is_stored_and_answered_with_its_receipt(audited: Make) -> None:
    door = audited()
    answer = door.post(request(event("r1", "hello")))
    assert answer.status == 200
    told = answer.json
    entry = door.entry(0)
    assert entry.part is not None
    assert told == {
        "record_id": "r1",
        "status": "delivered_all_sinks",
        "integrity_hash": hashlib.sha256(entry.record_bytes).hexdigest(),
        "sink_timestamp": str(entry.part.time),
        "verify_status": "deferred",
        "sink_status_map": {ORIGIN: "success"},
        "index": 0,
        "level": "integrated",
        "receipt": told["receipt"],
    }
    assert proven(door, told["receipt"]) == 0
    assert audit_fields(decode_record(entry.record_bytes)).actor == "u8472"


def test_protobuf_gzip_and_json_make_one_record(audited: Make) -> None:
    door = audited()
    message = ExportLogsServiceRequest()
    log = message.resource_logs.add()
    log.resource.SetInParent()
    record = log.scope_logs.add().log_records.add()
    record.time_unix_nano, record.event_name = 1714041600000000000, "user.login"
    for each in event("r1")["attributes"]:
        attribute = record.attributes.add()
        attribute.key, attribute.value.string_value = each["key"], each["value"]["stringValue"]
    data = message.SerializeToString()
    # The `audit` flag of the draft, field 100 of ResourceLogs: a protocol that does not know it passes it over.
    first = door.post(data, content_type="application/x-protobuf").json
    zipped = gzip.compress(data)
    second = door.post(zipped, content_type="application/x-protobuf", content_encoding="gzip").json
    third = door.post(request(event("r1"))).json
    assert [each["index"] for each in (first, second, third)] == [0, 0, 0]
    assert (second["duplicate"], third["duplicate"]) == (True, True)
    assert {each["integrity_hash"] for each in (first, second, third)} == {first["integrity_hash"]}
    assert third["sink_timestamp"] == first["sink_timestamp"]


def test_a_retry_gets_the_same_index_also_after_the_log_was_opened_again(audited: Make) -> None:
    door = audited()
    for number in range(3):
        assert door.post(request(event(f"r{number}", "x"))).json["index"] == number
    again = audited()
    told = again.post(request(event("r1", "x")))
    assert (told.status, told.json["index"], told.json["duplicate"]) == (200, 1, True)
    assert again.log.size == 3
    assert proven(again, told.json["receipt"]) == 1


def test_a_retry_gets_the_same_index_in_a_log_that_was_recovered(audited: Make, tmp_path: Path) -> None:
    target = f"dir:{tmp_path / 'target'}"
    door = audited(publish__targets=(target,))
    for body in ("one", "two"):
        door.post(request(event("r", body)), merklelog_wait="published")
    door.close()
    (tmp_path / "log").rename(tmp_path / "lost")
    words = ["recover", str(tmp_path / "log"), "--from", target, "--keys", str(tmp_path / "lost" / "keys")]
    assert main([*words, "--set", "store.min_free_bytes=0"]) == 0
    assert not (tmp_path / "log" / "ids").exists()
    again = audited()
    retries = [again.post(request(event("r", body))) for body in ("two", "one", "three")]
    assert [(each.status, each.json["index"]) for each in retries] == [(409, 1), (200, 0), (409, 2)]


def test_other_content_under_an_id_is_a_conflict_and_both_are_kept(audited: Make) -> None:
    door = audited()
    assert door.post(request(event("r", "one"))).status == 200
    answer = door.post(request(event("r", "two")))
    told = answer.json
    assert (answer.status, told["status"], told["index"], told["conflict_with"]) == (409, "conflict", 1, 0)
    assert told["reason"] == "entry 0 has this record ID and other content; both are kept"
    assert proven(door, told["receipt"]) == 1
    entry = door.entry(1)
    assert entry.part is not None
    assert entry.part.verdicts == {"record_id": {"conflict_with": 0}}
    again = audited()
    retries = [again.post(request(event("r", body))) for body in ("two", "one", "three")]
    assert [(each.status, each.json["index"]) for each in retries] == [(409, 1), (200, 0), (409, 2)]
    assert again.log.size == 3


def test_a_batch(audited: Make) -> None:
    door = audited()
    answer = door.post(request(event("a"), event("b"), event(None), event("a"), event("a", "other")))
    told = answer.json
    assert (answer.status, told["status"], told["sink_status_aggregate"]) == (409, "conflict", "success")
    assert told["batch_id"].startswith(f"{ORIGIN}:0-")
    by_id = told["record_status_map"]
    assert {record_id: each["index"] for record_id, each in by_id.items()} == {"a": 0, "b": 1}
    others = [(each["record_id"], each["index"], each["status"]) for each in told["other_records"]]
    assert others == [("", 2, "delivered_all_sinks"), ("a", 0, "delivered_all_sinks"), ("a", 3, "conflict")]
    for each in (*by_id.values(), *told["other_records"]):
        assert proven(door, each["receipt"]) == each["index"]
    assert told["other_records"][0]["incomplete"] == ["audit.record.id"]
    assert door.log.size == 4


def test_a_record_without_what_the_draft_demands_is_kept_and_says_so(audited: Make) -> None:
    door = audited()
    told = door.post(
        request({"attributes": [{"key": "audit.record.id", "value": {"stringValue": "r"}}]})
    ).json
    lacking = [
        "timeUnixNano",
        "eventName",
        "audit.actor.id",
        "audit.actor.type",
        "audit.action",
        "audit.outcome",
    ]
    assert told["incomplete"] == lacking
    assert told["reason"] == f"kept, though it came without {', '.join(lacking)}"
    entry = door.entry(0)
    assert entry.part is not None
    assert entry.part.verdicts == {"incomplete": lacking}


def test_records_that_lack_different_things_are_stored_together(audited: Make) -> None:
    door = audited()
    half = {"eventName": "half", "attributes": []}
    told = door.post(request(event("r1"), half, event("r2"), {"body": {"stringValue": "bare"}}))
    assert told.status == 200
    parts = [door.entry(index).part for index in range(4)]
    assert len({part.time for part in parts if part is not None}) == 1, "one commit"
    counts = [len(part.verdicts.get("incomplete", ())) for part in parts if part is not None]
    assert counts == [0, 6, 0, 7]


def hashed(body: str, digest: str | None = None) -> dict[str, str]:
    dumped = json.dumps(json.loads(body), sort_keys=True).encode()
    return {"audit.content_hash": digest or hashlib.sha256(dumped).hexdigest()}


BODY = '{"b": 1, "a": "ü"}'


def test_a_content_hash_is_checked_and_the_verdict_kept(audited: Make) -> None:
    door = audited()
    good = door.post(request(event("good", BODY, **hashed(BODY)))).json
    bad = door.post(request(event("bad", BODY, **hashed(BODY, "0" * 64)))).json
    odd = door.post(request(event("odd", "no json", **hashed(BODY, "0" * 64)))).json
    told = [(each["verify_status"], each["content_hash"]) for each in (good, bad, odd)]
    assert told == [("passed", "ok"), ("failed", "mismatch"), ("deferred", "not checkable")]
    parts = [door.entry(n).part for n in range(3)]
    assert [part and part.verdicts for part in parts] == [
        {"content_hash": "ok"},
        {"content_hash": "mismatch"},
        {"content_hash": "not checkable"},
    ]
    assert "not that of the body" in bad["reason"]


@pytest.mark.parametrize(
    ("refuse", "statuses"), [("mismatch", (400, 200)), ("incomplete", (200, 400)), ("both", (400, 400))]
)
def test_what_the_setting_refuses_is_not_stored(
    audited: Make, refuse: str, statuses: tuple[int, int]
) -> None:
    door = audited(ingest__refuse=refuse)
    wrong = door.post(request(event("ok"), event("wrong", BODY, **hashed(BODY, "0" * 64))))
    lacking = door.post(request({**event("lacking"), "eventName": ""}, event("ok2")))
    assert (wrong.status, lacking.status) == statuses
    if wrong.status == 400:
        assert wrong.json["status"] == "rejected_verify_failed"
        assert wrong.json["records"] == [
            "record 1: audit.content_hash: neither Python's json nor RFC 8785 gives that hash of the body"
        ]
    if lacking.status == 400:
        assert lacking.json["status"] == "rejected_schema_invalid"
        assert lacking.json["reason"] == "record 0: without eventName"
    assert door.log.size == 2 * statuses.count(200)
    assert door.post(request(event("fine", BODY, **hashed(BODY)))).status == 200


def test_a_record_longer_than_an_entry_is_split_and_found_again(audited: Make) -> None:
    door = audited()
    text = "x" * (2 * MAX_ENTRY)
    told = door.post(request(event("long", text))).json
    assert (told["index"], told["entries"]) == (0, door.log.size)
    assert decode_record(door.entry(0).record_bytes)["body"] == {"stringValue": text}
    assert told["integrity_hash"] == hashlib.sha256(door.entry(0).record_bytes).hexdigest()
    again = audited().post(request(event("long", text))).json
    assert (again["index"], again["duplicate"]) == (0, True)


def test_what_was_protected_is_said(audited: Make) -> None:
    door = audited(ingest__protect__drop=("body.b", "audit.actor.id"))
    told = door.post(request(event("r", BODY, **hashed(BODY)))).json
    assert told["protected"] == ["drop:audit.actor.id", "drop:body.b"]
    assert told["content_hash"] == "ok"  # of what arrived
    record = decode_record(door.entry(0).record_bytes)
    assert json.loads(record["body"]["stringValue"]) == {"a": "ü"}
    assert b"u8472" not in door.log.entry(0)
    assert door.post(request(event("r", BODY, **hashed(BODY)))).json["duplicate"]


BAD = {
    "not JSON": (b"{", {}, 400, "rejected_schema_invalid"),
    "no object": (b"[]", {}, 400, "rejected_schema_invalid"),
    "no records": (b"{}", {}, 400, "rejected_schema_invalid"),
    "spans": (b'{"resourceSpans":[]}', {}, 400, "rejected_schema_invalid"),
    "nested": (b'{"resourceLogs":' + b"[" * 10_000, {}, 400, "rejected_schema_invalid"),
    "another type": (b"x", {"content_type": "text/plain"}, 415, "rejected_schema_invalid"),
    "no protobuf": (b"\xff", {"content_type": "application/x-protobuf"}, 400, "rejected_schema_invalid"),
    "another encoding": (b"x", {"content_encoding": "br"}, 415, "rejected_schema_invalid"),
    "no gzip": (b"x", {"content_encoding": "gzip"}, 400, "rejected_schema_invalid"),
    "a bomb": (gzip.compress(bytes(1 << 24)), {"content_encoding": "gzip"}, 413, "rejected_schema_invalid"),
    "too long": (bytes(2 << 20), {}, 413, "rejected_schema_invalid"),
    "a wish": (request(event("r")), {"merklelog_wait": "published"}, 400, "rejected_schema_invalid"),
    "another site": (
        request(event("r")),
        {"origin": "https://evil.example", "host": "h"},
        403,
        "rejected_authz",
    ),
}


def test_bad_input_is_refused_and_nothing_is_stored(audited: Make) -> None:
    door = audited()
    for case, (data, headers, status, word) in BAD.items():
        answer = door.post(data, **headers)
        assert (case, answer.status, answer.json["status"]) == (case, status, word), answer.json
        assert answer.json["reason"]
        assert door.log.size == 0, case
    assert door.post(request(event("r"))).status == 200


def test_only_post_is_taken(audited: Make) -> None:
    door = audited()
    got = door.ask("GET", "/v1/audit")
    assert (got.status, got.headers["allow"]) == (405, "POST, OPTIONS")
    assert door.post(request(event("r")), path="/v1/audits").status in {404, 405}


def test_a_log_that_was_frozen_or_closed_is_told_to_be_tried_later(audited: Make) -> None:
    door = audited()
    door.post(request(event("r")))
    door.log.freeze()
    answer = door.post(request(event("s")))
    assert (answer.status, answer.json["status"]) == (503, "failed_internal")
    assert answer.json["retry_after"] == float(answer.headers["retry-after"]) == 60.0
    assert door.post(request(event("r"))).json["index"] == 0
