"""Any history of appends, publications, lost targets, restarts and old disks, beside a list and what was told.

The target is a directory, so that what is published can be looked at as any reader would, and so that a copy of
the whole world (disk and target) is a copy of two directories.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import merklelog
from merklelog import Log, Receipt
from merklelog.errors import BehindError, StoppedError, UnavailableError
from merklelog.formats import parse_checkpoint, verify_receipt
from merklelog.log import publishing
from merklelog.publish import DirectoryStore
from merklelog.publish.pointer import read_head
from merklelog.tree import leaf_hash, verify_inclusion
from tests.support import targets
from tests.support.checker import Rehashed, check_log
from tests.support.targets import Gate, published


class Published(RuleBasedStateMachine):
    """`entries` is what the log holds; `told` maps (epoch, size) to the root of each receipt ever handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="merklelog-published-"))
        self.store = DirectoryStore(self.folder / "target")
        self.gate = Gate(self.store)
        self.entries: list[bytes] = []
        self.told: dict[tuple[int, int], bytes] = {}
        self.seen: list[bytes] = []  # checkpoints
        self.epochs = 0
        self.old: tuple[Path, list[bytes]] | None = None
        self.copies = 0
        targets.use(self.patch, self.gate)
        self.patch.setattr(publishing, "CLOSING_TRIES", 1)
        self.log: Log | None = None

    @initialize()
    def begin(self) -> None:
        targets.make(self.folder / "log", publish__interval=0.05)
        self.open()

    def open(self) -> None:
        self.log = merklelog.open(self.folder / "log")
        assert self.log.epoch is not None
        assert self.log.epoch > self.epochs, "an epoch was given twice"
        self.epochs = self.log.epoch
        assert self.log.integrated.size == len(self.entries)

    @property
    def running(self) -> Log:
        assert self.log is not None
        return self.log

    # --- appends -----------------------------------------------------------------------------------------------

    @rule(count=st.sampled_from([1, 1, 2, 40, 255, 256, 300]))
    def append(self, count: int) -> None:
        new = [b"entry %d of a log" % (len(self.entries) + i) for i in range(count)]
        receipts = self.running.append_batch(new)
        assert receipts.indexes == list(range(len(self.entries), len(self.entries) + count))
        self.entries += new
        self.check_receipt(receipts[0], new[0])
        self.check_receipt(receipts[count - 1], new[-1])

    def check_receipt(self, receipt: Receipt, entry: bytes) -> None:
        log = self.running
        assert log.receipt_vkey is not None
        said = verify_receipt(receipt.note, log.receipt_vkey)
        assert said.epoch == self.epochs
        assert self.told.setdefault((said.epoch, said.size), said.root) == said.root
        verify_inclusion(leaf_hash(entry), receipt.index, said.size, receipt.proof, said.root)

    # --- publications ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.gate.fails("", "") is None)
    @rule()
    def publish(self) -> None:
        head = self.running.publish_now().result(targets.PATIENCE)
        assert head.size == len(self.entries)

    @rule()
    def lose_the_target(self) -> None:
        self.gate.down()

    @rule()
    def get_it_back(self) -> None:
        self.gate.up()

    # --- restarts ----------------------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.running.close()
        self.gate.up()
        self.open()

    @rule()
    def start_without_the_target(self) -> None:
        self.running.close()
        self.gate.down()
        self.log = merklelog.open(self.folder / "log", wait=None)
        with pytest.raises(UnavailableError):
            self.log.append(b"refused")
        self.look()
        self.log.close()
        self.gate.up()
        self.open()

    @rule()
    def keep_a_copy_of_the_disk(self) -> None:
        self.running.close()
        if self.old is not None:
            shutil.rmtree(self.old[0])
        self.copies += 1
        kept = self.folder / f"copy{self.copies}"
        shutil.copytree(self.folder / "log", kept)
        self.old = kept, list(self.entries)
        self.gate.up()
        self.open()

    @precondition(lambda self: self.old is not None)
    @rule()
    def bring_the_copy_back(self) -> None:
        """It is refused when more than it has was published; else what only receipts said is lost."""
        assert self.old is not None
        kept, entries = self.old
        self.running.close(publish_seconds=0.0)
        self.gate.up()
        head = read_head(self.store)
        shown = head.head.size if head is not None else 0
        if shown > len(entries):
            with pytest.raises(BehindError):
                merklelog.open(kept)
        else:
            shutil.rmtree(self.folder / "log")
            shutil.copytree(kept, self.folder / "log")
            self.entries = list(entries)
        self.open()

    # --- what always holds -------------------------------------------------------------------------------------

    @invariant()
    def look(self) -> None:
        if self.log is None:
            return
        log = self.running
        note = log.checkpoint()
        head = parse_checkpoint(note).checkpoint
        tree = Rehashed(self.entries)
        assert head.size <= len(self.entries)
        assert head.root == tree.root(head.size)
        self.seen.append(note)
        if head.size:
            assert log.entry(head.size - 1) == self.entries[head.size - 1]

    def teardown(self) -> None:
        try:
            if self.log is not None:
                self.gate.up()
                assert published(self.running) == len(self.entries)
                check_log(self.running, seen=self.seen, acknowledged=dict(enumerate(self.entries)))
                at_target = self.store.get("checkpoint").data if self.entries else self.running.checkpoint()
                assert (
                    parse_checkpoint(at_target).checkpoint
                    == parse_checkpoint(self.running.checkpoint()).checkpoint
                )
                self.running.close()
        except StoppedError as error:
            raise AssertionError("the log stopped") from error
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)


TestPublished = Published.TestCase
TestPublished.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
