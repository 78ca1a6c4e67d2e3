"""What a sender of OTLP is told of an error: statuses by what a Collector does with them.

A Collector keeps what it was told to send again and throws the rest away at once. So whatever may pass later is
UNAVAILABLE / 503, and too much at a time is RESOURCE_EXHAUSTED with RetryInfo / 429 with Retry-After; an exception
that nobody foresaw is UNAVAILABLE too, where other doors say INTERNAL / 500. What stays is what no later attempt
of the same request could mend: it can not be parsed, it is for no log here, or its sender may not.

Source: OTLP specification, "Failures" of OTLP/gRPC and OTLP/HTTP; the exporters of the OpenTelemetry Collector.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec
from google.protobuf.duration_pb2 import Duration

from merklelog import errors

from .calls import LOGGER, told
from .grpc_wire import CallError
from .http_values import Response, framed_problem
from .problems import Code, Problem, problem_of
from .rich import DOMAIN, rich_status

PROTOBUF: Final = b"application/x-protobuf"
JSON: Final = b"application/json"
RETRY_AFTER: Final = 5.0
# A log that has ended takes this again only once its operator has sent the sender to another one.
FROZEN_RETRY_AFTER: Final = 60.0
# What the same request would be told again, whatever happens meanwhile.
_FOR_GOOD: Final = (
    errors.UnauthenticatedError,
    errors.ForbiddenError,
    errors.FieldError,
    errors.EntryError,
    errors.FormatError,
)


def otlp_problem(error: Exception) -> Problem:
    """The problem for an error of a request, as this module's page says."""
    if isinstance(error, CallError):
        return error.problem
    problem = problem_of(error)
    if isinstance(error, _FOR_GOOD):
        return problem
    if problem.code is Code.RESOURCE_EXHAUSTED:
        return replace(problem, retry_after=problem.retry_after or RETRY_AFTER)
    later = FROZEN_RETRY_AFTER if isinstance(error, errors.FrozenError) else RETRY_AFTER
    return replace(problem, code=Code.UNAVAILABLE, http=503, retry_after=problem.retry_after or later)


def otlp_told(path: str, error: Exception) -> Problem:
    """`calls.told` for these doors: the same is logged, another status is told."""
    told(path, error)
    if isinstance(error, errors.FrozenError):
        LOGGER.warning("%s: %s", path, error)
    return otlp_problem(error)


def status_answer(problem: Problem, content_type: bytes, *extra: tuple[bytes, bytes]) -> Response:
    """The answer that tells a problem over HTTP: a google.rpc.Status in the request's own encoding."""
    body = rich_status(problem) if content_type == PROTOBUF else _status_json(problem)
    return framed_problem(problem, content_type, body, *extra)


def _status_json(problem: Problem) -> bytes:
    """A google.rpc.Status as protobuf's JSON mapping has it."""
    base = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [
        {"@type": f"{base}ErrorInfo", "reason": problem.reason, "domain": DOMAIN}
    ]
    if problem.field is not None:
        violation = {"field": problem.field, "description": problem.message}
        details.append({"@type": f"{base}BadRequest", "fieldViolations": [violation]})
    if problem.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(problem.retry_after * 1e9))
        details.append({"@type": f"{base}RetryInfo", "retryDelay": delay.ToJsonString()})
    return msgspec.json.encode({"code": int(problem.code), "message": problem.message, "details": details})


__all__ = ["JSON", "PROTOBUF", "otlp_problem", "otlp_told", "status_answer"]
