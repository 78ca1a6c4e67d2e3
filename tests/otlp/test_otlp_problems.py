"""What a sender is told: nothing that a Collector throws away for, unless no later attempt could mend it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from merklelog import errors
from merklelog.errors import FormatError, MerklelogError
from merklelog.servers.grpc_wire import CallError
from merklelog.servers.otlp_encodings import DECODERS
from merklelog.servers.otlp_problems import JSON, PROTOBUF, otlp_problem, status_answer
from merklelog.servers.problems import TABLE, Code

# By the exporters of the Collector: gRPC's codes that are tried again, and HTTP's.
RETRIED = {"CANCELLED", "DEADLINE_EXCEEDED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS", "RESOURCE_EXHAUSTED"}
RETRIED_HTTP = {429, 502, 503, 504}
FOR_GOOD = (
    errors.UnauthenticatedError,
    errors.ForbiddenError,
    errors.FieldError,
    errors.EntryError,
    errors.FormatError,
)


def made(kind: type[MerklelogError]) -> MerklelogError:
    return kind("field", "why") if kind is errors.FieldError else kind("why")


@pytest.mark.parametrize("kind", sorted({row.error for row in TABLE}, key=lambda each: each.__name__))
def test_only_what_no_later_attempt_mends_is_for_good(kind: type[MerklelogError]) -> None:
    problem = otlp_problem(made(kind))
    kept = problem.code.name in RETRIED and problem.http in RETRIED_HTTP
    assert kept is not issubclass(kind, FOR_GOOD)
    assert not kept or problem.retry_after
    assert problem.code not in (Code.INTERNAL, Code.DATA_LOSS)


@pytest.mark.parametrize("error", [ZeroDivisionError(), MemoryError(), RecursionError(), MerklelogError("x")])
def test_what_nobody_foresaw_may_pass(error: Exception) -> None:
    problem = otlp_problem(error)
    assert (problem.code, problem.http) == (Code.UNAVAILABLE, 503)
    assert problem.retry_after


def test_both_encodings_say_the_same() -> None:
    problem = otlp_problem(errors.OverloadedError("too much waits", 2.5))
    answers = {kind: status_answer(problem, kind) for kind in (PROTOBUF, JSON)}
    for kind, answer in answers.items():
        headers = dict(answer.headers)
        assert (answer.status, headers[b"retry-after"], headers[b"content-type"]) == (429, b"3", kind)
    status = Status.FromString(answers[PROTOBUF].body)
    retry = RetryInfo()
    assert any(each.Unpack(retry) for each in status.details)
    assert retry.retry_delay.ToMilliseconds() == 2_500
    told = json.loads(answers[JSON].body)
    assert (told["code"], told["message"]) == (status.code, status.message)
    assert told["details"][-1] == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "2.500s",
    }


def stream(data: bytes) -> bytes:
    """zstd that does not say how long it is."""
    engine = zstandard.ZstdCompressor().compressobj()
    return engine.compress(data) + engine.flush()


PACK: dict[bytes, list[Callable[[bytes], bytes]]] = {
    b"gzip": [gzip.compress],
    b"zstd": [zstandard.ZstdCompressor().compress, stream],
}
each_packing = pytest.mark.parametrize(
    ("name", "pack"), [(name, pack) for name, packs in PACK.items() for pack in packs]
)


@each_packing
@given(data=st.binary(max_size=3_000))
def test_decoded_is_what_was_encoded(name: bytes, pack: Callable[[bytes], bytes], data: bytes) -> None:
    assert DECODERS[name](pack(data), len(data)) == data
    assert DECODERS[name](pack(data), 1 << 20) == data


@each_packing
def test_no_bomb_is_unpacked(name: bytes, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CallError, match="takes at most 1,000"):
        DECODERS[name](pack(bytes(100 << 20)), 1_000)


@each_packing
@given(garbage=st.binary(min_size=1, max_size=40), at=st.integers(0, 50))
def test_anything_else_is_refused(
    name: bytes, pack: Callable[[bytes], bytes], garbage: bytes, at: int
) -> None:
    """Never another error, and never a part for the whole."""
    good = pack(b"some text, long enough to have a middle" * 20)
    for bad in (good[:-1], good[: len(good) // 2], good + garbage, good + good, b""):
        with pytest.raises(FormatError):
            DECODERS[name](bad, 1 << 20)
    try:
        DECODERS[name](good[:at] + garbage + good[at:], 1 << 20)
    except (FormatError, CallError):
        return
