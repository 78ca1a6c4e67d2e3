"""What an S3 service says when it does not do what was asked, told apart, and said in this project's errors.

Servers differ in their codes and agree on little more than the status, so both are looked at. No message holds
what the service wrote: only its code, the status and the request's id, which are safe to show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from merklelog.errors import (
    ConfigError,
    DamagedError,
    MerklelogError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)

_SAFE: Final = re.compile(r"[^A-Za-z0-9._:/+=-]+")


class Kind(Enum):
    """What an answer means for the one who asked."""

    ABSENT = auto()  # no such object or version
    GONE = auto()  # no such bucket
    PRECONDITION = auto()  # If-Match or If-None-Match did not hold
    CONFLICT = auto()  # another request on the same key was under way: not stored
    THROTTLED = auto()  # slower, please: not stored
    SILENT = auto()  # no answer, or one that says nothing: it may have been stored
    DENIED = auto()  # this identity may not, or is none
    REFUSED = auto()  # the service will not do this, whoever asks and however often


# Temporary, whoever asks: worth another try.
TEMPORARY: Final = frozenset((Kind.CONFLICT, Kind.THROTTLED, Kind.SILENT))

_KINDS: Final = {
    "NoSuchKey": Kind.ABSENT,
    "NoSuchVersion": Kind.ABSENT,
    "NoSuchBucket": Kind.GONE,
    "PreconditionFailed": Kind.PRECONDITION,
    "ConditionalRequestConflict": Kind.CONFLICT,
    "OperationAborted": Kind.CONFLICT,
    "SlowDown": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "TooManyRequests": Kind.THROTTLED,
    "RequestLimitExceeded": Kind.THROTTLED,
    "BandwidthLimitExceeded": Kind.THROTTLED,
    "InternalError": Kind.SILENT,
    "RequestTimeout": Kind.SILENT,
    "IncompleteBody": Kind.SILENT,
    "BadDigest": Kind.SILENT,  # damaged on its way: not stored, and sent again
    "XAmzContentChecksumMismatch": Kind.SILENT,
    "ExpiredToken": Kind.DENIED,
    "ExpiredTokenException": Kind.DENIED,
    "InvalidToken": Kind.DENIED,
    "TokenRefreshRequired": Kind.DENIED,
    "AuthorizationHeaderMalformed": Kind.DENIED,
    "PermanentRedirect": Kind.DENIED,
    "NotImplemented": Kind.REFUSED,
}
_STATUSES: Final = {
    404: Kind.ABSENT,
    408: Kind.SILENT,
    409: Kind.CONFLICT,
    412: Kind.PRECONDITION,
    429: Kind.THROTTLED,
    500: Kind.SILENT,
    502: Kind.SILENT,
    503: Kind.THROTTLED,
    504: Kind.SILENT,
    301: Kind.DENIED,
    307: Kind.DENIED,
    401: Kind.DENIED,
    403: Kind.DENIED,
}
BAD_CHECKSUM: Final = "FlexibleChecksumError"  # botocore's name for an object that its checksum does not fit
_NOT_STORED: Final = frozenset(
    (
        *("BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody"),
        *("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"),
    )
)

# What to do, by code.
_HINTS: Final = {
    "AccessDenied": "this identity may not; docs/s3.md lists the permissions a log needs",
    "InvalidAccessKeyId": "the service does not know this access key: look at the credentials and the endpoint",
    "SignatureDoesNotMatch": "the secret key is not the access key's: look at the credentials",
    "ExpiredToken": "the session's credentials are over: renew them",
    "ExpiredTokenException": "the session's credentials are over: renew them",
    "InvalidToken": "the session token is not one: renew the credentials",
    "TokenRefreshRequired": "the session's credentials are over: renew them",
    "RequestTimeTooSkewed": "this machine's clock differs from the service's by more than 15 minutes: set it",
    "RequestExpired": "this machine's clock differs from the service's: set it",
    "AccountProblem": "the account is suspended: ask the provider",
    "InvalidObjectState": "it was moved to an archive: restore it first",
    "KMS.DisabledException": "the encryption key is disabled",
    "KMS.NotFoundException": "there is no such encryption key: look at publish.s3.sse_kms_key_id",
    "InvalidStorageClass": "the service has no such class: look at publish.s3.storage_class",
    "NotImplemented": "the service lacks what was asked for: `merklelog preflight` says what it can do",
    "ObjectLockConfigurationNotFoundError": "the bucket has no Object Lock",
    "InvalidRetentionPeriod": "the service does not take so long a retention: look at publish.s3.retention_days",
    "EntityTooLarge": "the service does not take objects of that size in one request",
    "QuotaExceeded": "the account or the bucket is full",
    "XMinioStorageFull": "the service is out of room",
}
_REGION: Final = frozenset(
    ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One failed request: what it means, and what may be shown of the answer.

    `code` is the service's or the name of what the client could not do; `status` 0 without an answer;
    `retry_after` in seconds, None when the service did not say; `region` is where the bucket is, if it was said;
    `delete_marker`: what is there is one (not every service says so).
    """

    kind: Kind
    operation: str
    code: str
    status: int = 0
    request_id: str = ""
    retry_after: float | None = None
    region: str = ""
    delete_marker: bool = False
    detail: str = ""

    @property
    def may_be_stored(self) -> bool:
        """Whether a write so answered may have happened."""
        return self.kind is Kind.SILENT and self.code not in _NOT_STORED


def problem_of_answer(response: dict[str, Any], operation: str) -> Problem:
    """What botocore's parsed error response means."""
    metadata = response.get("ResponseMetadata", {})
    headers = metadata.get("HTTPHeaders", {})
    status = metadata.get("HTTPStatusCode", 0)
    code = safe(str(response.get("Error", {}).get("Code", ""))) or "none"
    kind = _KINDS.get(code) or _STATUSES.get(status)
    if kind is None:
        kind = Kind.SILENT if status >= 500 else Kind.REFUSED
    if status == 405 and operation in ("GetObject", "HeadObject"):
        kind = Kind.ABSENT  # Amazon S3, "Working with delete markers": what the marker's own id answers
    return Problem(
        kind,
        operation,
        code,
        status,
        request_id=safe(str(metadata.get("RequestId") or headers.get("x-amz-request-id", ""))),
        retry_after=_seconds(headers.get("retry-after", "")),
        region=safe(headers.get("x-amz-bucket-region", "")),
        delete_marker=headers.get("x-amz-delete-marker") == "true",
    )


def safe(text: str) -> str:
    """Text of a service, fit for a message: short, and of harmless characters."""
    return _SAFE.sub("_", text)[:80]


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch("[0-9]{1,4}", text) else None


def error_of(problem: Problem, what: str, attempts: int = 1) -> MerklelogError:
    """The error that leaves the store; `what` names the object (or the bucket).

    An UnreachableError is `refused` for what the service will not do for this identity, or at all.
    """
    tried = f"{what}: {problem.operation}"
    if problem.code == BAD_CHECKSUM:
        return DamagedError(f"{what}: its bytes are not those its SHA-256 checksum is of")
    if problem.status == 0:
        after = f" ({attempts} attempts)" if attempts > 1 else ""
        return UnreachableError(f"{tried}: {problem.detail or problem.code}{after}")
    request = f", request {problem.request_id}" if problem.request_id else ""
    code = "" if problem.code == str(problem.status) else f" {problem.code}"  # a HEAD's answer has none
    answer = f"the store answered {problem.status}{code}{request}"
    if problem.kind is Kind.GONE:
        return ConfigError(f"{tried}: {answer}: there is no such bucket; create it or correct the target")
    if problem.kind is Kind.ABSENT:
        return NotFoundError(f"{what}: there is no such object")
    if problem.kind in (Kind.THROTTLED, Kind.CONFLICT):
        wait = problem.retry_after if problem.retry_after is not None else 5.0
        return UnavailableError(f"{tried}: {answer}, {attempts} times: it asks for fewer requests", wait)
    hint = _hint(problem)
    refused = problem.kind in (Kind.DENIED, Kind.REFUSED)
    return UnreachableError(f"{tried}: {answer}" + (f": {hint}" if hint else ""), refused=refused)


def _hint(problem: Problem) -> str:
    if problem.code in _REGION or problem.status in (301, 307):
        there = f" (the bucket is in {problem.region})" if problem.region else ""
        return f"the region or the endpoint is not the bucket's{there}: look at publish.s3.region"
    hint = _HINTS.get(problem.code, "")
    return hint or (_HINTS["AccessDenied"] if problem.kind is Kind.DENIED else "")
