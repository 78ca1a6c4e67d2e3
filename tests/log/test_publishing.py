"""A log with a publish target: receipts at once, checkpoints when they are published, reads between the two."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

import merklelog
from merklelog import BatchReceipt, Log, Receipt
from merklelog.errors import (
    ClosedError,
    NotFoundError,
    RangeError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import (
    is_receipt,
    parse_checkpoint,
    parse_proof,
    single_log_policy,
    verify_receipt,
)
from merklelog.log import publishing_targets
from merklelog.protocol import verify_proof_file
from merklelog.publish.publisher import Publisher
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion
from tests.support import targets
from tests.support.checker import Rehashed, check_log
from tests.support.targets import Gate, published


def check_receipt(log: Log, receipt: Receipt, entry: bytes) -> None:
    """It is the log's, of this epoch, and its proof leads to the root it names."""
    assert log.receipt_vkey is not None
    said = verify_receipt(receipt.note, log.receipt_vkey)
    assert (said.origin, said.epoch, said.size) == (log.origin, receipt.epoch, receipt.size)
    assert abs(said.time - time.time()) < 3_600
    verify_inclusion(leaf_hash(entry), receipt.index, said.size, receipt.proof, said.root)


def test_an_append_gives_a_receipt_and_later_a_checkpoint(directory: Path) -> None:
    with merklelog.open(directory) as log:
        assert (log.levels, log.epoch, log.starting) == (("integrated", "published"), 1, False)
        receipt = log.append(b"one")
        assert receipt.epoch == 1
        check_receipt(log, receipt, b"one")
        with pytest.raises(UsageError):
            _ = receipt.checkpoint
        upgraded = receipt.upgrade()
        assert (upgraded.epoch, upgraded.index) == (None, receipt.index)
        verdict = verify_proof_file(
            parse_proof(upgraded.to_bytes()), leaf_hash(b"one"), single_log_policy(log.vkeys[1:])
        )
        assert verdict.index == receipt.index
        assert log.checkpoint() == upgraded.checkpoint
        assert upgraded.upgrade() is upgraded


def test_a_batch_has_one_receipt_note(directory: Path) -> None:
    entries = [b"entry %d" % i for i in range(600)]
    with merklelog.open(directory) as log:
        receipts = log.append_batch(entries)
        assert receipts.epoch == 1
        assert is_receipt(receipts.note)
        for at in (0, 255, 256, 599):
            check_receipt(log, receipts[at], entries[at])
        some = receipts[1:3]
        assert isinstance(some, BatchReceipt)
        assert (some.note, some.epoch) == (receipts.note, 1)
        assert receipts[599].upgrade().size >= 600
        check_log(log, acknowledged=dict(enumerate(entries)))


def test_reads_show_what_is_published_and_proofs_reach_the_receipts(directory: Path, gate: Gate) -> None:
    entries = [b"entry %d" % i for i in range(700)]
    with merklelog.open(directory) as log:
        log.append_batch(entries[:300])
        assert published(log) == 300
        gate.down()
        receipt = log.append_batch(entries[300:])
        assert (log.size, log.integrated.size) == (300, 700)
        assert parse_checkpoint(log.checkpoint()).checkpoint.size == 300
        tree = Rehashed(entries)
        assert log.root == tree.root(300)
        assert log.tile(0, 1, 44) == tree.tile(0, 1, 44)
        assert list(log.entries(0, 300)) == entries[:300]
        for read in (
            lambda: log.entry(300),
            lambda: log.entries(0, 301),
            lambda: log.tile(0, 1, 45),
            lambda: log.bundle(1, 45),
            lambda: log.prove(10, 700),
            lambda: log.checkpoint(700),
        ):
            with pytest.raises(RangeError):
                read()
        assert log.find(leaf_hash(entries[500])) is None
        verify_inclusion(leaf_hash(entries[9]), 9, 300, log.inclusion_proof(9), tree.root(300))
        verify_inclusion(leaf_hash(entries[9]), 9, 700, log.inclusion_proof(9, 700), tree.root(700))
        verify_consistency(300, 700, tree.root(300), tree.root(700), log.consistency_proof(300, 700))
        check_receipt(log, receipt[399], entries[699])
        tiles = log.integrated_tiles()
        assert tiles.tile(0, 2, 188) == tree.tile(0, 2, 188)
        assert tiles.root_at(700) == tree.root(700)
        with pytest.raises(RangeError):
            tiles.tile(0, 2, 189)
        with merklelog.open_reader(directory) as reader:
            assert (reader.size, reader.integrated.size, reader.epoch) == (300, 700, 1)
            assert reader.checkpoint() == log.checkpoint()
            with pytest.raises(RangeError):
                reader.entry(300)
        gate.up()
        assert published(log) == 700
        check_log(log, acknowledged=dict(enumerate(entries)))


def test_no_checkpoint_is_signed_but_for_a_publication(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        gate.down()
        for number in range(20):
            log.append(b"%d" % number)
        assert list(log._reads.stored_sizes()) == [0]
        assert is_receipt(log.integrated.note)
        gate.up()
        assert published(log) == 20
        sizes = list(log.stored_sizes())
        assert sizes[0] == 20
        for size in sizes:
            assert len(parse_checkpoint(log.checkpoint(size)).note.signatures) == 2 or size == 0
        with pytest.raises(NotFoundError):
            log.checkpoint(19)


def test_a_repeat_after_a_restart_has_a_receipt_of_the_new_epoch(tmp_path: Path, gate: Gate) -> None:
    path = targets.make(tmp_path / "log", log__dedupe=True)
    with merklelog.open(path) as log:
        first = log.append(b"same")
        check_receipt(log, first, b"same")
    with merklelog.open(path) as log:
        again = log.append(b"same")
        assert (first.epoch, again.epoch, again.index) == (1, 2, first.index)
        check_receipt(log, again, b"same")
        with merklelog.open_reader(path) as reader:
            assert reader.epoch == 2


def test_waiting_for_a_publication(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        assert log.wait_published(0).done()
        gate.down()
        heard: list[int] = []
        end = log.listen(heard.append)
        integrated: list[int] = []
        log.listen_integrated(integrated.append)
        late = log.wait_published(3)
        early = log.wait_published(1)
        given_up = log.wait_published(2)
        assert given_up.cancel()
        log.append_batch([b"a", b"b"])
        assert not early.done()
        assert integrated == [2]
        gate.up()
        head = early.result(targets.PATIENCE)
        assert (head.size, log.size, late.done()) == (2, 2, False)
        log.append(b"c")
        assert late.result(targets.PATIENCE).size == 3
        assert heard[-1] == 3
        end()
        log.append(b"d")
        assert published(log) == 4
        assert heard[-1] == 3
        left = log.wait_published(1_000)
    with pytest.raises(ClosedError):
        left.result(0)


def test_waiting_in_an_event_loop(directory: Path, gate: Gate) -> None:
    async def scenario(log: Log) -> None:
        gate.down()
        receipt = await log.append_async(b"one")
        waiting = asyncio.create_task(log.wait_published_async(receipt.index + 1))
        cancelled = asyncio.create_task(log.wait_published_async(receipt.index + 1))
        await asyncio.sleep(0)
        cancelled.cancel()
        gate.up()
        assert (await asyncio.wait_for(waiting, targets.PATIENCE)).size == 1
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    with merklelog.open(directory) as log:
        asyncio.run(scenario(log))


def test_a_log_without_targets_shows_at_once(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", targets.ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(tmp_path / "log") as log:
        assert (log.levels, log.epoch, log.publishing, log.starting) == (("integrated",), None, None, False)
        assert log.receipt_vkey is not None
        ahead = log.wait_published(2)
        receipt = log.append(b"one")
        assert (receipt.epoch, receipt.note, receipt.upgrade()) == (None, receipt.checkpoint, receipt)
        assert not ahead.done()
        assert log.integrated is log.published
        log.append(b"two")
        assert ahead.result(targets.PATIENCE).size == 2
        with pytest.raises(UsageError):
            log.publish_now()
        left = log.wait_published(3)
    with pytest.raises(ClosedError):
        left.result(0)


def test_a_receipt_outlives_its_log(directory: Path, gate: Gate) -> None:
    log = merklelog.open(directory)
    kept = log.append(b"published")
    published(log)
    gate.down()
    waiting = log.append(b"not published")
    log.close(publish_seconds=0.0)
    check = merklelog.open_reader(directory)
    assert kept.upgrade().checkpoint == check.checkpoint()
    with pytest.raises(UnavailableError, match="was closed"):
        waiting.upgrade()
    assert is_receipt(waiting.note)
    assert waiting.proof
    check.close()


def test_status_tells_lag_and_counts(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        log.append(b"one")
        published(log)
        gate.down("it burns")
        log.append_batch([b"two", b"three"])
        assert gate.refused.wait(targets.PATIENCE)
        while log.publishing is None or log.publishing.last_error is None:
            time.sleep(0.01)
        status = log.publishing
        assert (status.lag_entries, status.epoch, status.starting) == (2, 1, None)
        assert status.lag_seconds > 0
        assert "it burns" in str(status.last_error)
        assert status.failures >= 1
        gate.up()
        published(log)
        while log.publishing.publications < 2:  # it is counted a moment after it is shown
            time.sleep(0.01)
        status = log.publishing
        assert (status.lag_entries, status.lag_seconds, status.last_error) == (0, 0.0, None)
        assert status.targets == ("memory:store",)


def test_a_publication_that_was_asked_for_takes_no_pauses(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog is worked off in pieces; who asked for all of it does not wait for the interval between them."""
    small = partial(Publisher, limit=64 << 10)
    monkeypatch.setattr(publishing_targets, "Publisher", small)
    with merklelog.open(targets.make(tmp_path / "log", publish__interval=3_600.0)) as log:
        log.append(b"the first one")
        published(log)
        log.append_batch([b"%d" % i + bytes(100) for i in range(3_000)])
        assert log.publish_now().result(targets.PATIENCE).size == 3_001
        assert len([size for size in log.stored_sizes() if size > 1]) > 2
        log.append_batch([b"%d" % i + bytes(100) for i in range(3_000)])
    with merklelog.open_reader(log.path) as reader:
        assert reader.size == 6_001
        check_log(reader)


def test_an_idle_log_asks_nothing(directory: Path, gate: Gate) -> None:
    with merklelog.open(directory) as log:
        log.append(b"one")
        published(log)
        assert log.publish_now().result(targets.PATIENCE).size == 1
        # Whatever was under way has ended when another publication has come and gone.
        log.append(b"two")
        published(log)
        while log._publication._dirty:  # type: ignore[attr-defined]
            time.sleep(0.01)
        before = len(gate.calls)
        time.sleep(0.3)  # six intervals
        assert len(gate.calls) == before
