"""The publisher of a log with targets: the steps of `protocol.publication`, done in their order.

One thread calls it. After an error that is not final the next call goes on where it stopped, with the same head
and the same bytes; what was stored without an answer is recognised. Nothing here waits and nothing repeats by
itself: when to call again is for the caller.

Final are VerificationError (another writer has the targets, other bytes stand where they never change, the log's
own tree is damaged) and UsageError (the place is no target, the configuration can not be used): the publisher
refuses everything after one. Any other error means: call again later.

Several targets are written in the configured order, and the first is the authority: a step is done on all before
the next one begins, so no target's `head` is ever beside the first's. A target that lags behind the others (it is
new, or was added) is brought up first, in bounded pieces, with `head` and staging but without checkpoints of its
own: sizes once passed are never signed again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from merklelog.errors import (
    FencedError,
    ImmutableError,
    LocalError,
    MerklelogError,
    StoppedError,
    UnknownError,
    UnreachableError,
    UsageError,
    VerificationError,
)
from merklelog.protocol.publication import (
    EMPTY_TREE,
    OF_THE_LOG,
    Cursor,
    EpochHead,
    LostSwap,
    PublicationStep,
    StartPlan,
    StepName,
    TreeHead,
    check_target,
    next_step,
    plan_start,
    size_of,
)
from merklelog.publish.beside import Besides
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.objects import ObjectStore
from merklelog.publish.pace import Pace
from merklelog.publish.publishing import (
    Beside,
    Publication,
    PublicationReport,
    PublishedLog,
    Witnessed,
    check_pointer,
    no_step,
    nobody,
    objects_of,
    report_of,
    signed_by,
    slice_of,
)
from merklelog.publish.slices import SLICE_BYTES, next_head
from merklelog.publish.target_writer import ALL_RULES, Rules, TargetWriter
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import Hash
from merklelog.tree.prove import root_hash

_ATTEMPTS: Final = 8
_GROUP: Final = 512  # objects that are put, and then known to be there, at a time

Step = Callable[[PublicationStep], None]


class Publisher:
    """Publishes one log to its targets, one call of `publish` a publication. Not safe for threads.

    `encoding` chooses how a new target's bundles are stored; one that is there says so itself. `now` gives POSIX
    seconds. `step` is told each step when it is done, from the caller's thread; what it raises comes through.
    `limit` bounds what one publication takes, in bytes of tiles and uncompressed bundles (one bundle more, at
    most): that is also what is held in memory. A location in `filled` held this log before: should it be empty,
    nothing starts. `rules` is for tests alone. `witnesses` says which pointer waits for them; see `confirm`.
    """

    def __init__(
        self,
        log: PublishedLog,
        targets: Sequence[ObjectStore],
        *,
        encoding: Callable[[ObjectStore], BundleEncoding],
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000_000,
        step: Step = no_step,
        beside: Callable[[ObjectStore], Beside | None] = nobody,
        filled: Collection[str] = (),
        limit: int = SLICE_BYTES,
        rules: Rules = ALL_RULES,
        witnesses: Witnessed = Witnessed.NOBODY,
    ) -> None:
        if not targets:
            raise UsageError("publisher: no target")
        self._log = log
        self._targets = [
            TargetWriter(
                store,
                encoding,
                log.verifiers,
                rules,
                is_filled=store.location in filled,
                newest=witnesses.newest_key,
                cosigned=witnesses.cosigned_key,
            )
            for store in targets
        ]
        self._beside = Besides([beside(s) for s in targets], [s.location for s in targets], now)
        self._step = step
        self._limit = limit
        self._pace = Pace(lambda: log.integrated().size)
        self._rules = rules
        self._writer = secrets.token_hex(16)
        self._plan: StartPlan | None = None
        self._taken = 0
        self._started = False
        self._leader: TreeHead | None = None
        self._pending: Publication | None = None
        self._piece: Publication | None = None
        self._failure: MerklelogError | None = None

    @property
    def epoch(self) -> int | None:
        """The epoch of this start; None before it has one on every target."""
        return self._plan.epoch if self._plan and self._started else None

    @property
    def behind(self) -> tuple[str, ...]:
        """The targets that do not show yet what another one has, or this log has shown."""
        leader = size_of(self._leader or EMPTY_TREE)
        return tuple(t.location for t in self._targets if size_of(t.pointer or EMPTY_TREE) < leader)

    @property
    def unwritten(self) -> str | None:
        """What those failed with who write beside the publications; they are tried again."""
        return self._beside.failure

    # --- a start ------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """The first part of `start`: hold the log against every target, and write nothing."""
        with self._final_errors():
            if self._plan is None:
                self._plan = self._compare()

    def start(self) -> int:
        """Compare the log with every target, take the next epoch on all, and finish what `head` names.

        Gives the epoch. Raises UnreachableError when a target does not answer: call again, and it goes on with
        the same epoch. Final: BehindError (this log has less than was published of it), ForkError (other entries,
        with what is known of both), FencedError (another writer started meanwhile), DamagedError, SignatureError,
        NotALogError. A lagging target is left to `publish`.
        """
        self.compare()
        with self._final_errors():
            plan = self._plan or self._compare()
            while self._taken < len(self._targets):
                self._take(self._targets[self._taken], plan)
                self._taken += 1
            if not self._started:
                self._begin(plan)
            if self._pending is not None and self._lagging() is None:
                self._run(self._pending)
            return plan.epoch

    def _compare(self) -> StartPlan:
        log = self._log
        states = [target.look() for target in self._targets]
        plan = plan_start(states, log.integrated(), log.shown(), log.epoch(), self._roots(), log.signed)
        for target in self._targets:
            target.is_checked = True
        return plan if self._rules.takes_epoch else StartPlan(max(1, plan.epoch - 1), plan.leader)

    def _roots(self) -> Callable[[int], Hash]:
        newest = self._log.integrated()
        tiles = VerifiedTiles(self._log.tiles(), newest.size, newest.root)
        return lambda size: root_hash(size, tiles.read)

    def _take(self, target: TargetWriter, plan: StartPlan) -> None:
        """Move a target's `head` to the new epoch, at the size and root that it has."""
        for _ in range(_ATTEMPTS):
            if not target.is_checked:
                check_target(target.look(), self._log.integrated(), self._roots(), self._log.signed)
                target.check_epoch(plan.epoch, self._writer)
                target.is_checked = True
            tree = target.tree
            lost = target.take(EpochHead(plan.epoch, tree.size, tree.size, tree.root, self._writer))
            if lost is LostSwap.WON:
                self._emit(StepName.STARTED, target.location, tree)
                return
            target.is_checked = False  # somebody of an earlier epoch wrote in between
        raise UnreachableError(
            f"{target.location}/head: in {_ATTEMPTS} tries it was not replaced by epoch {plan.epoch}: others "
            "write there, or the store shows an older state than it has"
        )

    def _begin(self, plan: StartPlan) -> None:
        """Every target has the epoch: note it, and what there is to finish."""
        leader = max([plan.leader, *(target.tree for target in self._targets)], key=size_of)
        for target in self._targets:
            target.survey(leader.size)
        self._log.record_epoch(plan.epoch, leader)
        self._leader = leader
        if leader.size:
            shown = [target.pointer for target in self._targets] + [self._log.shown()]
            done = all(tree is not None and tree.size >= leader.size for tree in shown)
            self._pending = Publication(leader, Cursor(StepName.COLLECTED if done else StepName.SIGNED))
            self._pending.moved, self._pending.is_cut = not done, True
        self._started = True

    # --- publications -------------------------------------------------------------------------------------------

    def publish(self) -> PublicationReport | None:
        """Publish what is integrated, or a bounded part of it; None, without a request: there is nothing to do."""
        with self._final_errors():
            if not self._started:
                raise UsageError("publisher: start() has to come first")
            if (lagging := self._lagging()) is not None:
                return self._level(lagging)
            if self._pending is None:
                self._pending = self._next()
            if self._pending is None:
                return self._tick()
            report = self._run(self._pending)
            self._beside.write_all([target.pointer for target in self._targets], self._log.tiles())
            return replace(report, uncollected=report.uncollected or self.unwritten)

    def _next(self) -> Publication | None:
        newest, leader = self._log.integrated(), self._leader
        if leader is None or newest.size <= leader.size:
            return None
        aim = next_head(self._log.tiles(), leader, newest, self._pace, self._limit)
        return Publication(aim, Cursor(StepName.STAGED), is_cut=aim.size < newest.size)

    def _run(self, pub: Publication) -> PublicationReport:
        while pub.cursor is not None:
            target = self._targets[pub.cursor.target]
            self._do(pub, pub.cursor.step, target)
            place = "" if pub.cursor.step in OF_THE_LOG else target.location
            if pub.cursor.step is not StepName.COLLECTED or pub.uncollected is None:
                self._emit(pub.cursor.step, place, pub.aim)
            pub.cursor = next_step(pub.cursor, len(self._targets))
        self._leader, self._pending = pub.aim, None
        return self._report(pub)

    def _do(self, pub: Publication, step: StepName, target: TargetWriter) -> None:
        if step is StepName.STAGED:
            if not self._rules.signs_after_head:
                pub.note = self._log.sign(pub.aim)
            new = slice_of(self._log, pub, target.floor, target.encoding, self._pace)
            target.stage(new)
            pub.staged += len(new.staging)
        elif step is StepName.HEADED:
            target.move(self._head_at(target, pub.aim))
        elif step is StepName.SIGNED:
            pub.note = signed_by(self._log, pub.aim)
        elif step is StepName.PUT:
            self._put(pub, target)
        elif step is StepName.FILED:
            target.file(pub.aim.size, pub.note)
        elif step is StepName.POINTED:
            self._beside.mark(self._targets.index(target), target.pointer)
            target.point(pub.aim, pub.note, partial(check_pointer, self._log, self._roots))
        elif step is StepName.SHOWN:
            self._log.record_shown(pub.aim, pub.note)
        else:
            self._collect(pub, target)

    def _head_at(self, target: TargetWriter, tree: TreeHead) -> EpochHead:
        start = target.head.start if target.head else tree.size
        return EpochHead(self._plan.epoch if self._plan else 1, start, tree.size, tree.root, self._writer)

    def _put(self, pub: Publication, target: TargetWriter) -> None:
        self._put_all(pub, target)
        if target is self._targets[-1]:
            pub.slices.clear()

    def _put_all(self, pub: Publication, target: TargetWriter) -> None:
        """Everything up to the head, in groups, so that an error loses no more than one of them."""
        whole = objects_of(self._log.tiles(), pub, target.floor, target.encoding, self._pace)
        objects = islice(whole, pub.put, None)
        count = _GROUP
        while count == _GROUP:
            count, created = target.put(islice(objects, _GROUP))
            pub.created += created
            pub.put += count
        pub.put = 0
        target.floor = max(target.floor, pub.aim.size)

    def _collect(self, pub: Publication, target: TargetWriter) -> None:
        """Step 8. Its failure stops no publication: what is left is tried with the next one, and told."""
        try:
            pub.collected += target.collect()
        except (UnknownError, LocalError, ImmutableError) as error:  # it stays, and harms nobody
            pub.uncollected = f"{target.location}: {error}"

    def confirm(self, tree: TreeHead, note: bytes) -> bool:
        """Witnesses cosigned what was published: file the note, and show it where that waits. Raises as `publish`.

        To be called again after an error; also when it is False: `publish` brings a target up to the tree first.
        """
        with self._final_errors():
            if min(target.floor for target in self._targets) < tree.size:
                return False
            for target in self._targets:
                target.file_cosigned(tree.size, note)
                self._emit(StepName.COSIGNED, target.location, tree)
            for target in self._targets:
                target.point_cosigned(tree, note, partial(check_pointer, self._log, self._roots))
                self._emit(StepName.WITNESSED, target.location, tree)
            self._log.record_witnessed(tree, note)
            return True

    # --- a target that lags, and nothing to publish -------------------------------------------------------------

    def _lagging(self) -> TargetWriter | None:
        """The first target whose `head` is behind what another one has, or this log has shown."""
        leader = self._leader
        return next((t for t in self._targets if leader and t.head and t.head.size < leader.size), None)

    def _level(self, target: TargetWriter) -> PublicationReport:
        """Bring a lagging target one bounded piece further, without a checkpoint: staged, `head`, put.

        The last piece is put by the publication that follows, as what any `head` names is.
        """
        leader = self._leader or EMPTY_TREE
        if self._piece is None:
            floor = TreeHead(target.floor, self._roots()(target.floor))
            aim = next_head(self._log.tiles(), floor, leader, self._pace, self._limit)
            is_named = target.head is not None and aim.size <= target.head.size
            first = Cursor(StepName.PUT if is_named else StepName.STAGED)
            self._piece = Publication(aim, first, moved=False, is_cut=True)
        piece = self._piece
        if piece.cursor == Cursor(StepName.STAGED):
            target.stage(new := slice_of(self._log, piece, target.floor, target.encoding, self._pace))
            piece.staged = len(new.staging)
            self._emit(StepName.STAGED, target.location, piece.aim)
            piece.cursor = Cursor(StepName.HEADED)
        if piece.cursor == Cursor(StepName.HEADED):
            target.move(self._head_at(target, piece.aim))
            self._emit(StepName.HEADED, target.location, piece.aim)
            piece.cursor = Cursor(StepName.PUT)
        if piece.aim != leader:
            self._put_all(piece, target)
            self._emit(StepName.PUT, target.location, piece.aim)
            self._collect(piece, target)
        self._piece = None
        return self._report(piece)

    def _tick(self) -> PublicationReport | None:
        """Let write whoever has something due, once `head` is known to be ours; a report: there is more of it."""
        more = False
        for n, target in enumerate(self._targets):
            if target.head and self._beside.is_due(n, target.pointer):
                target.move(target.head)
                more |= self._beside.write(n, target.pointer, self._log.tiles())
        return self._report(Publication(self._leader or EMPTY_TREE, None, moved=False)) if more else None

    # --- reports and failures -----------------------------------------------------------------------------------

    def _report(self, pub: Publication) -> PublicationReport:
        epoch = self._plan.epoch if self._plan else 0
        return report_of(
            pub, epoch, [target.pointer for target in self._targets], self._log.integrated().size
        )

    def _emit(self, name: StepName, target: str, tree: TreeHead) -> None:
        self._step(PublicationStep(name, target, self._plan.epoch if self._plan else 0, *tree))

    @contextmanager
    def _final_errors(self) -> Iterator[None]:
        """Remember an error that is final, and refuse after one."""
        if self._failure is not None:
            raise StoppedError(f"the publisher stopped after a failure: {self._failure}") from self._failure
        try:
            yield
        except (VerificationError, UsageError) as error:
            self._failure = error
            if isinstance(error, FencedError):
                self._emit(StepName.FENCED, "", self._leader or EMPTY_TREE)
            raise
