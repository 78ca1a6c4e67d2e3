"""A problem as google.rpc.Status, the details that gRPC clients of every language can read.

ErrorInfo carries the stable reason (domain "merklelog"), BadRequest the field that was wrong, RetryInfo how long
to wait. Source: google/rpc/error_details.proto; the bytes travel in the trailer `grpc-status-details-bin`.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from .problems import Problem

DOMAIN: Final = "merklelog"
TRAILER: Final = "grpc-status-details-bin"


def rich_status(problem: Problem) -> bytes:
    """The serialized google.rpc.Status of a problem."""
    details: list[Message] = [ErrorInfo(reason=problem.reason, domain=DOMAIN)]
    if problem.field is not None:
        violation = BadRequest.FieldViolation(field=problem.field, description=problem.message)
        details.append(BadRequest(field_violations=[violation]))
    if problem.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(problem.retry_after * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    status = Status(code=problem.code, message=problem.message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())
