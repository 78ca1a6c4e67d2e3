"""Content hashes: made here with plain json and hashlib as senders do, and found right or wrong."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merklelog.ingest.canonical import format_double
from merklelog.ingest.content_hash import canonical_json, check_content, judge_content
from merklelog.ingest.model import audit_fields
from merklelog.ingest.values import NotPlainError, as_typed, plain
from merklelog.ingest.verdict import Verdict

OK, MISMATCH, NOT_CHECKABLE = Verdict


def python_hash(event: Any) -> str:
    """As widely published."""
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()


def record(body: Any, claimed: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {} if body is None else {"body": body}
    if claimed is not None:
        made["attributes"] = [{"key": "audit.content_hash", "value": {"stringValue": claimed}}]
    return made


def check(body: Any, claimed: str | None) -> Verdict | None:
    made = record(body, claimed)
    return check_content(made, audit_fields(made))


EVENT = {
    "actor": "alice",
    "action": "delete",
    "details": {"ümlaut": "✓", "b": [1, 2.5, None, True], "a": 10**30},
    "timestamp": 1_714_979_289_123_456_789,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_text_of_any_json_is_found_right(event: Any) -> None:
    for text in (json.dumps(event), json.dumps(event, ensure_ascii=False), json.dumps(event, indent=2)):
        if "\ud800" <= max(text) <= "\udfff":
            continue  # half a pair is no text that a record can hold
        assert check({"stringValue": text}, python_hash(event)) is OK


@given(JSON.filter(lambda event: event is not None and not isinstance(event, str)))
def test_key_values_are_found_right(event: Any) -> None:
    body = as_typed(event)
    assert plain(body) == event
    assert check(body, python_hash(event)) is OK


@given(JSON, JSON)
def test_another_content_is_found_wrong(event: Any, other: Any) -> None:
    verdict = check({"stringValue": json.dumps(event)}, python_hash(other))
    assert verdict is (OK if python_hash(event) == python_hash(other) else MISMATCH)


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "SHA-256={}", " {}\n"])
def test_the_claim_may_be_written_in_several_ways(form: str) -> None:
    text, digest = json.dumps(EVENT), python_hash(EVENT)
    assert check({"stringValue": text}, form.format(digest)) is OK
    assert check({"stringValue": text}, form.format(digest.upper())) is OK
    assert check({"stringValue": text}, form.format("0" * 64)) is MISMATCH


def test_without_a_claim_there_is_no_verdict() -> None:
    assert check({"stringValue": "{}"}, None) is None


def test_the_hash_of_a_changed_text_is_a_mismatch() -> None:
    text = json.dumps(EVENT)
    digest = python_hash(EVENT)
    assert check({"stringValue": text.replace("alice", "mallory")}, digest) is MISMATCH
    assert check({"stringValue": text.replace("2.5", "2.50")}, digest) is OK  # the same number
    assert check(as_typed({**EVENT, "action": "read"}), digest) is MISMATCH


# What RFC 8785 gives, from its sections 3.2.2 to 3.2.4 and appendix B.
CANONICAL = [
    ({"peach": 1, "péché": 2, "pêche": 3, "sin": 4}, '{"peach":1,"péché":2,"pêche":3,"sin":4}'),
    ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}, None),
    ([333333333.33333329, 1e30, 4.5, 2e-3, 1e-27], "[333333333.3333333,1e+30,4.5,0.002,1e-27]"),
    ('\u20ac$\x0f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
    (
        [None, True, False, {}, [], -0.0, 0, 1.0, 10**21, 2**53],
        "[null,true,false,{},[],0,0,1,1e+21,9007199254740992]",
    ),
]


@pytest.mark.parametrize(("value", "text"), CANONICAL)
def test_the_other_convention(value: Any, text: str | None) -> None:
    if text is None:  # section 3.2.3: sorted by UTF-16 units
        text = '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'
    assert canonical_json(value) == text.encode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    judged = judge_content(record({"stringValue": json.dumps(value)}, None), digest)
    assert (judged.verdict, judged.convention) == (OK, "RFC 8785") or python_hash(value) == digest


def test_it_is_said_which_convention_it_was() -> None:
    text = json.dumps(EVENT)
    assert judge_content(record({"stringValue": text}, None), python_hash(EVENT)).convention == "python json"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "there is no body"),
        ({}, "there is no body"),
        ({"stringValue": "alice deleted it"}, "the body is not JSON"),
        ({"stringValue": '{"a":1'}, "the body is not JSON"),
        ({"stringValue": "[" * 100_000}, "the body is not JSON"),
        ({"stringValue": "9" * 10_000}, "the body is not JSON"),
        ({"stringValue": '{"a":1,"a":2}'}, "a key stands twice"),
        (
            {"stringValue": '{"a":0.12345678901234567890123}'},
            "more digits than a double: 0.12345678901234567890123",
        ),
        ({"stringValue": '{"a":1e999}'}, "more digits than a double: 1e999"),
        ({"bytesValue": "AA=="}, "bytes have no form"),
        ({"arrayValue": {"values": [{"bytesValue": "AA=="}]}}, "bytes have no form"),
        (
            {"kvlistValue": {"values": [{"key": "a", "value": {}}, {"key": "a", "value": {}}]}},
            "a key stands twice",
        ),
    ],
)
def test_what_json_does_not_carry_is_not_checkable(body: Any, why: str) -> None:
    judged = judge_content(record(body, None), "0" * 64)
    assert judged.verdict is NOT_CHECKABLE
    assert why in judged.reason
    assert check(body, "0" * 64) is NOT_CHECKABLE


@pytest.mark.parametrize("claimed", ["", "x", "0" * 63, "0" * 128, "md5:" + "0" * 64, "٣" * 64])
def test_a_claim_that_is_no_sha_256_is_not_checkable(claimed: str) -> None:
    assert judge_content(record({"stringValue": "{}"}, None), claimed).verdict is NOT_CHECKABLE


def test_a_hash_over_what_python_carries_though_rfc_8785_does_not() -> None:
    for event in ({"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, {"a": 10**400}):
        assert check({"stringValue": json.dumps(event)}, python_hash(event)) is OK
        assert check({"stringValue": json.dumps(event)}, python_hash("another")) is MISMATCH
    body = as_typed({"a": float("inf"), "b": float("nan")})
    assert check(body, python_hash({"a": float("inf"), "b": float("nan")})) is OK


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "\ud800", {"\udfff": 1}])
def test_values_that_rfc_8785_has_no_form_for(value: Any) -> None:
    with pytest.raises(NotPlainError):
        canonical_json(value)


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**54), 2**54)))
@example(2**53)
@example(2**53 + 1)
@example(1e16)
@example(1e-4)
@example(-0.0)
def test_a_number_that_is_written_quickly_is_written_alike(number: float) -> None:
    assert canonical_json([number]) == b"[%s]" % (format_double(float(number)) if number else b"0")
