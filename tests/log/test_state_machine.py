"""Any history of appends, restarts, crashes and waits, beside a model made of a list and two dictionaries."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from merklelog import BatchReceipt, Log, Receipt
from merklelog.errors import ConflictError, EntryError, StorageFullError
from merklelog.log import sequencer
from merklelog.tree import leaf_hash, verify_consistency, verify_inclusion
from tests.support import logs
from tests.support.checker import check_log, head_of
from tests.support.model import DAY, Asked, Conflict, Model

# Few enough that repeats are common; empty, long and border lengths among them.
POOL = [b"", b"a", b"b", b"c", b"d" * 200, b"e" * 65_535, *(b"event %d" % i for i in range(8))]
KEYS = [b"k", b"key two", b"\xff" * 128]
IDENTITIES = [sha256(b"own %d" % i).digest() for i in range(3)] + [leaf_hash(b"a"), leaf_hash(b"event 1")]


def pool(number: int) -> bytes:
    """By number, so that a report need not show the long ones."""
    return POOL[number]


pooled = st.integers(0, len(POOL) - 1).map(pool)
some_entries = st.lists(pooled, min_size=1, max_size=12).map(tuple)
# Taken modulo what there is. What is drawn must not depend on the log: which entries outlive a crash is chance.
places = st.integers(0, 2**32)
maybe_key = st.sampled_from([None, *KEYS])
submitters = st.sampled_from(["", "", "somebody"])


def asking(
    draw_identities: bool, *, key: st.SearchStrategy[bytes | None], each: bool
) -> st.SearchStrategy[Asked]:
    """Batches; `key` is that of the batch, or with `each` those of its entries."""

    @st.composite
    def asked(draw: st.DrawFn) -> Asked:
        entries = draw(some_entries)
        count = len(entries)
        identities = (
            draw(st.tuples(*[st.sampled_from([None, *IDENTITIES])] * count)) if draw_identities else None
        )
        keys = draw(st.tuples(*[key] * count)) if each else None
        return Asked(entries, identities, None if each else draw(key), keys, draw(submitters))

    return asked()


def send(log: Log, asked: Asked) -> BatchReceipt:
    return log.append_batch(
        asked.entries,
        identities=asked.identities,
        idempotency_key=asked.key,
        idempotency_keys=asked.keys,
        submitter=asked.submitter,
    )


class AnyLog(RuleBasedStateMachine):
    """What is true on every store. Subclasses say where a log is kept and how it is opened again."""

    log: Log
    folder: Path

    def start(self, dedupe: bool, lookup: bool) -> None:
        """Make an empty log."""
        raise TypeError("a machine says where its log is kept")

    def open(self) -> Log:
        """Open the log that is there."""
        raise TypeError("a machine says how its log is opened")

    @initialize(dedupe=st.booleans(), lookup=st.booleans())
    def begin(self, dedupe: bool, lookup: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="merklelog-machine-"))
        self.world = logs.FakeWorld()
        self.model = Model(dedupe=dedupe)
        self.seen: list[bytes] = []
        self.asked: list[Asked] = []
        self.filled = 0
        self.start(dedupe, lookup)
        self.log = self.open()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.log.close()
            shutil.rmtree(self.folder)

    def judge(self, receipts: Sequence[Receipt], want: list[int], asked: Sequence[bytes]) -> None:
        """Receipts of one append against the model's indexes."""
        assert [receipt.index for receipt in receipts] == want
        tree = self.model.tree()
        for receipt, entry in zip(receipts, asked, strict=True):
            stored = self.model.entries[receipt.index]
            assert receipt.leaf_hash == leaf_hash(stored)
            if not self.model.dedupe:
                assert stored == entry
            root = tree.root(receipt.size)
            assert head_of(self.log, receipt.checkpoint) == (receipt.size, root)
            verify_inclusion(receipt.leaf_hash, receipt.index, receipt.size, receipt.proof, root)
        self.seen.append(receipts[0].checkpoint)

    def ask(self, asked: Asked) -> None:
        """Append by the log and by the model, and compare."""
        if not self.model.dedupe:
            asked = replace(asked, identities=None)
        self.asked.append(asked)
        try:
            want = self.model.append(asked, self.world.now)
        except Conflict:
            with pytest.raises(ConflictError):
                send(self.log, asked)
        else:
            self.judge(send(self.log, asked), want, asked.entries)

    @rule(asked=asking(True, key=st.none(), each=False))
    def append_batch(self, asked: Asked) -> None:
        self.ask(asked)

    @rule(asked=asking(True, key=st.sampled_from(KEYS), each=False))
    def append_batch_with_a_key(self, asked: Asked) -> None:
        self.ask(asked)

    @rule(asked=asking(True, key=maybe_key, each=True))
    def append_batch_with_keys(self, asked: Asked) -> None:
        self.ask(asked)

    @rule(which=places, changed=st.booleans(), single=st.booleans())
    def append_once_more(self, which: int, changed: bool, single: bool) -> None:
        """What was asked before, as a client does that heard no answer; or under the same keys something else."""
        if not self.asked:
            return
        asked = self.asked[which % len(self.asked)]
        if changed:
            asked = replace(asked, entries=(*asked.entries[:-1], asked.entries[-1][:1] + b"changed"))
        if single and asked.keys is not None:
            at = which % len(asked.keys)
            own = None if asked.identities is None else asked.identities[at : at + 1]
            asked = Asked(asked.entries[at : at + 1], own, asked.keys[at], None, asked.submitter)
        self.ask(asked)

    @rule(entry=pooled, key=maybe_key, submitter=submitters, own=st.sampled_from([None, *IDENTITIES]))
    def append(self, entry: bytes, key: bytes | None, submitter: str, own: bytes | None) -> None:
        own = own if self.model.dedupe else None
        asked = Asked((entry,), None if own is None else (own,), key, None, submitter)
        self.asked.append(asked)
        try:
            want = self.model.append(asked, self.world.now)
        except Conflict:
            with pytest.raises(ConflictError):
                self.log.append(entry, identity=own, idempotency_key=key, submitter=submitter)
        else:
            receipt = self.log.append(entry, identity=own, idempotency_key=key, submitter=submitter)
            self.judge([receipt], want, [entry])

    @rule(many=st.lists(some_entries, min_size=2, max_size=6))
    def submit_several(self, many: list[tuple[bytes, ...]]) -> None:
        """Index order is the order of the calls, however they come to share commits."""
        futures = [self.log.submit_batch(entries) for entries in many]
        wants = [self.model.append(Asked(entries), self.world.now) for entries in many]
        for future, want, entries in zip(futures, wants, many, strict=True):
            self.judge(future.result(), want, entries)

    @rule(entries=some_entries)
    def append_by_tasks(self, entries: tuple[bytes, ...]) -> None:
        async def gather() -> list[Receipt]:
            return await asyncio.gather(*(self.log.append_async(entry) for entry in entries))

        wants = [self.model.append(Asked((entry,)), self.world.now)[0] for entry in entries]
        self.judge(asyncio.run(gather()), wants, entries)

    @rule(count=st.integers(100, 700))
    def fill(self, count: int) -> None:
        """Enough for tiles to become full."""
        self.filled += 1
        entries = tuple(b"fill %d.%d" % (self.filled, i) for i in range(count))
        want = self.model.append(Asked(entries), self.world.now)
        receipts = send(self.log, Asked(entries))
        assert receipts.indexes == want
        self.judge(receipts[-1:], want[-1:], entries[-1:])

    @rule()
    def run_out_of_room(self) -> None:
        """Nor is any other refusal of one append the end of the log."""
        self.world.free = -1
        with pytest.raises(StorageFullError):
            self.log.append(b"no room", idempotency_key=KEYS[0])
        self.world.free = 1 << 40
        with pytest.raises(EntryError):
            self.log.append_batch([b"good", bytes(65_536)], idempotency_keys=[None, KEYS[0]])

    @rule(days=st.sampled_from([1, 15, 30, 31]), which=places, changed=st.booleans())
    def wait(self, days: int, which: int, changed: bool) -> None:
        """And then a client repeats itself, in time or too late."""
        self.world.now += days * DAY
        self.world.offset += 100.0  # what is done from time to time is due
        self.append_once_more(which, changed, False)

    @rule()
    def open_again(self) -> None:
        self.log.close()
        self.log = self.open()

    @rule(at=places, old=places, which=places)
    def prove(self, at: int, old: int, which: int) -> None:
        size = at % (len(self.model.entries) + 1)
        old %= size + 1
        tree = self.model.tree()
        verify_consistency(old, size, tree.root(old), tree.root(size), self.log.consistency_proof(old, size))
        if size:
            index = which % size
            leaf = leaf_hash(self.model.entries[index])
            assert self.log.entry(index) == self.model.entries[index]
            verify_inclusion(leaf, index, size, self.log.inclusion_proof(index, size), tree.root(size))

    @rule(entry=pooled)
    def find(self, entry: bytes) -> None:
        found = self.log.find(leaf_hash(entry))
        assert found == (self.model.entries.index(entry) if entry in self.model.entries else None)

    @invariant()
    def sizes_agree(self) -> None:
        if hasattr(self, "log"):
            assert self.log.size == len(self.model.entries)
            assert not self.log.stopped

    @rule()
    def judge_all(self) -> None:
        tree = check_log(self.log, seen=self.seen, proofs=10)
        assert tree.entries == self.model.entries


class OnDisk(AnyLog):
    """A log on RocksDB, in a world whose clock the test moves."""

    def start(self, dedupe: bool, lookup: bool) -> None:
        logs.make(self.folder / "log", log__dedupe=dedupe, log__lookup=lookup)

    def open(self) -> Log:
        return logs.open_in(self.folder / "log", self.world)


class InMemory(AnyLog):
    """The same on the reference store, which can lose power."""

    def start(self, dedupe: bool, lookup: bool) -> None:
        self.store = logs.new_memory()
        self.settings = logs.config(dedupe=dedupe, lookup=lookup)

    def open(self) -> Log:
        return logs.open_store(self.store, self.folder, self.settings, self.world)

    @rule(survivors=st.integers(0, 3))
    def lose_power(self, survivors: int) -> None:
        """At a quiet moment: all that was acknowledged is synced, at most a kept checkpoint is lost."""
        after = self.store.crash(survivors)
        self.log.close()
        self.store = after
        self.log = self.open()

    @rule(
        many=st.lists(st.integers(1, 300), min_size=1, max_size=6),
        before=st.integers(0, 5),
        survivors=st.integers(0, 6),
    )
    def lose_power_while_appends_wait(self, many: list[int], before: int, survivors: int) -> None:
        """Some of what was under way may have come through, in order; all that was acknowledged has."""
        acknowledged: list[tuple[int, bytes]] = []
        noted: list[tuple[int, bytes]] = []
        power = threading.Event()
        syncs = 0

        def cut(step: str) -> None:
            nonlocal syncs
            if step != "synced":
                return
            syncs += 1
            if syncs > before and not power.is_set():
                # Between this sync and what it acknowledges: the worst moment.
                noted.extend(acknowledged)
                self.after = self.store.crash(survivors)
                power.set()

        self.world.on_step = cut
        futures = []
        for number, count in enumerate(many):
            self.filled += 1
            entries = [b"lost? %d.%d.%d" % (self.filled, number, i) for i in range(count)]
            future = self.log.submit_batch(entries)
            future.add_done_callback(
                lambda done, entries=entries: acknowledged.extend(
                    zip(done.result().indexes, entries, strict=True)
                )
            )
            futures.append(future)
        for future in futures:
            future.result()
        if not power.is_set():
            noted.extend(acknowledged)
            self.after = self.store.crash(survivors)
        self.world.on_step = None
        whole = list(self.log.entries(0, self.log.size))
        self.log.close()
        self.store = self.after
        self.log = self.open()
        old = len(self.model.entries)
        assert self.log.size >= old
        assert list(self.log.entries(0, self.log.size)) == whole[: self.log.size]
        for index, entry in noted:
            assert self.log.entry(index) == entry
        self.model.grew(whole[old : self.log.size])


@pytest.fixture(autouse=True)
def every_commit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "KEEP_INTERVAL", 0.0)


COMMON = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
EXAMPLES = settings.default.max_examples  # of the profile: a soak takes a hundred times as many

TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(
    max_examples=EXAMPLES // 3, stateful_step_count=40, suppress_health_check=COMMON
)
TestOnDisk = pytest.mark.slow(OnDisk.TestCase)
TestOnDisk.settings = settings(
    max_examples=EXAMPLES // 8, stateful_step_count=40, suppress_health_check=COMMON
)
