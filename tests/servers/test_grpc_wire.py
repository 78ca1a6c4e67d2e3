"""gRPC's wire as bytes and values: frames cut anyhow, timeouts, statuses."""

from __future__ import annotations

import gzip
import struct
import zlib
from contextlib import suppress
from itertools import pairwise
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, MerklelogError, OverloadedError
from merklelog.servers.calls import Admission, GrpcLimits
from merklelog.servers.grpc_wire import (
    CallError,
    Frames,
    check_encoding,
    frame,
    gunzip,
    parse_timeout,
    percent_encoded,
    whole,
)
from merklelog.servers.problems import Code

MOST = 100


def frames(
    most: int = MOST, encoding: bytes = b"identity", unread: int = 1 << 20
) -> tuple[Frames, Admission]:
    admission = Admission(GrpcLimits(max_unread_bytes=unread))
    return Frames(admission, most, check_encoding(encoding)), admission


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def taken(found: Frames, parts: list[bytes]) -> list[bytes]:
    messages = []
    for part in parts:
        found.feed(part)
        while (data := found.take()) is not None:
            messages.append(data)
    found.end()
    return messages


@given(st.lists(st.binary(max_size=MOST)), st.lists(st.integers(0, 1_000)))
def test_messages_come_out_as_they_went_in_however_they_were_cut(
    sent: list[bytes], places: list[int]
) -> None:
    found, admission = frames()
    assert taken(found, cut(b"".join(map(frame, sent)), places)) == sent
    found.close()
    assert admission.unread == 0


@given(st.lists(st.binary(max_size=MOST), max_size=4), st.lists(st.integers(0, 300)))
def test_compressed_ones_too(sent: list[bytes], places: list[int]) -> None:
    found, _ = frames(encoding=b"gzip")
    packed = [gzip.compress(data) for data in sent]
    wire = b"".join(struct.pack(">BI", 1, len(data)) + data for data in packed)
    if all(len(data) <= MOST for data in packed):
        assert taken(found, cut(wire, places)) == sent


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)), st.sampled_from([b"identity", b"gzip"]))
def test_garbage_raises_nothing_else(data: bytes, places: list[int], encoding: bytes) -> None:
    found, admission = frames(encoding=encoding)
    with suppress(MerklelogError, CallError):  # either is told to the caller
        taken(found, cut(data, places))
    found.close()
    assert admission.unread == 0


def raised(data: bytes, encoding: bytes = b"gzip", most: int = MOST) -> Exception:
    found, _ = frames(most, encoding)
    with pytest.raises((MerklelogError, CallError)) as caught:
        taken(found, [data])
    return caught.value


def packed(data: bytes) -> bytes:
    return struct.pack(">BI", 1, len(data)) + data


def test_what_is_wrong_with_a_frame_is_said() -> None:
    bomb = gzip.compress(bytes(10 << 20))
    for data, code in (
        (packed(bomb), Code.RESOURCE_EXHAUSTED),
        (packed(gzip.compress(bytes(1_001))), Code.RESOURCE_EXHAUSTED),
        (frame(bytes(20_001)), Code.RESOURCE_EXHAUSTED),
        (struct.pack(">BI", 0, 2**32 - 1), Code.RESOURCE_EXHAUSTED),
    ):
        error = raised(data, most=1_000 if len(data) < 1_000 else 20_000)
        assert isinstance(error, CallError)
        assert error.problem.code is code
        assert error.problem.retry_after is None, "to send it again would not help"
    for data in (
        packed(b"no gzip"),
        packed(gzip.compress(b"a")[:-1]),
        packed(gzip.compress(b"a") + b"b"),
        packed(gzip.compress(b"a") * 2),
        packed(zlib.compress(b"a")),
        b"\x02" + frame(b"a")[1:],
        frame(b"abc")[:-1],
        b"\0\0",
    ):
        assert isinstance(raised(data), FormatError)
    error = raised(packed(gzip.compress(b"a")), b"identity")
    assert isinstance(error, CallError)
    assert error.problem.code is Code.INTERNAL, "doc/compression.md"


def test_what_waits_for_its_end_is_counted_and_let_go_of() -> None:
    found, admission = frames(unread=50)
    found.feed(frame(bytes(30))[:20])
    other = Frames(admission, MOST, None)
    with pytest.raises(OverloadedError):
        other.feed(bytes(31))
    other.feed(bytes(30))
    found.close()
    other.close()
    assert admission.unread == 0


@given(st.binary(max_size=30))
def test_a_whole_message_is_known(data: bytes) -> None:
    assert whole(frame(data))
    assert not whole(frame(data) + b"x")
    assert not whole(frame(data)[:-1])
    assert not whole(b"\1" + frame(data)[1:])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9), (b"0n", 0)],
)
def test_a_timeout_has_a_unit(text: bytes, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


def test_a_timeout_beyond_all_measure_is_a_long_one() -> None:
    assert parse_timeout(b"99999999H") == 30 * 86_400


@given(st.binary(max_size=12))
def test_no_other_timeout_is_taken(text: bytes) -> None:
    good = text[-1:] in list(map(bytes, zip(b"HMSmun", strict=True))) and 2 <= len(text) <= 9
    if good and all(48 <= each <= 57 for each in text[:-1]):
        parse_timeout(text)
    else:
        with pytest.raises(FormatError):
            parse_timeout(text)


@given(st.text())
def test_a_message_travels_in_printable_ascii(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    sent = percent_encoded(text)
    assert all(0x20 <= each <= 0x7E for each in sent)
    assert unquote(sent.decode()) == text


def test_encodings() -> None:
    assert [check_encoding(each) for each in (b"gzip", b"identity")] == [gunzip, None]
    with pytest.raises(CallError) as caught:
        check_encoding(b"snappy")
    assert caught.value.problem.code is Code.UNIMPLEMENTED
