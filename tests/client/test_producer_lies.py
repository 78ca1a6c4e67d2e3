"""A producer and logs that lie: each is caught and believed no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from merklelog import Log
from merklelog.client.producer import Producer
from merklelog.client.producer_transport import Answer
from merklelog.client.trust import Trust, policy_of
from merklelog.errors import (
    ForkError,
    FormatError,
    MerklelogError,
    ProofError,
    SignatureError,
    StaleError,
)
from merklelog.formats import (
    SignatureType,
    generate_signing_key,
    parse_checkpoint,
)
from merklelog.tree import Hash
from tests.client.producer_door import (
    QUICK,
    SECONDS,
    SUPPORT,
    Door,
    entries,
    producer,
)


class Liar(Door):
    """A door that changes what the log says from the third answer on."""

    def __init__(self, log: Log, lie: Callable[[Liar, Answer], Answer]) -> None:
        super().__init__(log)
        self.lie = lie
        self.told = 0
        self.first: Answer | None = None
        self.proof: Callable[[Sequence[Hash]], Sequence[Hash]] = lambda proof: proof

    def said(self, answer: Answer) -> Answer:
        self.told += 1
        self.first = self.first or answer
        return answer if self.told < 3 else self.lie(self, answer)

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        return self.proof(await super().range_proof(start, end, size, root, seconds))

    async def consistency(self, old: int, new: int, root: Hash, seconds: float) -> Sequence[Hash]:
        return self.proof(await super().consistency(old, new, root, seconds))


def lied(answer: Answer, **changed: Any) -> Answer:
    return replace(answer, **changed)


def other_root(liar: Liar, answer: Answer) -> Answer:
    """A note by the log's own key over another tree of that size."""
    return lied(answer, note=forged(answer.size))


def forged(size: int, root: bytes = b"\x07" * 32) -> bytes:
    """A note with the log's own signature."""
    note: bytes = SUPPORT.SIGNERS.sign(size, Hash(root), both=False)
    return note


LIES: list[tuple[str, Callable[[Liar, Answer], Answer], type[MerklelogError], str]] = [
    ("another root", other_root, ProofError, "got root"),
    ("the first note again", lambda liar, answer: liar.first or answer, StaleError, "verified already"),
    (
        "an old note for the new size",
        lambda liar, a: lied(a, note=(liar.first or a).note),
        ProofError,
        "size",
    ),
    (
        "a wrong index",
        lambda liar, a: lied(a, indexes=range(a.indexes[0] - 1, a.indexes[-1])),
        ProofError,
        "root",
    ),
    ("an index beyond", lambda liar, a: lied(a, indexes=range(a.size, a.size + 1)), ProofError, "index"),
    ("an enormous index", lambda liar, a: lied(a, indexes=range(2**64, 2**64 + 1)), ProofError, "index"),
    ("too few indexes", lambda liar, a: lied(a, indexes=range(0)), ProofError, "0 indexes"),
    ("another size", lambda liar, a: lied(a, size=a.size + 1), ProofError, "signed note of size"),
    ("a note cut short", lambda liar, a: lied(a, note=a.note[:-20]), FormatError, ""),
    ("no note", lambda liar, a: lied(a, note=b""), FormatError, ""),
    (
        "a signature changed",
        lambda liar, a: lied(a, note=resigned(a.note)),
        SignatureError,
        "",
    ),
]


def resigned(note: bytes) -> bytes:
    """The note with one letter of its signatures changed."""
    text, signatures = note.split(b"\n\n")
    lines = signatures.split(b"\n")
    name = lines[0].rsplit(b" ", 1)
    value = name[1]
    other = b"B" if value[40:41] != b"B" else b"C"
    lines[0] = name[0] + b" " + value[:40] + other + value[41:]
    return text + b"\n\n" + b"\n".join(lines)


@pytest.mark.parametrize(("lie", "error", "match"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_log_that_lies_is_caught_and_believed_no_more(
    log: Log, lie: Callable[[Liar, Answer], Answer], error: type[MerklelogError], match: str
) -> None:
    liar = Liar(log, lie)
    to = producer(liar, replace(QUICK, max_batch_entries=1))
    to.send(b"a").result(SECONDS)
    to.send(b"b").result(SECONDS)
    caught = to.send(b"c").exception(SECONDS)
    assert isinstance(caught, error)
    assert match in str(caught)
    with pytest.raises(error):
        to.send(b"d")
    with pytest.raises(error):
        to.close()
    assert to.head is not None
    assert to.head.size == 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cut", lambda proof: proof[:-1]),
        ("longer", lambda proof: [*proof, proof[0]]),
        ("swapped", lambda proof: [proof[-1], *proof[1:-1], proof[0]]),
        ("a byte changed", lambda proof: [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]),
        ("a hash too short", lambda proof: [proof[0][:-1], *proof[1:]]),
    ],
)
def test_a_proof_that_does_not_hold_is_caught(log: Log, name: str, change: Any) -> None:
    liar = Liar(log, lambda liar, answer: answer)
    log.append_batch(entries(5))
    to = producer(liar)
    to.send(b"a").result(SECONDS)
    log.append_batch(entries(6))
    liar.proof = change
    with pytest.raises(ProofError):
        to.send(b"b").result(SECONDS)
    with pytest.raises(ProofError):
        to.close()


@pytest.mark.parametrize(
    ("there", "size"),
    [
        pytest.param([b"other"], 2, id="as long as the first"),
        pytest.param([b"other", *entries(8)], 10, id="longer"),
        pytest.param([b"b"], 1, id="not longer, as it has the entry"),
    ],
)
def test_a_fork_is_caught_with_both_notes(logs: Callable[..., Log], there: list[bytes], size: int) -> None:
    """Behind the door another log of the same keys comes to stand, with proofs of its own that all hold."""
    log, fork = logs(dedupe=True), logs(dedupe=True)
    door = Door(log)
    to = producer(door)
    seen = to.send(b"a").result(SECONDS)
    fork.append_batch(there)
    door.log = fork
    caught = to.send(b"b").exception(SECONDS)
    assert isinstance(caught, ForkError)
    assert caught.first == seen.checkpoint
    assert parse_checkpoint(caught.second).checkpoint.size == size
    with pytest.raises(ForkError) as raised:
        to.close()
    assert (raised.value.first, raised.value.second) == (caught.first, caught.second)


def test_a_trust_that_lists_other_keys_believes_nothing(log: Log) -> None:
    stranger = generate_signing_key(log.origin, SignatureType.ED25519).verifier
    to = Producer(Door(log).connect, Trust(policy_of(stranger)), QUICK)
    with pytest.raises(SignatureError):
        to.send(b"a").result(SECONDS)
    with pytest.raises(SignatureError):
        to.close()
