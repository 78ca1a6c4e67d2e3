"""What a client concludes: proofs out of range proofs, the tree before an append, nothing from a wrong answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.client.appends import Appends
from merklelog.client.drive import drive
from merklelog.client.receipts import RangeProofs, SingleProofs, tree_before, tree_before_range
from merklelog.client.remote import batch_of, one
from merklelog.client.retry import Retry
from merklelog.client.steps import Logic
from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch
from merklelog.client.trust import Trust
from merklelog.errors import ForkError, MerklelogError, RangeError
from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    format_checkpoint_text,
    format_note,
    generate_signing_key,
    parse_proof,
    sign_checkpoint,
    single_log_policy,
)
from merklelog.protocol import verify_proof_file
from merklelog.tree import (
    Hash,
    TreeSize,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    prove_range,
    root_hash,
)
from tests.client.target_log import reader

ONCE = Retry(total=60, attempt=30, first=200, most=200)
KEY = generate_signing_key("memory.example/log", SignatureType.ED25519)
POLICY = single_log_policy([KEY.verifier])


LEAVES = [leaf_hash(b"%d" % i) for i in range(33)]


def test_every_proof_of_every_range_of_small_trees() -> None:
    read = reader(LEAVES)
    for size in range(1, len(LEAVES) + 1):
        for start in range(size):
            assert tree_before(start, size, prove_inclusion(start, size, read)) == root_hash(start, read)
            for end in range(start + 1, size + 1):
                proof = prove_range(start, end, size, read)
                assert tree_before_range(start, proof) == root_hash(start, read)
                source = RangeProofs(LEAVES[start:end], start, size, proof)
                for index in {start, (start + end) // 2, end - 1} - {end}:
                    assert source.inclusion_proof(index, size) == prove_inclusion(index, size, read)


def test_a_receipt_proves_its_own_entries_only() -> None:
    read = reader(LEAVES)
    source = RangeProofs(LEAVES[3:7], 3, 20, prove_range(3, 7, 20, read))
    for index in (2, 7, -1):
        with pytest.raises(RangeError):
            source.inclusion_proof(index)
    with pytest.raises(RangeError):
        SingleProofs({3: ()}).inclusion_proof(4)


# --- a log in memory, and any of its answers changed ----------------------------------------------------------


def signed(leaves: Sequence[Hash], size: int) -> bytes:
    checkpoint = Checkpoint(KEY.name, TreeSize(size), root_hash(size, reader(leaves)))
    return format_note(Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, KEY),)))


class Memory:
    """A log in memory; `change(method, answer)` may give anything of the same type instead of an answer."""

    def __init__(self, entries: list[bytes]) -> None:
        self.log = list(entries)
        self.change: Callable[[str, Any], Any] = lambda _, answer: answer

    @property
    def leaves(self) -> list[Hash]:
        return [leaf_hash(entry) for entry in self.log]

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        return bytes(self.change("checkpoint", signed(self.leaves, len(self.log) if size is None else size)))

    def grown(self, size: int, seconds: float) -> bytes:
        return self.checkpoint(None, seconds)

    def inclusions(self, indexes: Sequence[int], size: int, root: Hash, seconds: float) -> list[Included]:
        read = reader(self.leaves)
        found = [Included(self.leaves[i], tuple(prove_inclusion(i, size, read))) for i in indexes]
        return list(self.change("inclusions", found))

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        return tuple(self.change("range_proof", tuple(prove_range(start, end, size, reader(self.leaves)))))

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        if size > len(self.log):
            raise RangeError(f"tree size {size}: the newest checkpoint has {len(self.log)}")
        return tuple(self.change("consistency", tuple(prove_consistency(old, size, reader(self.leaves)))))

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        proof = tuple(prove_range(start, end, size, reader(self.leaves)))
        found: Stretch = self.change("entries", Stretch(self.log[start:end], proof))
        return found

    def append(self, batch: Batch, seconds: float) -> Appended:
        start = len(self.log)
        self.log += batch.entries
        proof = None
        if len(batch.entries) == 1:
            proof = tuple(prove_inclusion(start, len(self.log), reader(self.leaves)))
        answer = Appended(list(range(start, len(self.log))), signed(self.leaves, len(self.log)), proof)
        found: Appended = self.change("append", answer)
        return found

    def epoch(self, seconds: float) -> Epoch:
        return Epoch(None)

    def close(self) -> None:
        return


hashes = st.binary(min_size=32, max_size=32).map(Hash)
bad_hashes = st.one_of(hashes, st.binary(max_size=40).map(Hash))


@st.composite
def changed_proofs(draw: st.DrawFn, proof: tuple[Hash, ...]) -> tuple[Hash, ...]:
    """Some hashes put in, taken out, exchanged or replaced."""
    made = list(proof)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(made)))
        kind = draw(st.sampled_from(["insert", "remove", "swap", "replace"]))
        if kind == "insert":
            made.insert(at, draw(bad_hashes))
        elif made:
            at %= len(made)
            if kind == "remove":
                del made[at]
            elif kind == "swap":
                made[at], made[0] = made[0], made[at]
            else:
                made[at] = draw(bad_hashes)
    return tuple(made)


@st.composite
def changed_answers(draw: st.DrawFn, method: str, answer: Any) -> Any:
    """Another answer of the same type."""
    if method == "checkpoint":
        return draw(st.one_of(st.binary(max_size=200), st.just(answer[: draw(st.integers(0, len(answer)))])))
    if method in {"range_proof", "consistency"}:
        return draw(changed_proofs(answer))
    if method == "inclusions":
        which = draw(st.sampled_from(["leaf", "proof", "count"]))
        if which == "count":
            return answer * draw(st.sampled_from([0, 2]))
        if which == "leaf":
            return [Included(draw(bad_hashes), each.proof) for each in answer]
        return [Included(each.leaf, draw(changed_proofs(each.proof))) for each in answer]
    if method == "entries":
        if draw(st.booleans()):
            return Stretch(answer.entries, draw(changed_proofs(answer.proof)))
        entries = draw(
            st.lists(st.one_of(st.binary(max_size=5), st.sampled_from(answer.entries)), max_size=5)
        )
        return Stretch(entries, answer.proof)
    which = draw(st.sampled_from(["indexes", "note", "proof"]))
    if which == "indexes":
        return replace(answer, indexes=draw(st.lists(st.integers(0, 2**64), max_size=3)))
    if which == "note":
        return replace(answer, note=draw(st.binary(max_size=100)))
    return replace(answer, proof=draw(st.none() | changed_proofs(answer.proof or ())))


OPERATIONS: dict[str, Callable[[Logic], Any]] = {
    "prove": lambda logic: logic.prove(5),
    "prove at": lambda logic: logic.prove(5, 9),
    "entries": lambda logic: logic.entries(2, 7, None),
    "consistency": lambda logic: logic.consistency(6, 11),
    "append": lambda logic: Appends(logic).append(one(b"new", None, None)),
    "append_batch": lambda logic: Appends(logic).append_batch(batch_of([b"new", b"newer"], None, None, None)),
    "append_each": lambda logic: Appends(logic).append_each([b"new", b"newer"], b"key", wait="integrated"),
    "grown": lambda logic: logic.grown(3, 1.0),
}
TRUTH = [b"entry %d" % i for i in range(13)]


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_change_of_an_answer_is_believed(name: str, data: st.DataObject) -> None:
    """Whatever is changed: the true result, or an error of this project."""
    memory = Memory(TRUTH)
    trust = Trust(POLICY)
    drive(Logic(trust, ONCE).checkpoint(6), memory)  # an earlier visit
    victim = data.draw(
        st.sampled_from(["checkpoint", "inclusions", "range_proof", "consistency", "entries", "append"])
    )

    def change(method: str, answer: Any) -> Any:
        return data.draw(changed_answers(method, answer)) if method == victim else answer

    memory.change = change
    before = trust.head
    try:
        result = drive(OPERATIONS[name](Logic(trust, ONCE)), memory)
    except ForkError:
        pytest.fail("there is no fork")
    except MerklelogError:
        result = None
    if name.startswith("prove") and result is not None:
        verify_proof_file(parse_proof(result), leaf_hash(TRUTH[5]), POLICY)
    if name == "entries" and result is not None:
        assert result == TRUTH[2 : 2 + len(result)]
    if name == "append" and result is not None:
        assert memory.log[result.index] == b"new"
    if name.startswith("append_") and result is not None:
        assert [memory.log[index] for index in result.indexes] == [b"new", b"newer"]
    # What is trusted after it is the log's own tree.
    assert trust.head is not None
    assert before is not None
    assert trust.head.size >= before.size
    assert trust.head.root == root_hash(trust.head.size, reader(memory.leaves))


@settings(max_examples=60)
@given(fork=st.integers(0, 12), more=st.integers(1, 9), known=st.integers(1, 13), data=st.data())
def test_every_fork_is_found_and_no_other_is_claimed(
    fork: int, more: int, known: int, data: st.DataObject
) -> None:
    """Two histories that part at `fork`: a client that knows one of them beyond that place finds the other out."""
    trust = Trust(POLICY)
    drive(Logic(trust, ONCE).checkpoint(known), Memory(TRUTH))
    other = Memory([*TRUTH[:fork], *(b"other %d" % i for i in range(more))])
    name = data.draw(st.sampled_from(["checkpoint", "append", "append_batch", "grown"]))
    operation = {**OPERATIONS, "checkpoint": lambda logic: logic.checkpoint()}[name]
    size = len(other.log) + {"append": 1, "append_batch": 2}.get(name, 0)
    try:
        drive(operation(Logic(trust, ONCE)), other)
    except ForkError:
        assert known > fork
    except MerklelogError:
        assert size < known, "older is all that it is known to be"
    else:
        assert known <= fork
    assert trust.head is not None
    assert trust.head.size == (known if known > fork else max(known, size))
