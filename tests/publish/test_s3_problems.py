"""What each answer of a service means, and which error leaves the store; botocore's own forms are the input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import (
    ConfigError,
    DamagedError,
    MerklelogError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)
from merklelog.publish.s3_problems import BAD_CHECKSUM, Kind, Problem, error_of, problem_of_answer


def answer(status: int, code: str = "", **headers: str) -> dict[str, Any]:
    """An error response as botocore parses it."""
    return {
        "Error": {"Code": code, "Message": "the-secret-message"},
        "ResponseMetadata": {
            "RequestId": "4442587FB7D0A2F9",
            "HTTPStatusCode": status,
            "HTTPHeaders": {name.replace("_", "-"): value for name, value in headers.items()},
        },
    }


@pytest.mark.parametrize(
    ("status", "code", "kind", "error", "words"),
    [
        (404, "NoSuchKey", Kind.ABSENT, NotFoundError, "there is no such object"),
        (404, "404", Kind.ABSENT, NotFoundError, "there is no such object"),
        (404, "NoSuchVersion", Kind.ABSENT, NotFoundError, "there is no such object"),
        (404, "NoSuchBucket", Kind.GONE, ConfigError, "404 NoSuchBucket.*no such bucket; create it"),
        (412, "PreconditionFailed", Kind.PRECONDITION, UnreachableError, "412 PreconditionFailed"),
        (
            409,
            "ConditionalRequestConflict",
            Kind.CONFLICT,
            UnavailableError,
            "409 ConditionalRequestConflict",
        ),
        (503, "SlowDown", Kind.THROTTLED, UnavailableError, "503 SlowDown.*fewer requests"),
        (429, "TooManyRequests", Kind.THROTTLED, UnavailableError, "429"),
        (500, "InternalError", Kind.SILENT, UnreachableError, "500 InternalError"),
        (504, "", Kind.SILENT, UnreachableError, "504 none"),
        (520, "", Kind.SILENT, UnreachableError, "520 none"),
        (400, "RequestTimeout", Kind.SILENT, UnreachableError, "RequestTimeout"),
        (403, "AccessDenied", Kind.DENIED, UnreachableError, "403 AccessDenied.*permissions"),
        (403, "403", Kind.DENIED, UnreachableError, "permissions"),
        (403, "InvalidAccessKeyId", Kind.DENIED, UnreachableError, "does not know this access key"),
        (403, "SignatureDoesNotMatch", Kind.DENIED, UnreachableError, "the secret key is not"),
        (400, "ExpiredToken", Kind.DENIED, UnreachableError, "400 ExpiredToken.*credentials are over: renew"),
        (400, "InvalidToken", Kind.DENIED, UnreachableError, "renew the credentials"),
        (403, "RequestTimeTooSkewed", Kind.DENIED, UnreachableError, "clock"),
        (400, "InvalidStorageClass", Kind.REFUSED, UnreachableError, "publish.s3.storage_class"),
        (400, "InvalidRetentionPeriod", Kind.REFUSED, UnreachableError, "publish.s3.retention_days"),
        (501, "NotImplemented", Kind.REFUSED, UnreachableError, "lacks what was asked for"),
        (418, "Teapot", Kind.REFUSED, UnreachableError, "418 Teapot"),
    ],
)
def test_answers(status: int, code: str, kind: Kind, error: type[MerklelogError], words: str) -> None:
    problem = problem_of_answer(answer(status, code), "PutObject")
    assert problem.kind is kind
    raised = error_of(problem, "s3://bucket/log/head", 3)
    assert type(raised) is error
    assert getattr(raised, "refused", False) is (kind in (Kind.DENIED, Kind.REFUSED))
    assert str(raised).startswith("s3://bucket/log/head: ")
    assert "the-secret-message" not in str(raised)
    if error is not NotFoundError:
        assert "PutObject: the store answered" in str(raised)
        assert "request 4442587FB7D0A2F9" in str(raised)
    with pytest.raises(error, match=words):
        raise raised


def test_a_delete_marker_is_no_object() -> None:
    for operation, kind in (
        ("GetObject", Kind.ABSENT),
        ("HeadObject", Kind.ABSENT),
        ("PutObject", Kind.REFUSED),
    ):
        assert problem_of_answer(answer(405, "MethodNotAllowed"), operation).kind is kind


def test_a_wrong_region_names_the_right_one() -> None:
    for status, code in ((301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (301, "")):
        problem = problem_of_answer(answer(status, code, x_amz_bucket_region="eu-west-3"), "GetObject")
        assert problem.kind is Kind.DENIED
        with pytest.raises(
            UnreachableError, match=r"the bucket is in eu-west-3\): look at publish.s3.region"
        ):
            raise error_of(problem, "s3://bucket")


def test_the_wait_that_a_service_asks_for() -> None:
    raised = error_of(problem_of_answer(answer(503, "SlowDown", retry_after="17"), "PutObject"), "s3://b")
    assert isinstance(raised, UnavailableError)
    assert raised.retry_after == 17.0
    for text in ("", "-1", "soon", "1e9", "99999999999"):
        problem = problem_of_answer(answer(503, "SlowDown", retry_after=text), "PutObject")
        assert problem.retry_after is None


@pytest.mark.parametrize(
    ("status", "code", "stored"),
    [
        *((500, "InternalError", True), (502, "", True), (400, "BadDigest", False), (503, "SlowDown", False)),
        *((409, "ConditionalRequestConflict", False), (412, "PreconditionFailed", False), (403, "x", False)),
    ],
)
def test_which_answers_leave_it_open_whether_it_was_stored(status: int, code: str, stored: bool) -> None:
    assert problem_of_answer(answer(status, code), "PutObject").may_be_stored is stored


def test_a_connection_that_was_never_made_stored_nothing() -> None:
    for code, stored in (("EndpointConnectionError", False), ("ReadTimeoutError", True), ("SSLError", False)):
        assert Problem(Kind.SILENT, "PutObject", code).may_be_stored is stored


def test_a_checksum_that_does_not_fit_is_damage() -> None:
    problem = Problem(Kind.SILENT, "GetObject", BAD_CHECKSUM)
    with pytest.raises(DamagedError, match="s3://b/k: its bytes are not those"):
        raise error_of(problem, "s3://b/k", 4)


@given(st.integers(200, 999), st.text(max_size=100), st.text(max_size=100), st.text(max_size=20))
def test_whatever_is_answered_a_message_is_short_and_printable(
    status: int, code: str, request_id: str, retry_after: str
) -> None:
    response = answer(status, code, retry_after=retry_after)
    response["ResponseMetadata"]["RequestId"] = request_id
    text = str(error_of(problem_of_answer(response, "PutObject"), "s3://b/k"))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 500
