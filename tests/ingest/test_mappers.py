"""Mappers: the tables that come with merklelog on events of each system, and tables of one's own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from merklelog.errors import ConfigError
from merklelog.ingest.mappers import STANDARD, Mapper, load_mapper, standard_mapper, standard_mappers
from merklelog.ingest.model import AuditFields, audit_fields
from merklelog.ingest.times import parse_time
from merklelog.ingest.values import as_typed
from tests.ingest.real_events import cloudtrail_events, windows_events


def of_text(event: Any) -> AuditFields:
    return audit_fields({"body": {"stringValue": event if isinstance(event, str) else json.dumps(event)}})


def test_every_real_cloudtrail_event_is_mapped() -> None:
    for text in cloudtrail_events():
        event, got = json.loads(text), of_text(text)
        assert got.mapper == "cloudtrail"
        assert got.actor == event["userIdentity"].get("arn", event["userIdentity"].get("invokedBy"))
        assert got.action == event["eventName"]
        assert got.record_id == event["eventID"]
        assert got.source == event["sourceIPAddress"]
        assert got.outcome == ("failure" if "errorCode" in event else "success")
        assert got.time_ns == parse_time(event["@timestamp"]) is not None
        assert got.resource
        assert got.extra["region"] == event["awsRegion"]


def test_every_real_windows_event_is_mapped() -> None:
    outcomes: Counter[str | None] = Counter()
    for text in windows_events():
        event, got = json.loads(text), of_text(text)
        assert got.mapper == "windows"
        assert got.action == str(event["EventID"])
        assert got.time_ns == parse_time(event["@timestamp"]) is not None
        assert got.extra["channel"] == event["Channel"]
        assert got.extra["host"] == event["Hostname"]
        assert got.actor
        assert got.resource
        assert got.source
        if (subject := event.get("SubjectUserName", "-")) != "-":
            assert got.actor == subject
        outcomes[got.outcome] += 1
    assert outcomes == {"unknown": 13_338, "success": 275, "failure": 32}


@pytest.mark.parametrize("text", [cloudtrail_events()[0], windows_events()[0], windows_events()[-1]])
def test_an_event_is_the_same_as_text_and_as_key_values(text: str) -> None:
    assert audit_fields({"body": as_typed(json.loads(text))}) == of_text(text)


def test_a_failed_call_of_cloudtrail() -> None:
    event = json.loads(cloudtrail_events()[0]) | {"errorCode": "AccessDenied"}
    got = of_text(event)
    assert (got.outcome, got.extra["error"]) == ("failure", "AccessDenied")


def test_windows_events_as_other_agents_name_them() -> None:
    winlogbeat = {
        "winlog": {
            "event_id": "4624",
            "channel": "Security",
            "computer_name": "dc1",
            "event_data": {"SubjectUserName": "-", "TargetUserName": "alice", "IpAddress": "10.0.0.7"},
            "keywords": ["Audit Success"],
        },
        "@timestamp": "2024-05-06T07:08:09.123Z",
        "event": {"action": "logged-in"},
    }
    receiver = {
        "event_id": {"id": 4624, "qualifiers": 0},
        "channel": "Security",
        "computer": "dc1",
        "keywords": ["Audit Success"],
        "system_time": "2024-05-06T07:08:09.1230000Z",
        "event_data": {"SubjectUserName": "-", "TargetUserName": "alice", "IpAddress": "10.0.0.7"},
    }
    for event in (winlogbeat, receiver):
        got = of_text(event)
        assert (got.mapper, got.actor, got.action, got.outcome) == ("windows", "alice", "4624", "success")
        assert (got.source, got.extra["host"], got.extra["channel"]) == ("10.0.0.7", "dc1", "Security")
        assert got.time_ns == 1_714_979_289_123_000_000


def test_kubernetes() -> None:
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "7c5e",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/prod/secrets/db",
        "verb": "delete",
        "user": {"username": "system:serviceaccount:ci:deployer", "groups": ["system:serviceaccounts"]},
        "sourceIPs": ["10.1.2.3", "10.0.0.1"],
        "objectRef": {"resource": "secrets", "namespace": "prod", "name": "db", "apiVersion": "v1"},
        "responseStatus": {"code": 403},
        "requestReceivedTimestamp": "2024-05-06T07:08:09.000001Z",
        "stageTimestamp": "2024-05-06T07:08:09.000002Z",
        "annotations": {"authorization.k8s.io/decision": "forbid"},
    }
    got = of_text(event)
    assert (got.mapper, got.actor, got.actor_type) == (
        "kubernetes",
        "system:serviceaccount:ci:deployer",
        "service",
    )
    assert (got.action, got.resource, got.resource_type) == ("delete", "prod/secrets/db", "secrets")
    assert (got.outcome, got.source, got.record_id) == ("failure", "10.1.2.3", "7c5e/ResponseComplete")
    assert got.time_ns == 1_714_979_289_000_002_000
    assert got.extra["decision"] == "forbid"
    event["user"] = {"username": "alice"}
    event["responseStatus"] = {"code": 200}
    event["objectRef"] = {"resource": "namespaces", "name": "prod"}
    again = of_text(event)
    assert (again.actor_type, again.outcome, again.resource) == ("user", "success", "namespaces/prod")


def test_ocsf() -> None:
    event = {
        "class_uid": 6003,
        "class_name": "API Activity",
        "category_uid": 6,
        "activity_name": "Delete",
        "status_id": 2,
        "time": 1_714_979_289_123,
        "metadata": {"uid": "m-1", "version": "1.3.0"},
        "actor": {"user": {"name": "alice", "uid": "u1", "type_id": 1}},
        "api": {"operation": "DeleteObject"},
        "resources": [{"uid": "arn:aws:s3:::b/k", "type": "object"}],
        "src_endpoint": {"ip": "192.0.2.1"},
    }
    got = of_text(event)
    assert (got.mapper, got.actor, got.actor_type, got.action) == ("ocsf", "alice", "user", "DeleteObject")
    assert (got.resource, got.resource_type, got.outcome) == ("arn:aws:s3:::b/k", "object", "failure")
    assert (got.record_id, got.source, got.schema_version) == ("m-1", "192.0.2.1", "1.3.0")
    assert got.time_ns == 1_714_979_289_123_000_000
    assert got.extra["class"] == "API Activity"


ECS = {
    "@timestamp": "2024-05-06T07:08:09Z",
    "ecs.version": "8.11.0",
    "event.action": "file-deleted",
    "event.category": "file",
    "event.outcome": "success",
    "event.id": "e1",
    "user.name": "alice",
    "file.path": "/etc/passwd",
    "source.ip": "192.0.2.1",
    "host.name": "web-1",
}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in flat.items():
        *outer, last = [key] if key.startswith("@") else key.split(".")
        at = made
        for name in outer:
            at = at.setdefault(name, {})
        at[last] = value
    return made


@pytest.mark.parametrize("shape", ["nested", "flat", "attributes"])
def test_elastic_common_schema(shape: str) -> None:
    if shape == "attributes":
        rows = [{"key": key, "value": {"stringValue": value}} for key, value in ECS.items()]
        got = audit_fields({"attributes": rows, "body": {"stringValue": "alice deleted a file"}})
    else:
        got = of_text(nested(ECS) if shape == "nested" else ECS)
    assert (got.mapper, got.actor, got.actor_type, got.action) == ("ecs", "alice", "user", "file-deleted")
    assert (got.resource, got.resource_type, got.outcome) == ("/etc/passwd", "file", "success")
    assert (got.record_id, got.source, got.time_ns) == ("e1", "192.0.2.1", 1_714_979_289_000_000_000)


def test_attributes_of_the_audit_model_count_before_what_a_mapper_reads() -> None:
    body = {"stringValue": cloudtrail_events()[0]}
    record = {"body": body, "attributes": [{"key": "audit.actor.id", "value": {"stringValue": "pedro"}}]}
    got = audit_fields(record)
    assert (got.actor, got.action, got.mapper) == ("pedro", "DescribeInstanceTypes", "cloudtrail")
    assert audit_fields(record, ()).action is None


@pytest.mark.parametrize(
    "body", ["", "{", "[1]", "null", '"x"', "plain text", '{"a":1}', "{" * 5000, '{"a":"\\ud800"}']
)
def test_what_no_mapper_knows_has_no_fields(body: str) -> None:
    assert of_text(body) == AuditFields()


def test_a_name_that_no_standard_mapper_has_is_refused() -> None:
    assert [each.name for each in standard_mappers()] == list(STANDARD)
    assert standard_mapper("ecs") is standard_mappers()[-1]
    with pytest.raises(ConfigError, match=r"no mapper 'ces'; there is cloudtrail, "):
        standard_mapper("ces")


OWN = """
name = "door"
absent = ["n/a"]
[when]
has = ["badge", ["door", "gate"]]
[fields]
actor = ["badge.holder", "badge.number"]
action = [{ path = "event", map = { 1 = "enter", 2 = "leave" } }, { value = "pass" }]
resource = [{ join = ["site", "door"], with = "/" }, "gate"]
time = ["at"]
[extra]
site = ["site"]
"""


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "door.toml"
    path.write_text(OWN, "utf-8")
    mapper = load_mapper(path)
    event = {
        "badge": {"holder": "n/a", "number": 7},
        "event": 2,
        "site": "hq",
        "door": 3,
        "at": 1_714_979_289,
    }
    got = audit_fields({"body": as_typed(event)}, (mapper,))
    assert (got.actor, got.action, got.resource) == ("7", "leave", "hq/3")
    assert (got.time_ns, dict(got.extra), mapper.extras) == (
        1_714_979_289_000_000_000,
        {"site": "hq"},
        ("site",),
    )
    other = audit_fields({"body": as_typed({"badge": "b", "gate": "north", "event": 9})}, (mapper,))
    assert (other.action, other.resource) == ("pass", "north")
    assert audit_fields({"body": as_typed({"badge": "b"})}, (mapper,)).mapper is None


WRONG = {
    "name = 3": "name is 3: want a string",
    "name = 'x'": r"\[when\] is None: want a table",
    "name = 'x'\nwhat = 1": "no key 'what'; there is absent, extra, fields, inside, name, title, when",
    "name = 'x'\n[when]": r"\[when\] says nothing: want has or starts",
    "name = 'x'\n[when]\nhas = []": "when.has is \\[\\]: want a list",
    "name = 'x'\n[when]\nhas = ['a']": r"\[fields\] is None: want a table",
    "name = 'x'\n[when]\nhas = ['a']\n[fields]\nwho = ['a']": r"\[fields\]: no key 'who'; there is action, ",
    "name = 'x'\n[when]\nhas = ['a']\n[fields]\nactor = 'a'": "actor is 'a': want a list",
    "name = 'x'\n[when]\nhas = ['a']\n[fields]\nactor = [{ pth = 'a' }]": r"actor: a step has \['pth'\]: want",
    "name = 'x'\n[when]\nhas = ['a']\n[fields]\nactor = [3]": "actor is 3: want a table",
    "name = ": "Invalid value",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_table_that_is_wrong_is_refused_with_the_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=WRONG[text]) as caught:
        load_mapper(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        load_mapper(tmp_path / "none.toml")


def test_what_a_mapper_needs_is_said_when_it_has_no_name() -> None:
    with pytest.raises(ConfigError, match="a mapper: name is None: want a string"):
        Mapper({})


TIMES = {
    "2024-05-06T07:08:09Z": 1_714_979_289_000_000_000,
    "2024-05-06 07:08:09": 1_714_979_289_000_000_000,
    "2024-05-06T07:08:09.123456789Z": 1_714_979_289_123_456_789,
    "2024-05-06T07:08:09.1234567891Z": 1_714_979_289_123_456_789,
    "2024-05-06T09:08:09,5+02:00": 1_714_979_289_500_000_000,
    "2024-05-06T03:38:09-0330": 1_714_979_289_000_000_000,
    "2016-12-31T23:59:60Z": 1_483_228_800_000_000_000,
    "2262-04-11T23:47:17Z": 9_223_372_037_000_000_000,
    "1714979289": 1_714_979_289_000_000_000,
    "1714979289123": 1_714_979_289_123_000_000,
    "1714979289123456": 1_714_979_289_123_456_000,
    "1714979289123456789": 1_714_979_289_123_456_789,
    **dict.fromkeys(
        ["", "0", "yesterday", "1969-12-31T23:59:59Z", "2024-13-06T07:08:09Z", "²024-05-06T07:08:09Z"]
    ),
    **dict.fromkeys(["-1", "1_000", "٣٣٣", "2024-05-06", "2024-05-06T07:08:09 or so", "9" * 20]),
}


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str) -> None:
    assert parse_time(text) == TIMES[text]
