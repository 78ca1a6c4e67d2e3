"""Which log: the token, else the header, else the attribute, else the only log; and what is told where none is."""

from __future__ import annotations

from typing import Any

import pytest

from merklelog.errors import FieldError, UnauthenticatedError
from merklelog.ingest.choose import Asked, Chooser

A, B, C = "x.example/a", "x.example/b", "x.example/c"
ALL = (A, B, C)


def of(origin: str | None) -> dict[str, Any]:
    """A record whose resource says that it is for that log."""
    if origin is None:
        return {"resource": {"attributes": [{"key": "other", "value": {"stringValue": A}}]}}
    named = [{"key": "log", "value": {"intValue": "5"}}, {"key": "log", "value": {"stringValue": origin}}]
    return {"resource": {"attributes": named}}


@pytest.mark.parametrize(
    ("granted", "header", "served", "want"),
    [
        ((B,), None, ALL, B),
        ((B,), A, ALL, B),  # the token decides
        ((B, C), C, ALL, C),
        ((B, "x.example/not-served"), None, ALL, B),
        (None, C, ALL, C),
        (None, None, (A,), A),
        ((A,), None, (A,), A),
        (None, A, (A,), A),
    ],
)
def test_the_request_decides(
    granted: tuple[str, ...] | None, header: str | None, served: tuple[str, ...], want: str
) -> None:
    for attribute in ("", "log"):
        if attribute and header is None and granted is None:
            continue
        assert Chooser(attribute).by_request(Asked(granted, header), served) == want


@pytest.mark.parametrize(
    ("granted", "header", "error"),
    [
        (None, None, UnauthenticatedError),
        (None, "nobody.example", UnauthenticatedError),
        (None, "", UnauthenticatedError),
        ((A, B), None, FieldError),
        ((A, B), C, FieldError),
        (("x.example/not-served",), None, FieldError),
    ],
)
def test_nothing_is_guessed(
    granted: tuple[str, ...] | None, header: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"no such log|nothing says"):
        Chooser().by_request(Asked(granted, header), ALL)


def test_each_record_goes_where_its_resource_says() -> None:
    chooser, asked = Chooser("log"), Asked(None, None)
    assert chooser.by_request(asked, ALL) is None
    records = [of(B), of(A), of(B)]
    records.append({"resource": records[0]["resource"], "body": {}})
    assert chooser.by_records(asked, ALL, records) == {
        B: [records[0], records[2], records[3]],
        A: [records[1]],
    }


def test_without_the_attribute_the_only_log() -> None:
    for record in (of(None), {}):
        assert Chooser("log").by_records(Asked(None, None), (A,), [record]) == {A: [record]}
        assert Chooser("log").by_records(Asked((A, B), None), (B,), [record]) == {B: [record]}


@pytest.mark.parametrize(
    ("record", "granted", "error"),
    [
        (of("x.example/d"), None, UnauthenticatedError),
        (of(None), None, UnauthenticatedError),
        ({}, None, UnauthenticatedError),
        (of(A), (B, C), FieldError),
        (of(None), (B, C), FieldError),
    ],
)
def test_one_record_for_no_log_refuses_all(
    record: dict[str, Any], granted: tuple[str, ...] | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match="record 1: the resource's attribute log"):
        Chooser("log").by_records(Asked(granted, None), ALL, [of(B), record])
