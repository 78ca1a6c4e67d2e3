"""Receipts of a log with publish targets: believed by their own key, kept apart, upgraded, lost or a fork."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.client.remote import AsyncClient, Client
from merklelog.client.retry import Retry
from merklelog.client.state import StateFile
from merklelog.client.threaded import ThreadedTransport
from merklelog.client.transport import Epoch
from merklelog.client.trust import Trust
from merklelog.errors import (
    ForkError,
    FormatError,
    LevelError,
    LostError,
    MerklelogError,
    ProofError,
    SignatureError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import SignatureType, generate_signing_key, parse_proof, single_log_policy
from merklelog.formats.receipt import ReceiptNote, is_receipt, parse_receipt, sign_receipt
from merklelog.log import Receipt
from merklelog.protocol import verify_proof_file
from merklelog.tree import TreeSize, leaf_hash


def load(name: str) -> Any:
    """A helper beside this file."""
    module_name = f"client_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module_name])
    return sys.modules[module_name]


MEMORY = load("target_log")
TargetLog = MEMORY.TargetLog
POLICY = single_log_policy([MEMORY.KEY.verifier])
KEYS = (MEMORY.RECEIPT_KEY.verifier,)
ONCE = Retry(total=60, attempt=30, first=200, most=200)
AGAIN = Retry(total=60, attempt=30, first=0.001, most=0.001)
FIVE = [b"entry %d" % i for i in range(5)]


def client_of(log: Any, *, keys: Any = KEYS, retry: Retry = ONCE, state: Path | None = None) -> Client:
    return Client(log, Trust(POLICY, None if state is None else StateFile(state), keys), retry)


def proves(receipt: Receipt, entry: bytes) -> bool:
    """Whether what the receipt saves convinces a stranger with the log's checkpoint key alone."""
    verdict = verify_proof_file(parse_proof(receipt.to_bytes()), leaf_hash(entry), POLICY)
    return bool(verdict.index == receipt.index)


# --- what an append gives ----------------------------------------------------------------------------------------


def test_a_receipt_at_once_and_nothing_of_it_in_the_state(tmp_path: Path) -> None:
    log = TargetLog(FIVE)
    client = client_of(log, state=tmp_path / "state")
    receipt = client.append(b"new")
    assert (receipt.index, receipt.epoch, receipt.size) == (5, 1, 6)
    assert is_receipt(receipt.note)
    with pytest.raises(UsageError, match="upgrade"):
        _ = receipt.checkpoint
    assert client.trusted is None
    assert not (tmp_path / "state").exists()
    with pytest.raises(FormatError):
        proves(receipt, b"new")  # a receipt is no proof
    batch = client.append_batch([b"a", b"b"])
    assert (batch.indexes, batch.epoch) == ([6, 7], 1)
    assert [each.epoch for each in batch] == [1, 1]


def test_a_receipt_is_upgraded_when_it_is_published(tmp_path: Path) -> None:
    log = TargetLog(FIVE)
    client = client_of(log, state=tmp_path / "state")
    receipt, batch = client.append(b"new"), client.append_batch([b"a", b"b"])
    log.waits = log.publish
    better = receipt.upgrade()
    assert (better.index, better.epoch, better.size) == (5, None, 8)
    assert proves(better, b"new")
    assert better.upgrade() is better
    assert client.trusted is not None
    assert (tmp_path / "state").read_bytes() == client.trusted.note == better.checkpoint
    assert [proves(client.upgrade(each), entry) for each, entry in zip(batch, (b"a", b"b"), strict=True)]


@pytest.mark.parametrize("entry", [b"new", None])
def test_a_saved_receipt_is_upgraded_by_whoever_has_it(entry: bytes | None, tmp_path: Path) -> None:
    log = TargetLog(FIVE)
    saved = client_of(log).append(b"new").save(tmp_path / "new.tlog-proof").read_bytes()
    log.log += [b"more", b"and more"]
    log.publish()
    better = client_of(log).upgrade(saved, entry)
    assert proves(better, b"new")
    again = client_of(log).upgrade(better.to_bytes(), entry)
    assert again.to_bytes() == better.to_bytes()


def test_what_covers_the_entry_is_enough() -> None:
    """A publication may end between the entry and the size of its receipt."""
    log = TargetLog(FIVE)
    receipt = client_of(log).append_batch([b"a", b"b", b"c"])[0]
    log.publish(6)
    for claim, entry in ((receipt, None), (receipt.to_bytes(), None), (receipt.to_bytes(), b"a")):
        assert client_of(log).upgrade(claim, entry).size == 6


def test_without_a_receipt_key_an_append_waits_for_its_publication() -> None:
    log = TargetLog(FIVE)
    log.waits = log.publish
    client = client_of(log, keys=())
    assert proves(client.append(b"new"), b"new")
    assert proves(client.append_batch([b"a", b"b"])[1], b"b")
    log.waits = lambda: None
    with pytest.raises(UnavailableError, match=r"entry 8 is stored and not published yet: .* has size 8"):
        client.append(b"never")
    with pytest.raises(UsageError, match="trust the log's receipt key too"):
        client.upgrade(client_of(log).append(b"x"))


def test_who_asks_for_publication_waits_for_it() -> None:
    log = TargetLog(FIVE)
    log.waits = log.publish
    client = client_of(log)
    assert proves(client.append(b"new", wait="published"), b"new")
    assert client.append_batch([b"a", b"b"], wait="published").epoch is None
    assert client.append_each([b"c", b"d"], wait="published").epoch is None
    with pytest.raises(UsageError, match="want 'integrated', 'published' or 'witnessed'"):
        client.append(b"x", wait="seen")  # type: ignore[arg-type]  # what a caller may do
    log.targets = False
    with pytest.raises(LevelError):
        client.append(b"x", wait="published")
    assert client.append(b"x").epoch is None


def test_tasks_get_what_threads_get() -> None:
    log = TargetLog(FIVE)

    async def run() -> None:
        client = AsyncClient(ThreadedTransport(log), Trust(POLICY, None, KEYS), ONCE)
        receipt = await client.append(b"new")
        assert receipt.epoch == 1
        with pytest.raises(UsageError, match=r"client\.upgrade"):
            receipt.upgrade()
        log.publish()
        assert proves(await client.upgrade(receipt), b"new")
        log.waits = log.publish
        assert proves(await client.append(b"more", wait="published"), b"more")

    asyncio.run(run())


# --- what is not published, or lost ------------------------------------------------------------------------------


def test_what_is_not_published_yet_may_be_asked_again() -> None:
    log = TargetLog(FIVE)
    client = client_of(log)
    receipt = client.append(b"new")
    with pytest.raises(UnavailableError, match="entry 5: the newest checkpoint has size 0, so it is not"):
        receipt.upgrade()
    log.restart()  # the same disk: nothing is lost, nothing is known
    log.log += [b"more"]
    with pytest.raises(
        UnavailableError, match="in epoch 2: the receipt is of epoch 1, so the entry may be lost"
    ):
        receipt.upgrade()
    log.publish()
    assert proves(receipt.upgrade(), b"new")


@pytest.mark.parametrize("entry", [b"new", None])
def test_a_lost_entry_is_told_from_a_fork(entry: bytes | None) -> None:
    log = TargetLog(FIVE, shown=3)
    saved = client_of(log).append(b"new").to_bytes()
    log.lose()
    with pytest.raises(
        LostError, match=r"entry 5: lost with the log's disk after epoch 1: in epoch 2 .* 3 entries"
    ):
        client_of(log).upgrade(saved, entry)
    log.log += [b"other %d" % i for i in range(4)]
    log.publish()
    with pytest.raises(LostError, match="another entry is published at index 5"):
        client_of(log).upgrade(saved, entry)


def test_a_receipt_of_a_later_epoch_with_fewer_entries_says_enough() -> None:
    log = TargetLog(FIVE, shown=3)
    client = client_of(log)
    receipt = client.append(b"new")
    log.lose()
    client.append(b"other")
    log.says = Epoch(None)  # whatever it claims now
    with pytest.raises(LostError, match="epoch 2 went on from fewer entries"):
        receipt.upgrade()


def test_what_was_lost_and_sent_again_to_the_same_place_is_there() -> None:
    log = TargetLog(FIVE, shown=5)
    receipt = client_of(log).append(b"new")
    log.lose()
    log.log += [b"new"]
    log.publish()
    assert proves(client_of(log).upgrade(receipt), b"new")


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("keys", [(), KEYS])
def test_what_is_lost_while_it_is_waited_for_is_sent_again(keys: Any, batch: bool) -> None:
    log = TargetLog(FIVE, shown=5)
    client = client_of(log, keys=keys, retry=AGAIN)

    def waits() -> None:
        if log.number == 1:
            log.lose()
            log.log += [b"other", b"and"]
        log.publish()

    log.waits = waits
    if batch:
        receipt = client.append_batch([b"new"], wait="published" if keys else "integrated")[0]
    else:
        receipt = client.append(b"new", wait="published" if keys else "integrated")
    assert proves(receipt, b"new")
    assert log.log[5:] == [b"other", b"and", b"new"]


def test_an_answer_of_an_epoch_that_is_over_is_not_taken() -> None:
    """A writer that was replaced and does not know it yet."""
    old = TargetLog(FIVE, shown=5)
    new = TargetLog([*FIVE, b"of the new one"], shown=6, epoch=2)
    client = client_of(new)
    client.append(b"x")
    client._transport = old
    with pytest.raises(UnavailableError, match="answered in epoch 1, which is over: the log is in epoch 2"):
        client.append(b"y")
    # Who only saw its checkpoint is told by what the log says of its epoch.
    client = client_of(new)
    client.checkpoint()
    old.log = [*FIVE, b"1", b"2"]
    client._transport = old
    old.says = Epoch(2)
    with pytest.raises(UnavailableError, match="over"):
        client.append(b"z")


# --- forks -------------------------------------------------------------------------------------------------------


def test_two_roots_of_one_size_in_one_epoch_are_a_fork() -> None:
    one, other = TargetLog(FIVE), TargetLog([*FIVE[:4], b"other"])
    client = client_of(one)
    receipt = client.append(b"new")
    client._transport = other
    with pytest.raises(ForkError, match="two roots for size 6 in epoch 1") as caught:
        client.append(b"new")
    assert (caught.value.first, caught.value.second) == (receipt.note, other.receipt(6))


@pytest.mark.parametrize("more", [1, 3])
def test_receipts_of_one_epoch_are_one_history(more: int) -> None:
    one, other = TargetLog(FIVE), TargetLog([*FIVE[:4], b"other", *(b"%d" % i for i in range(more))])
    client = client_of(one)
    receipt = client.append(b"new")
    client._transport = other
    with pytest.raises(ForkError) as caught:
        client.append(b"new")
    assert (caught.value.first, caught.value.second) == (receipt.note, other.receipt(6 + more))


@pytest.mark.parametrize("entry", [b"new", None])
def test_another_entry_published_in_the_receipts_own_epoch_is_a_fork(entry: bytes | None) -> None:
    log = TargetLog(FIVE)
    saved = client_of(log).append(b"new").to_bytes()
    other = TargetLog([*FIVE, b"other", b"more"], shown=7)
    with pytest.raises(ForkError) as caught:
        client_of(other).upgrade(saved, entry)
    assert (caught.value.first, caught.value.second) == (parse_proof(saved).checkpoint, other.signed(7))


def test_a_fork_beside_the_entry_is_found_too() -> None:
    log = TargetLog(FIVE)
    receipt = client_of(log).append(b"new")
    other = TargetLog([b"other", *FIVE[1:], b"new"], shown=6)
    with pytest.raises(ForkError) as caught:
        client_of(other).upgrade(receipt)
    assert (caught.value.first, caught.value.second) == (receipt.note, other.signed(6))
    other.restart()  # then the epoch is over, and the entry is where the receipt says
    assert proves(client_of(other).upgrade(receipt), b"new")


def test_a_receipt_that_does_not_extend_the_newest_checkpoint_is_a_fork() -> None:
    shown = TargetLog(FIVE, shown=5)
    client = client_of(shown)
    checkpoint = client.checkpoint()
    client._transport = other = TargetLog([*FIVE[:4], b"other"], shown=4)
    with pytest.raises(ForkError) as caught:
        client.append(b"new")
    assert (caught.value.first, caught.value.second) == (checkpoint.note, other.receipt(6))
    assert client.trusted is not None
    assert client.trusted.note == checkpoint.note


def test_a_receipt_within_the_newest_checkpoint_is_held_to_it_each_time() -> None:
    """That a smaller receipt begins the checkpoint says nothing of what comes after that receipt."""
    shown = TargetLog([b"%d" % i for i in range(20)], shown=20)
    client = client_of(shown)
    checkpoint = client.checkpoint()
    client._transport = log = TargetLog(shown.log[:9])
    log.consistency = shown.consistency  # it has the tree of the checkpoint too, and hides nothing
    client.append(b"9")  # of size 10
    log.log += [b"other"] * 5
    whole = TargetLog([*log.log, b"other"])
    log.consistency = lambda old, size, *more: (shown if size == 20 else whole).consistency(old, size, *more)
    log.inclusions = shown.inclusions
    with pytest.raises(ForkError) as caught:
        client.append(b"other")
    assert (caught.value.first, caught.value.second) == (log.receipt(16), checkpoint.note)


# --- what is not believed ----------------------------------------------------------------------------------------


def changed(saved: bytes, note: bytes) -> bytes:
    return saved.replace(parse_proof(saved).checkpoint, note)


def test_receipts_of_others_are_not_believed() -> None:
    log = TargetLog(FIVE, shown=5)
    saved = client_of(log).append(b"new").to_bytes()
    log.publish()
    stranger = generate_signing_key("other.example/log/receipt", SignatureType.RECEIPT)
    theirs = ReceiptNote("other.example/log", 1, TreeSize(6), log.root(6), 1)
    with pytest.raises(SignatureError, match="no receipt key of that log is trusted"):
        client_of(log).upgrade(changed(saved, sign_receipt(theirs, stranger)))
    with pytest.raises(ProofError, match=r"got origin 'other.example/log', want 'memory.example/log'"):
        client_of(log, keys=(stranger.verifier,)).upgrade(changed(saved, sign_receipt(theirs, stranger)))
    forger = generate_signing_key(MEMORY.RECEIPT_KEY.name, SignatureType.RECEIPT)
    ours = parse_receipt(parse_proof(saved).checkpoint)[0]
    with pytest.raises(SignatureError):
        client_of(log).upgrade(changed(saved, sign_receipt(ours, forger)))
    log.receipt_key = forger
    with pytest.raises(SignatureError):
        client_of(log).append(b"x")
    # A checkpoint is none because a receipt key signed it, nor the other way round.
    with pytest.raises(SignatureError):
        client_of(log, keys=(MEMORY.KEY.verifier,)).upgrade(saved)


def test_a_receipt_whose_own_proof_is_wrong_accuses_nobody() -> None:
    log = TargetLog(FIVE)
    saved = client_of(log).append(b"new").to_bytes()
    with pytest.raises(ProofError):
        client_of(log).upgrade(saved, b"another entry")
    bad = saved.replace(saved.splitlines()[2], saved.splitlines()[3])
    log.publish()
    with pytest.raises(ProofError, match="own proof does not lead to its root"):
        client_of(log).upgrade(bad)
    far = saved.replace(b"index 5", b"index 6")
    with pytest.raises(ProofError, match="got index 6, want less than its tree size 6"):
        client_of(log).upgrade(far)


@settings(max_examples=150)
@given(data=st.data())
def test_no_change_of_a_saved_receipt_makes_it_prove_more(data: st.DataObject) -> None:
    """Whatever is done to a file: the true proof, or an error of this project that is no accusation."""
    log = TargetLog(FIVE)
    saved = bytearray(client_of(log).append(b"new").to_bytes())
    log.log += [b"more"]
    log.publish()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(saved) - 1))
        saved[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        better = client_of(log).upgrade(bytes(saved), data.draw(st.sampled_from([None, b"new"])))
    except (ForkError, LostError):
        pytest.fail("a damaged file accuses the log")
    except MerklelogError:
        return
    assert proves(better, log.log[better.index])
