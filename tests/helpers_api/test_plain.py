"""What may stand in an event, and that JSON, protobuf and a content hash take it the same way."""

from __future__ import annotations

import enum
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._internal import _encode_value

from merklelog.audit_events.plain import DEEPEST, plain, plain_mapping
from merklelog.errors import UsageError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 3


@pytest.mark.parametrize(
    ("given_value", "wanted"),
    [
        (None, None),
        (True, True),
        (-(2**63), -(2**63)),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (1.5, 1.5),
        (-0.0, 0.0),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("ünïcode", "ünïcode"),
        ("file-\udcff", "file-\\udcff"),
        (b"\x00\xff", "AP8="),
        ((1, "a", None), [1, "a", None]),
        ({3, 1, 2}, [1, 2, 3]),
        ({"a": {7: "b"}}, {"a": {"7": "b"}}),
        (datetime(2026, 11, 21, 8, 0, tzinfo=UTC), "2026-11-21T08:00:00+00:00"),
        (date(2026, 11, 21), "2026-11-21"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Path("/etc/x"), "/etc/x"),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Level.LOW, 3),
    ],
)
def test_each_kind_of_value_has_one_plain_form(given_value: object, wanted: object) -> None:
    made = plain(given_value)
    assert made == wanted
    assert type(made) is type(wanted)
    assert json.dumps(made) == json.dumps(wanted)


@pytest.mark.parametrize(
    ("given_value", "said"),
    [
        (object(), "details: a object has no plain form"),
        ({"a": [1, {"b": object()}]}, r"details\.a\[1\]\.b: a object has no plain form"),
        ({None: 1}, "details: a key is a NoneType, want text"),
        ({True: 1}, "details: a key is a bool, want text"),
        ({1: "a", "1": "b"}, "details: two of its keys are '1' as text"),
        ({"n": 10**5000}, r"details\.n: an integer of 16610 bits is too long"),
    ],
)
def test_what_has_no_plain_form_is_refused_with_its_place(given_value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plain(given_value)


def test_nesting_has_an_end() -> None:
    deep: object = "x"
    for _ in range(DEEPEST):
        deep = [deep]
    assert plain(deep) == deep
    with pytest.raises(UsageError, match="more than 48 levels deep"):
        plain([deep])
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(UsageError, match="more than 48 levels deep"):
        plain(circle)


def test_details_are_a_mapping() -> None:
    assert plain_mapping(None, "details") == {}
    with pytest.raises(UsageError, match="details: list, want a mapping"):
        plain_mapping([1], "details")  # type: ignore[arg-type]


@given(ANYTHING)
def test_json_gives_back_what_was_made_and_otlp_takes_it(value: object) -> None:
    try:
        made = plain(value)
    except UsageError as error:
        assert "two of its keys" in str(error)  # noqa: PT017 - "\udc00" and its own spelling
        return
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    _encode_value(made).SerializeToString()
    assert plain(made) == made
