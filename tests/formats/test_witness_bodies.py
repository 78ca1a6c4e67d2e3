"""The bodies of add-checkpoint: every request that can be written reads back, and nothing else is read."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, MerklelogError
from merklelog.formats import NoteSignature
from merklelog.formats.witness import (
    MAX_PROOF_LINES,
    MAX_REQUEST_BYTES,
    checkpoint_path,
    format_add_checkpoint,
    format_cosignatures,
    format_size,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_size,
)
from tests.witness.support import GrownLog

LOG = GrownLog()
GOOD = LOG.request(3, 7)
HASH = st.binary(min_size=32, max_size=32)


@given(st.integers(0, 2**63 - 1), st.lists(HASH, max_size=MAX_PROOF_LINES))
def test_a_request_reads_back(old: int, proof: list[bytes]) -> None:
    data = format_add_checkpoint(old, proof, LOG.note(7))
    request = parse_add_checkpoint(data)
    assert (request.old, list(request.proof), request.note) == (old, proof, LOG.note(7))
    assert request.checkpoint == LOG.checkpoint(7)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"old 3\n", b"", "want 'old' and a size"),
        (b"old 3\n", b"old 03\n", "decimal"),
        (b"old 3\n", b"old  3\n", "decimal"),
        (b"old 3\n", b"old +3\n", "decimal"),
        (b"old 3\n", b"old 3 \n", "decimal"),
        (b"old 3\n", b"old\n", "want 'old' and a size"),
        (b"old 3\n", b"Old 3\n", "want 'old' and a size"),
        (b"old 3\n", b"old 9223372036854775808\n", "at most"),
        (b"old 3\n", b"old 3\r\n", "decimal"),
        (b"old 3\n", b"old 3\n" + 60 * (b"A" * 43 + b"=\n"), "64 proof lines, want at most 63"),
        (b"old 3\n", b"old 3\nAAAA\n", "got 3 bytes, want 32"),
        (b"old 3\n", b"old 3\n" + b"A" * 42 + b"B=\n", "canonical base64"),
        (b"grown.example/log\n7\n", b"grown.example/log\n07\n", "checkpoint size"),
        (b"grown.example/log\n7\n", b"grown.example/log\n", "checkpoint"),
        (b"grown.example/log\n7\n", b"\xff\n7\n", "not UTF-8"),
        (b"\n\n", b"\n", "empty line"),
    ],
)
def test_what_breaks_the_format_is_refused(old: bytes, new: bytes, says: str) -> None:
    assert old in GOOD
    with pytest.raises(FormatError, match=says):
        parse_add_checkpoint(GOOD.replace(old, new))


def test_a_checkpoint_without_the_empty_line_before_signatures_is_refused() -> None:
    head, _, note = GOOD.partition(b"\n\n")
    with pytest.raises(FormatError, match="between the checkpoint and its signatures"):
        parse_add_checkpoint(head + b"\n\n" + note.partition(b"\n\n")[0] + b"\n")


def test_a_long_request_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(FormatError, match=f"at most {MAX_REQUEST_BYTES}"):
        parse_add_checkpoint(GOOD + b"x" * MAX_REQUEST_BYTES)
    with pytest.raises(FormatError, match="at most 10"):
        parse_add_checkpoint(GOOD, max_bytes=10)


@given(st.binary(max_size=300))
def test_garbage_raises_our_own_errors_only(data: bytes) -> None:
    for parse in (parse_add_checkpoint, parse_cosignatures, parse_size):
        try:
            parse(data)
        except MerklelogError:
            continue


@given(st.data())
def test_a_request_with_one_byte_changed_reads_back_or_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    changed = GOOD[:at] + bytes([data.draw(st.integers(0, 255))]) + GOOD[at + 1 :]
    try:
        request = parse_add_checkpoint(changed)
    except FormatError:
        return
    head = b"old %d\n" % request.old + b"".join(changed.partition(b"\n\n")[0].partition(b"\n")[1:])[1:]
    assert changed.startswith(head)
    assert changed.endswith(b"\n\n" + request.note)


def test_a_request_that_would_not_be_read_is_not_written() -> None:
    for old, proof, note in (
        (-1, [], LOG.note(7)),
        (2**63, [], LOG.note(7)),
        (3, [b"x"], LOG.note(7)),
        (3, [b"x" * 32] * 64, LOG.note(7)),
        (3, [], b"no note"),
    ):
        with pytest.raises(FormatError):
            format_add_checkpoint(old, proof, note)


def test_cosignatures_read_back() -> None:
    lines = (NoteSignature("w/1", b"abcd", b"x" * 72), NoteSignature("w/2", b"abce", b"y" * 2428))
    assert parse_cosignatures(format_cosignatures(lines)) == lines
    for data in (b"", b"\n", format_cosignatures(lines)[:-1], b"x\n", format_cosignatures(lines) + b"\n"):
        with pytest.raises(FormatError):
            parse_cosignatures(data)
    with pytest.raises(FormatError, match="there is none"):
        format_cosignatures(())


def test_sizes_read_back() -> None:
    assert format_size(7) == b"7\n"
    assert parse_size(b"0\n") == 0
    for data in (b"", b"7", b"07\n", b"7\n\n", b" 7\n", b"7 \n", b"-1\n", b"9223372036854775808\n"):
        with pytest.raises(FormatError):
            parse_size(data)


def test_a_logs_place_is_the_hash_of_its_origin() -> None:
    want = hashlib.sha256(b"grown.example/log").hexdigest()
    assert checkpoint_path("grown.example/log") == f"/{want}/checkpoint"
