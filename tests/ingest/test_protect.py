"""[ingest.protect]: what is named leaves the record, or becomes its HMAC, and the entry says which."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merklelog.errors import ConfigError, KeyFileError
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.protect import Protect
from merklelog.ingest.values import as_typed, loose
from merklelog.ingest.verdict import touches_content
from merklelog.log.ingest_config import ProtectConfig

KEY = b"k" * 32


def made(drop: tuple[str, ...] = (), hmac: tuple[str, ...] = ()) -> Protect:
    return Protect(ProtectConfig(drop=drop, hmac=hmac, key_name="2026"), KEY)


def hidden(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    return f"hmac-sha256:2026:{hmac.new(KEY, data, hashlib.sha256).hexdigest()}"


def pairs(**named: Any) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": as_typed(value)} for key, value in named.items()]


RECORD: dict[str, Any] = {
    "resource": {"attributes": pairs(service__name="api", user__email="r@example.org")},
    "scope": {"name": "s", "attributes": pairs(user__email="s@example.org")},
    "attributes": [
        *pairs(user__email="a@example.org", audit__actor__id="alice"),
        *pairs(user={"name": "alice", "roles": [{"id": 1}, {"id": 2}]}, user__email="again@example.org"),
    ],
    "body": as_typed({"ssn": "078-05-1120", "items": [{"card": 4111, "ok": True}, {"card": 5500}], "n": 1}),
}


def test_nothing_is_protected_by_default() -> None:
    protect = Protect(ProtectConfig())
    assert not protect
    assert protect.apply(RECORD) == (RECORD, ())


def test_an_attribute_is_dropped_wherever_it_stands() -> None:
    before = copy.deepcopy(RECORD)
    got, told = made(drop=("user.email",)).apply(RECORD)
    assert before == RECORD
    assert told == ("drop:user.email",)
    assert b"example.org" not in encode_record(got)
    assert got["scope"] == {"name": "s"}  # without attributes, as if none had been sent
    assert got["body"] == RECORD["body"]


def test_a_value_becomes_its_hmac() -> None:
    got, told = made(hmac=("audit.actor.id", "user.email")).apply(RECORD)
    assert told == ("hmac:2026:audit.actor.id", "hmac:2026:user.email")
    values = [each["value"]["stringValue"] for each in got["attributes"] if each["key"] == "user.email"]
    assert values == [hidden("a@example.org"), hidden("again@example.org")]
    assert got["resource"]["attributes"][1]["value"] == {"stringValue": hidden("r@example.org")}
    assert {"key": "audit.actor.id", "value": {"stringValue": hidden("alice")}} in got["attributes"]


def test_a_name_reaches_into_values() -> None:
    got, told = made(drop=("user.roles.id", "body.items.card"), hmac=("body.ssn",)).apply(RECORD)
    assert told == ("drop:body.items.card", "drop:user.roles.id", "hmac:2026:body.ssn")
    body = loose(got["body"])
    assert body == {"ssn": hidden("078-05-1120"), "items": [{"ok": True}, {}], "n": 1}
    assert loose(got["attributes"][2]["value"]) == {"name": "alice", "roles": [{}, {}]}


def test_a_body_of_json_text() -> None:
    numbers = {"body": {"stringValue": '{"n":1,"x":[0.12345678901234567890,1E2,-0.0]}'}}
    kept = made(drop=("body.n",)).apply(numbers)[0]["body"]["stringValue"]
    assert kept == '{"x": [0.12345678901234567890, 1E2, -0.0]}'
    event = {"ssn": "078-05-1120", "items": [{"card": 4111, "ok": "ü"}, {"card": {"b": 1, "a": 2}}], "n": 1}
    text = {"body": {"stringValue": json.dumps(event)}}
    got, told = made(drop=("body.n", "body.none"), hmac=("body.ssn", "body.items.card")).apply(text)
    assert told == ("drop:body.n", "hmac:2026:body.items.card", "hmac:2026:body.ssn")
    assert json.loads(got["body"]["stringValue"]) == {
        "ssn": hidden("078-05-1120"),
        "items": [{"card": hidden("4111"), "ok": "ü"}, {"card": hidden('{"a":2,"b":1}')}],
    }


def test_a_key_that_stands_twice_hides_nothing() -> None:
    text = '{"a": {"ssn": 1}, "b": "é", "a": {"ssn": 2, "c": [1.10, null]}, "b": {}}'
    got, told = made(drop=("body.a.ssn",)).apply({"body": {"stringValue": text}})
    assert told == ("drop:body.a.ssn",)
    assert got["body"]["stringValue"] == '{"a": {}, "b": "é", "a": {"c": [1.10, null]}, "b": {}}'


def test_half_of_a_surrogate_pair_stays_an_escape() -> None:
    text = r'{"ssn": 1, "x": "é\ud800"}'
    got, told = made(drop=("body.ssn",)).apply({"body": {"stringValue": text}})
    assert told == ("drop:body.ssn",)
    assert got["body"]["stringValue"] == r'{"x": "\u00e9\ud800"}'
    encode_record(got)
    hashed, _ = made(hmac=("body.x",)).apply({"body": {"stringValue": text}})
    assert json.loads(hashed["body"]["stringValue"])["x"] == hidden(
        "é\ud800".encode("utf-8", "surrogatepass")
    )


@pytest.mark.parametrize("text", ["", "alice did it", "{", "[17] a", '{"other":1.10}', "3"])
def test_a_text_without_the_field_stays_as_it_came(text: str) -> None:
    record = {"body": {"stringValue": text}}
    assert made(drop=("body.ssn",)).apply(record) == (record, ())


@pytest.mark.parametrize(
    "more", ["[" * depth + "]" * depth for depth in (500, 900, 992, 3_000, 100_000)] + ["1" * 5_000]
)
def test_a_text_that_can_not_be_read_is_protected_whole(more: str) -> None:
    """A field must not get by because something else in its text is too much for the reader."""
    text = f'{{"ssn": "SECRET", "more": {more}}}'
    record = {"body": {"stringValue": text}, "flags": 1}
    got, told = made(drop=("body.ssn",)).apply(record)
    assert told == ("drop:body.ssn",)
    assert b"SECRET" not in encode_record(got)
    got, told = made(hmac=("body.ssn",)).apply(record)
    assert told == ("hmac:2026:body.ssn",)
    assert b"SECRET" not in encode_record(got)


def test_a_byte_order_mark_hides_nothing() -> None:
    got, told = made(drop=("body.ssn",)).apply({"body": {"stringValue": '\ufeff{"ssn": "SECRET", "a": 1}'}})
    assert (got, told) == ({"body": {"stringValue": '{"a": 1}'}}, ("drop:body.ssn",))


def test_the_whole_body() -> None:
    assert made(drop=("body",)).apply({"body": {"stringValue": "x"}, "flags": 1}) == (
        {"flags": 1},
        ("drop:body",),
    )
    got, told = made(hmac=("body",)).apply({"body": {"stringValue": "x"}})
    assert (got, told) == ({"body": {"stringValue": hidden("x")}}, ("hmac:2026:body",))
    typed = as_typed({"b": [1], "a": "x"})
    data = encode_record({"body": typed})[len(b'{"body":') : -1]
    assert made(hmac=("body",)).apply({"body": typed})[0] == {"body": {"stringValue": hidden(data)}}
    assert made(drop=("body",)).apply({"flags": 1}) == ({"flags": 1}, ())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (42, "42"),
        (2.5, "2.5"),
        ("", ""),
        (None, "{}"),
        ([1], '{"arrayValue":{"values":[{"intValue":"1"}]}}'),
    ],
)
def test_values_of_each_type(value: Any, text: str) -> None:
    got, _ = made(hmac=("x",)).apply({"attributes": pairs(x=value)})
    assert got["attributes"][0]["value"] == {"stringValue": hidden(text)}


def test_records_of_one_request_go_on_sharing_their_resource() -> None:
    resource, scope = RECORD["resource"], RECORD["scope"]
    protect = made(drop=("user.email",))
    one, two = (protect.apply({"resource": resource, "scope": scope, "flags": n})[0] for n in (1, 2))
    assert one["resource"] is two["resource"]
    assert one["scope"] is two["scope"]
    assert protect.apply({"resource": resource})[1] == ("drop:user.email",)
    untouched = {"attributes": pairs(a="b")}
    assert protect.apply({"resource": untouched})[0]["resource"] is untouched


NAMES = st.sampled_from(["a", "a.b", "b", "body", "body.a", "body.a.b", "c"])
JSON = st.recursive(
    st.sampled_from(["secret", 7, None, True]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@example({"body.a"}, set(), {"a": "secret"}, {"body.a": "secret"}, True)
@given(st.sets(NAMES), st.sets(NAMES), JSON, st.dictionaries(NAMES, JSON, max_size=3), st.booleans())
def test_what_is_left_is_a_record_and_a_second_time_changes_nothing_more_to_drop(
    drop: set[str], replace: set[str], body: Any, named: dict[str, Any], as_text: bool
) -> None:
    record: dict[str, Any] = {
        "attributes": [{"key": key, "value": as_typed(value)} for key, value in named.items()]
    }
    if not record["attributes"]:
        record = {}
    record["body"] = {"stringValue": json.dumps(body)} if as_text else as_typed(body)
    before = copy.deepcopy(record)
    protect = made(tuple(sorted(drop)), tuple(sorted(replace - drop)))
    got, told = protect.apply(record)
    assert record == before
    encode_record(got)
    assert (got == record) == (not told)
    assert {each.rpartition(":")[2] for each in told} <= drop | replace
    assert not [each for each in protect.apply(got)[1] if each.startswith("drop:")]


def test_what_touches_a_content_hash() -> None:
    for told in ("drop:body", "hmac:2026:body", "drop:body.a", "hmac:k:body.a.b", "drop:audit.content_hash"):
        assert touches_content([told])
    assert not touches_content(
        ["drop:user.email", "hmac:body:user.email", "hmac:k:somebody", "drop:bodyguard"]
    )
    assert not touches_content([])


def test_the_key_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "protect.key").write_bytes(KEY + b"\n")
    config = ProtectConfig(hmac=("x",), key="protect.key", key_name="2026")
    got, told = Protect.load(config, tmp_path).apply({"attributes": pairs(x="y")})
    assert got["attributes"][0]["value"] == {"stringValue": hidden("y")}
    unnamed = Protect.load(ProtectConfig(hmac=("x",), key=str(tmp_path / "protect.key")), Path("/nowhere"))
    assert unnamed.apply({"attributes": pairs(x="y")})[1] == ("hmac:protect:x",)
    assert told == ("hmac:2026:x",)


def test_what_can_not_be_done_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs the file of a key: ingest\.protect\.key"):
        Protect.load(ProtectConfig(hmac=("x",)), tmp_path)
    with pytest.raises(KeyFileError, match=r"none\.key: the key of .* can not be read: No such file"):
        Protect.load(ProtectConfig(hmac=("x",), key="none.key"), tmp_path)
    (tmp_path / "short.key").write_bytes(b"short")
    with pytest.raises(KeyFileError, match=r"short\.key: 5 bytes, want a key of at least 32"):
        Protect.load(ProtectConfig(hmac=("x",), key="short.key"), tmp_path)
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        Protect(ProtectConfig(hmac=("x",)), b"short")
    with pytest.raises(ConfigError, match="'x' stands in drop and in hmac"):
        Protect(ProtectConfig(drop=("x",), hmac=("x",)), KEY)
    assert Protect.load(ProtectConfig(drop=("x",)), tmp_path).apply({"attributes": pairs(x="y")}) == (
        {},
        ("drop:x",),
    )
