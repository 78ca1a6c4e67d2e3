"""The publication of a log, as decisions: may it start, which step comes next, who won a compare-and-swap.

A publication brings one more head of the log to its targets, in this order (design, "Heads, receipts,
publication"); each step is done on every target before the next one begins, and the first target is the
authority:

    staged      one unlocked object holds every new tile and bundle
    headed      `head` names epoch, size and root, by compare-and-swap: who loses it stops here
    signed      the checkpoint is signed, and its bytes are stored and synced by the log
    put         tiles and bundles
    filed       the checkpoint under its size
    pointed     `checkpoint`, never to a smaller size
    shown       the log's own row: readers of the log see the head
    collected   staging and superseded partial tiles are gone

Why this order. Before `headed` nothing was signed or locked, so a second writer is stopped in time. From
`headed` on the target alone can finish: `staged` came first. What is signed was named by `head`, so no later
writer begins beside it. `tests/publication_model` explores every interleaving of these steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from merklelog.errors import BehindError, ForkError
from merklelog.tree.hashing import EMPTY_ROOT, Hash


class TreeHead(NamedTuple):
    """A tree: `size` leaves under the 32-byte `root`. Signed or not."""

    size: int
    root: Hash


EMPTY_TREE: Final = TreeHead(0, EMPTY_ROOT)


def size_of(tree: TreeHead | None) -> int:
    """What trees are compared by; None is before the empty tree."""
    return -1 if tree is None else tree.size


@dataclass(frozen=True, slots=True)
class EpochHead:
    """What a target's `head` says: in `epoch`, which began at size `start`, the log came to `size` and `root`.

    `writer` is 32 hex digits, random at each start, so that a writer that got no answer can tell its own.
    """

    epoch: int
    start: int
    size: int
    root: Hash
    writer: str

    @property
    def tree(self) -> TreeHead:
        """The tree that it names."""
        return TreeHead(self.size, self.root)


class StepName(StrEnum):
    """The steps of a start and of a publication, in their order; `fenced` is where a writer ends.

    With witnesses, when a quorum has cosigned what was published: `cosigned`, its note under `cosigned/<size>`,
    and `witnessed`, the pointer that shows it.
    """

    STARTED = "started"
    STAGED = "staged"
    HEADED = "headed"
    SIGNED = "signed"
    PUT = "put"
    FILED = "filed"
    POINTED = "pointed"
    SHOWN = "shown"
    COLLECTED = "collected"
    COSIGNED = "cosigned"
    WITNESSED = "witnessed"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class PublicationStep:
    """A step that a publisher has passed; `target` is the store's location, "" for a step of the log's own."""

    name: StepName
    target: str
    epoch: int
    size: int
    root: Hash


ORDER: Final = (
    StepName.STAGED,
    StepName.HEADED,
    StepName.SIGNED,
    StepName.PUT,
    StepName.FILED,
    StepName.POINTED,
    StepName.SHOWN,
    StepName.COLLECTED,
)
OF_THE_LOG: Final = frozenset((StepName.SIGNED, StepName.SHOWN))  # once, and not once a target


class Cursor(NamedTuple):
    """Where a publication is: the step to do next, and the number of the target to do it on (0 for the log)."""

    step: StepName
    target: int = 0


def next_step(cursor: Cursor, targets: int) -> Cursor | None:
    """What follows once the step at `cursor` was done, for so many targets; None: the publication is over."""
    if cursor.step not in OF_THE_LOG and cursor.target + 1 < targets:
        return Cursor(cursor.step, cursor.target + 1)
    after = ORDER.index(cursor.step) + 1
    return Cursor(ORDER[after]) if after < len(ORDER) else None


# --- a start ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetState:
    """What a target says before a start: its `head`, and the tree of its verified `checkpoint`.

    `evidence` are the bytes of that checkpoint, or of `head` when there is none. `pointers` are all that show a
    checkpoint, where there are more of them; `shown` is the newest.
    """

    location: str
    head: EpochHead | None
    shown: TreeHead | None
    evidence: bytes = b""
    pointers: tuple[tuple[str, TreeHead], ...] = ()

    @property
    def tree(self) -> TreeHead:
        """The newest tree it names. That is its head's, but where a copy was made before it was a target."""
        return max(self.head.tree if self.head else None, self.shown, key=size_of) or EMPTY_TREE


@dataclass(frozen=True, slots=True)
class StartPlan:
    """A start that may go on: the epoch to take, and the newest tree that was named by anybody."""

    epoch: int
    leader: TreeHead


def plan_start(
    targets: Sequence[TargetState],
    log: TreeHead,
    shown: TreeHead | None,
    epoch: int,
    root_at: Callable[[int], Hash],
    note_at: Callable[[int], bytes | None],
) -> StartPlan:
    """Decides whether a log with the tree `log` may start on these targets (design, "What must always hold", 4).

    Every tree that a target names must be one that this log had: `root_at(size)` gives the log's root for a
    size up to its own, `note_at` the checkpoint it stored for one. `shown` is what the log showed its own
    readers last, `epoch` the newest one it knows of (0: none), so that a target that was emptied does not bring
    an epoch back. Raises BehindError when a target has more than the log, ForkError when it has other entries.
    """
    for target in targets:
        check_target(target, log, root_at, note_at)
    known = max([epoch, *(target.head.epoch for target in targets if target.head)])
    leader = max([shown, *(target.tree for target in targets)], key=size_of) or EMPTY_TREE
    return StartPlan(known + 1, leader)


def check_target(
    target: TargetState,
    log: TreeHead,
    root_at: Callable[[int], Hash],
    note_at: Callable[[int], bytes | None],
) -> None:
    """Checks one target as `plan_start` does. Raises BehindError, ForkError."""
    named = {"head": target.head.tree if target.head else None, "checkpoint": target.shown}
    named.update(target.pointers)
    for name, tree in named.items():
        if tree is None:
            continue
        if tree.size > log.size:
            raise BehindError(
                f"{target.location}: its {name} is at size {tree.size}, and this log has {log.size} entries: an "
                "old copy of the disk, or entries were lost. To sign on from here would fork what was published: "
                f"`merklelog recover DIR --from {target.location}` makes a log that goes on from what is there"
            )
        if (root := root_at(tree.size)) != tree.root:
            raise ForkError(
                f"{target.location}: its {name} has root {tree.root.hex()} at size {tree.size}, this log has "
                f"{root.hex()}: two histories of one log, and this one must not sign",
                target.evidence,
                note_at(tree.size) or b"",
            )


# --- compare-and-swap ------------------------------------------------------------------------------------------


class LostSwap(Enum):
    """What it means that a compare-and-swap of `head` was refused."""

    WON = "it is there: an earlier try of ours, which got no answer, had been stored"
    AGAIN = "what is read is what was compared with, or older: a late read, or a late write"
    OLDER = "a writer of an earlier epoch came in between"
    FENCED = "a writer of this or a later epoch has it"


def judge_lost_swap(wanted: EpochHead, found: EpochHead | None, *, unchanged: bool) -> LostSwap:
    """Decides what to do after `head` was not replaced by `wanted`.

    `found` is what was read then, `unchanged` whether it is still the version that was compared with. A start
    that meets OLDER looks at the target again; a publication that meets it is fenced, since its own epoch
    stood there.
    """
    if found == wanted:
        return LostSwap.WON
    if unchanged or (found is not None and found.writer == wanted.writer):
        return LostSwap.AGAIN  # nobody else writes our name, so one of ours is not what refused us
    if found is not None and found.epoch < wanted.epoch:
        return LostSwap.OLDER
    return LostSwap.FENCED


def is_pointer_behind(pointer: TreeHead | None, aim: TreeHead) -> bool:
    """Whether `checkpoint`, which shows `pointer`, is to move to `aim`: only ever to a larger size."""
    return pointer is None or pointer.size < aim.size
