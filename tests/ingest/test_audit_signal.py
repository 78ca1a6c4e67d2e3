"""The receipt in an answer of POST /v1/audit: found, or it is said why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from merklelog.errors import FormatError
from merklelog.ingest.audit_signal import receipt_in

ONE = {"record_id": "a", "receipt": "proof of a"}
SEVERAL = {
    "record_status_map": {"a": ONE, "b": {"record_id": "b", "receipt": "proof of b"}},
    "other_records": [{"record_id": "", "receipt": "proof of none"}],
}


def found(answer: Any, record_id: str | None = None) -> bytes:
    return receipt_in(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), record_id)


def test_of_one_record_and_of_several() -> None:
    assert found(ONE) == found(ONE, "a") == b"proof of a"
    assert found(SEVERAL, "b") == b"proof of b"
    assert found(SEVERAL, "") == b"proof of none"
    assert found({"record_status_map": {"a": ONE}}) == b"proof of a"


@pytest.mark.parametrize(
    ("answer", "record_id", "why"),
    [
        (b"", None, "not JSON"),
        (b"\xff", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        ([], None, "it has no receipt"),
        ({"status": "failed_internal", "reason": "x"}, None, "it has no receipt"),
        ({"receipt": 3}, None, "it has no receipt"),
        ({"record_status_map": [], "other_records": {}}, None, "it has no receipt"),
        ({"other_records": [None, 3, []]}, None, "it has no receipt"),
        (SEVERAL, None, "3 records, say which by its ID: a, b, "),
        (SEVERAL, "c", "no record of ID 'c' in it"),
        (ONE, "", "no record of ID '' in it"),
    ],
)
def test_what_has_none_is_refused(answer: Any, record_id: str | None, why: str) -> None:
    with pytest.raises(FormatError) as caught:
        found(answer, record_id)
    assert str(caught.value).startswith("an answer of /v1/audit: ")
    assert why in str(caught.value)
