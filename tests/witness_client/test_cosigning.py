"""What answers of witnesses mean, who is enough to start, and the note that a policy takes."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.formats import Policy, SignatureType, SigningKey, format_vkey, parse_checkpoint, parse_policy
from merklelog.formats.checkpoint import sign_checkpoint
from merklelog.formats.note import NoteSignature
from merklelog.formats.witness import SIZE_TYPE, format_cosignatures, format_size
from merklelog.protocol.cosigning import (
    Means,
    can_be_met,
    line_names,
    peers,
    understand,
    unreached,
    with_cosignatures,
)
from merklelog.protocol.verdict import evaluate_policy, is_quorum
from tests.witness.support import GrownLog
from tests.witness_client.faulty import key

LOG = GrownLog()
NOW = int(time.time())
TEXT = "text/plain"


def policy(keys: list[SigningKey], quorum: str, *, urls: bool = True) -> Policy:
    lines = [f"log {format_vkey(LOG.key.verifier)}"]
    for number, each in enumerate(keys):
        url = f" http://127.0.0.1:{7000 + number}/" if urls else ""
        lines.append(f"witness w{number} {format_vkey(each.verifier)}{url}")
    return parse_policy("\n".join([*lines, quorum, ""]).encode())


KEYS = [key(0), key(1), key(2, SignatureType.COSIGNATURE_MLDSA44)]
TWO = policy(KEYS, "group q 2 w0 w1 w2\nquorum q")
PEER = peers(TWO)[0]
SIGNED = parse_checkpoint(LOG.note(8))


def cosigned(number: int, at: int = NOW) -> bytes:
    return format_cosignatures([sign_checkpoint(LOG.checkpoint(8), KEYS[number], at)])


@pytest.mark.parametrize(
    ("status", "kind", "body", "old", "means"),
    [
        (200, TEXT, cosigned(0), 5, Means.COSIGNED),
        (200, TEXT, cosigned(0) + cosigned(1), 5, Means.COSIGNED),
        (200, TEXT, cosigned(1), 5, Means.REFUSED),  # another witness' key
        (200, TEXT, cosigned(0, 0), 5, Means.REFUSED),  # without a time
        (200, TEXT, b"", 5, Means.REFUSED),
        (200, TEXT, b"\xff\n", 5, Means.REFUSED),
        (200, TEXT, b"x" * (1 << 20), 5, Means.REFUSED),
        (409, SIZE_TYPE, format_size(3), 5, Means.OTHER_SIZE),
        (409, SIZE_TYPE + "; charset=utf-8", format_size(3), 5, Means.OTHER_SIZE),
        (409, SIZE_TYPE, format_size(9), 5, Means.AHEAD),
        (409, SIZE_TYPE, format_size(9), 8, Means.AHEAD),
        (409, SIZE_TYPE, format_size(8), 8, Means.FORKED),  # as large, and yet not the same
        (409, SIZE_TYPE, format_size(8), 5, Means.OTHER_SIZE),  # another request of ours came first
        (409, SIZE_TYPE, format_size(5), 5, Means.REFUSED),  # what it was asked from
        (409, TEXT, format_size(3), 5, Means.REFUSED),
        (409, SIZE_TYPE, b"+3\n", 5, Means.REFUSED),
        (409, SIZE_TYPE, b"3", 5, Means.REFUSED),
        (422, TEXT, b"no", 5, Means.FORKED),
        *[(status, TEXT, b"", 5, Means.LATER) for status in (408, 429, 500, 502, 503, 504)],
        *[(status, TEXT, b"", 5, Means.REFUSED) for status in (301, 400, 401, 403, 404, 405, 413)],
    ],
)
def test_an_answer_is_understood(status: int, kind: str, body: bytes, old: int, means: Means) -> None:
    reply = understand(PEER, SIGNED, old, status, kind, body)
    assert reply.means is means
    assert bool(reply.message) == (means is not Means.COSIGNED)
    if means is Means.COSIGNED:
        assert [line.name for line in reply.lines] == ["w0.example/w"]


def test_a_wrong_signature_of_its_own_key_is_refused() -> None:
    other = format_cosignatures([sign_checkpoint(LOG.checkpoint(7), KEYS[0], NOW)])
    reply = understand(PEER, SIGNED, 5, 200, TEXT, other)
    assert reply.means is Means.REFUSED
    assert "w0.example/w" in reply.message


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_an_empty_tree_is_not_evidence_of_a_witness_that_has_no_more(status: int) -> None:
    """A proxy that is in front of it says 400 as well."""
    assert understand(PEER, parse_checkpoint(LOG.note(0)), 0, status, TEXT, b"").means is Means.REFUSED


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_lines_of_one_key_the_one_with_a_time_counts(order: int) -> None:
    """Both verify; the other one would make a note that meets no policy."""
    lines = [sign_checkpoint(LOG.checkpoint(8), KEYS[0], time) for time in (NOW, 0)][::order]
    reply = understand(PEER, SIGNED, 5, 200, TEXT, format_cosignatures(lines))
    assert reply.lines == (lines[0 if order == 1 else 1],)


def test_lines_of_one_url_are_one_witness() -> None:
    vkeys = [format_vkey(each.verifier) for each in KEYS]
    text = f"log {format_vkey(LOG.key.verifier)}\n" + "".join(
        f"witness w{n} {vkey} https://one.example/{'/' * (n == 1)}\n" for n, vkey in enumerate(vkeys)
    )
    found = peers(parse_policy((text + "quorum w0\n").encode()))
    assert [peer.name for peer in found] == ["w0, w1, w2"]
    assert found[0].url == "https://one.example"


@given(
    st.sets(st.integers(0, 2)),
    st.sampled_from(["quorum w0", "group q 2 w0 w1 w2\nquorum q", "group q any w1 w2\nquorum q"]),
)
def test_a_log_waits_exactly_while_those_away_could_be_a_quorum(reached: set[int], quorum: str) -> None:
    rules = policy(KEYS, quorum)
    there = [peer for n, peer in enumerate(peers(rules)) if n in reached]
    away = [peer for n, peer in enumerate(peers(rules)) if n not in reached]
    assert unreached(rules, there, away) == is_quorum(
        rules, [b"w%d" % n for n in range(3) if n not in reached]
    )


def test_a_quorum_of_witnesses_that_can_not_be_asked_is_none() -> None:
    assert can_be_met(TWO)
    assert not can_be_met(policy(KEYS, "quorum w0", urls=False))
    assert not can_be_met(policy(KEYS, "quorum none"))


@pytest.mark.parametrize("names", [each for n in range(4) for each in itertools.combinations(range(3), n)])
def test_a_note_is_made_exactly_when_it_meets_the_policy(names: tuple[int, ...]) -> None:
    lines: dict[bytes, NoteSignature] = {}
    for n in names:
        reply = understand(peers(TWO)[n], SIGNED, 5, 200, TEXT, cosigned(n))
        lines |= line_names(peers(TWO)[n], reply.lines)
    note = with_cosignatures(TWO, LOG.note(8), lines)
    assert (note is not None) == (len(names) >= 2)
    if note is not None:
        verdict = evaluate_policy(TWO, parse_checkpoint(note))
        assert [each.witness.name for each in verdict.cosigners] == [b"w%d" % n for n in names]


def test_a_note_has_room_for_a_quorum_of_many_witnesses() -> None:
    """A reader takes 16 signature lines: of 20 cosignatures those are left out that the quorum does without."""
    keys = [key(n) for n in range(20)]
    names = " ".join(f"w{n}" for n in range(19))
    rules = policy(keys, f"group some 3 {names}\ngroup q all some w19\nquorum q")
    lines = {b"w%d" % n: sign_checkpoint(LOG.checkpoint(8), each, NOW) for n, each in enumerate(keys)}
    note = with_cosignatures(rules, LOG.note(8), lines)
    assert note is not None
    found = parse_checkpoint(note)
    assert len(found.note.signatures) == 16
    assert b"w19" in {each.witness.name for each in evaluate_policy(rules, found).cosigners}
