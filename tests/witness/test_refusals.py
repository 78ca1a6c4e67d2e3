"""Every status that the specification of witnesses names, and the published steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from merklelog.formats import (
    Checkpoint,
    SignatureType,
    SigningKey,
    format_vkey,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    verify_note,
)
from merklelog.formats.note import format_signature_line
from merklelog.formats.witness import SIZE_TYPE, format_add_checkpoint, parse_cosignatures
from merklelog.tree import Hash, TreeSize
from merklelog.witness.answer import Answer
from merklelog.witness.create import create_witness
from merklelog.witness.service import Witness
from tests.witness.support import NAME, GrownLog, make_witness, signed

STEPS = json.loads((Path(__file__).parents[1] / "vectors/witness/add_checkpoint_steps.json").read_text())
LOG = GrownLog()
OTHER = GrownLog(salt="other", fork=3)
Opened = Callable[..., Witness]


def add(witness: Witness, *bodies: bytes) -> list[Answer]:
    """The answers to these requests, one after the other."""

    async def asking() -> list[Answer]:
        return [await witness.add_checkpoint(body, "127.0.0.1") for body in bodies]

    return asyncio.run(asking())


@pytest.fixture
def witness(tmp_path: Path, opened: Opened) -> Witness:
    make_witness(tmp_path / "w", LOG)
    return opened(tmp_path / "w")


def test_the_published_steps(tmp_path: Path, opened: Opened) -> None:
    create_witness(tmp_path / "w", "example.com/witness", logs=[parse_vkey(STEPS["log_vkey"])])
    witness = opened(tmp_path / "w")
    for number, step in enumerate(STEPS["steps"]):
        (answer,) = add(witness, step["body"].encode())
        assert answer.status == step["status"], (number, answer)
        assertion = step["body_assertion"]
        kind, _, value = assertion.partition(' "')
        value = json.loads(f'"{value}') if value else ""
        body = answer.body.decode()
        assert value in body if kind == "body contains" else not assertion or body == value, (number, body)


def test_a_cosignature_is_of_both_keys_over_the_checkpoint_at_this_time(
    tmp_path: Path, opened: Opened
) -> None:
    vkeys = make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w", now=lambda: 1_700_000_000.9)
    (answer,) = add(witness, LOG.request(0, 5))
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    lines = parse_cosignatures(answer.body)
    assert [line.name for line in lines] == [NAME, NAME]
    note = parse_note(LOG.note(5) + answer.body)
    verified = verify_note(note, vkeys)
    assert [(each.key, each.timestamp) for each in verified] == [(key, 1_700_000_000) for key in vkeys]
    assert [key.type.value for key in vkeys] == [0x04, 0x06]


def test_growth_in_many_steps_and_the_same_size_again(witness: Witness) -> None:
    sizes = [0, 0, 1, 2, 3, 3, 8, 21, 64, 65]
    answers = add(witness, *[LOG.request(old, new) for old, new in pairwise(sizes)])
    assert [answer.status for answer in answers] == [200] * len(answers)
    assert witness.state.record_of(LOG.origin).size == 65


def case(name: str, body: bytes, status: int, says: str) -> object:
    return pytest.param(body, status, says, id=name)


def tree(log: GrownLog, size: int, root: bytes) -> bytes:
    return signed(Checkpoint(log.origin, TreeSize(size), Hash(root)), [log.key])


STRANGER = SigningKey(LOG.origin, SignatureType.ED25519, b"\x31" * 32)
# Signature lines of size 8, under the text of size 7.
WRONG = LOG.note(8).partition(b"\n\n")[2]
UNSIGNED = LOG.note(7).partition(b"\n\n")[0] + b"\n\n"
PROOF = LOG.proof(3, 7)

# Each is asked of a witness that has cosigned size 3.
CASES = [
    case("not a request", b"hello\n", 400, "empty line"),
    case("no body", b"", 400, "empty line"),
    case("old size with a zero before", LOG.request(3, 7).replace(b"old 3", b"old 03"), 400, "decimal"),
    case(
        "too many lines",
        LOG.request(3, 7).replace(b"old 3\n", b"old 3\n" + 60 * (b"A" * 43 + b"=\n")),
        400,
        "64",
    ),
    case("old larger than new", format_add_checkpoint(8, [], LOG.note(7)), 400, "larger"),
    case("unknown log", GrownLog("nobody.example/log").request(0, 7), 404, "unknown log"),
    case(
        "key of a stranger",
        format_add_checkpoint(3, PROOF, LOG.note(7, [STRANGER])),
        403,
        "invalid signature",
    ),
    case("wrong signature", format_add_checkpoint(3, PROOF, UNSIGNED + WRONG), 403, "invalid signature"),
    case("signature that is no base64", LOG.request(3, 7)[:-3] + b"=!\n", 403, "invalid signature"),
    case(
        "a good signature, and a wrong one of the same key",
        LOG.request(3, 7) + WRONG,
        403,
        "invalid signature",
    ),
    case("conflict: smaller", LOG.request(2, 7), 409, ""),
    case("conflict: larger", LOG.request(5, 7), 409, ""),
    case("conflict: zero", LOG.request(0, 7), 409, ""),
    case("conflict before anything about the proof", format_add_checkpoint(2, [], LOG.note(7)), 409, ""),
    case("no proof", format_add_checkpoint(3, [], LOG.note(7)), 422, "consistency proof"),
    case(
        "proof too long", format_add_checkpoint(3, [*PROOF, PROOF[0]], LOG.note(7)), 422, "consistency proof"
    ),
    case(
        "proof in another order", format_add_checkpoint(3, PROOF[::-1], LOG.note(7)), 422, "consistency proof"
    ),
    case("another growth from the same tree", OTHER.request(3, 7), 200, ""),
    case(
        "the same size and a proof",
        format_add_checkpoint(3, [PROOF[0]], LOG.note(3)),
        422,
        "consistency proof",
    ),
    case("another root of the same size", format_add_checkpoint(3, [], tree(LOG, 3, b"x" * 32)), 422, "root"),
]


@pytest.mark.parametrize(("body", "status", "says"), CASES)
def test_what_a_witness_answers(witness: Witness, body: bytes, status: int, says: str) -> None:
    first, answer, after = add(witness, LOG.request(0, 3), body, LOG.request(3, 3))
    assert first.status == 200
    assert (answer.status, says in answer.body.decode()) == (status, True), answer
    if status == 409:
        assert (answer.body, answer.content_type) == (b"3\n", SIZE_TYPE) == (b"3\n", "text/x.tlog.size")
    if status != 200:
        assert after.status == 200, "a refusal changed what is recorded"


def test_of_a_log_never_cosigned(witness: Witness) -> None:
    bodies = [
        format_add_checkpoint(0, PROOF, LOG.note(7)),
        LOG.request(3, 7),
        format_add_checkpoint(0, [], tree(LOG, 0, b"x" * 32)),
        format_add_checkpoint(0, [PROOF[0]], LOG.note(0)),
        LOG.request(0, 0),
        LOG.request(0, 7),
    ]
    answers = add(witness, *bodies)
    assert [answer.status for answer in answers] == [422, 409, 422, 422, 200, 200]
    assert answers[1].body == b"0\n"


def test_an_equivocation_is_kept_as_evidence(tmp_path: Path, witness: Witness) -> None:
    fork = GrownLog(salt="fork")
    answers = add(witness, LOG.request(0, 5), *[format_add_checkpoint(5, [], fork.note(5))] * 2)
    assert [answer.status for answer in answers] == [200, 422, 422]
    assert witness.equivocations == 2
    (file,) = (tmp_path / "w" / "evidence").iterdir()
    first, second = file.read_bytes().split(b"\n--- and, as signed by the same log ---\n\n")
    for note, log in ((first, LOG), (second, fork)):
        found = parse_checkpoint(note)
        assert found.checkpoint == log.checkpoint(5)
        verify_note(found.note, [LOG.key.verifier])


def test_lines_of_other_keys_are_neither_verified_nor_kept(witness: Witness) -> None:
    note = LOG.note(7, [LOG.key, STRANGER, LOG.mldsa])
    (answer,) = add(witness, format_add_checkpoint(0, [], note))
    assert answer.status == 200
    shown = witness.state.note_of(LOG.origin)
    assert shown is not None
    names = [(line.name, line.key_id) for line in parse_note(shown).signatures]
    want = [LOG.key.verifier, *witness.verifiers]
    assert names == [(key.name, key.key_id) for key in want]


def test_a_log_known_by_its_mldsa_key(tmp_path: Path, opened: Opened) -> None:
    create_witness(tmp_path / "w", NAME, logs=[LOG.mldsa.verifier])
    witness = opened(tmp_path / "w")
    bodies = [LOG.request(0, 4), format_add_checkpoint(0, [], LOG.note(4, [LOG.mldsa]))]
    assert [answer.status for answer in add(witness, *bodies)] == [403, 200]


def test_a_log_whose_policy_wants_another_witness_first(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w")
    first = SigningKey("first.example/w", SignatureType.COSIGNATURE_ED25519, b"\x41" * 32)
    policy = f"log {format_vkey(LOG.key.verifier)}\nwitness w1 {format_vkey(first.verifier)}\nquorum w1\n"
    (tmp_path / "w" / "logs" / "careful.policy").write_text(policy)
    witness = opened(tmp_path / "w")
    line = format_signature_line(sign_checkpoint(LOG.checkpoint(4), first, 1_700_000_000))
    answers = add(witness, LOG.request(0, 4), LOG.request(0, 4) + line)
    assert [answer.status for answer in answers] == [403, 200]


def test_a_clock_before_1970_signs_nothing(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w", now=lambda: 0.5)
    (answer,) = add(witness, LOG.request(0, 4))
    assert (answer.status, answer.retry_after) == (503, 60.0)
    assert witness.state.record_of(LOG.origin).size == 0


def test_a_client_that_asks_too_often_waits_and_others_do_not(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    clock = [100.0]
    witness = opened(tmp_path / "w", options={"witness_server.rate": "2"}, steady=lambda: clock[0])
    body = LOG.request(0, 0)
    answers = add(witness, *[body] * 5)
    assert [answer.status for answer in answers] == [200] * 4 + [429]
    assert answers[-1].retry_after == pytest.approx(0.5)

    async def other() -> Answer:
        return await witness.add_checkpoint(body, "192.0.2.7")

    assert asyncio.run(other()).status == 200
    clock[0] += 0.5
    assert [answer.status for answer in add(witness, body, body)] == [200, 429]
