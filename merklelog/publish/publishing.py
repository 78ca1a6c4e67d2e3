"""What a publisher asks of a log, what else may write into a target, and what a publication tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from merklelog.errors import DamagedError, FencedError, ForkError
from merklelog.formats.keys import VerifierKey
from merklelog.protocol.publication import Cursor, PublicationStep, TreeHead, size_of
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.heads import verify_head
from merklelog.publish.layout import CHECKPOINT_KEY, UNWITNESSED_KEY, WITNESSED_KEY
from merklelog.publish.objects import NewObject, ObjectStore
from merklelog.publish.pace import Pace
from merklelog.publish.slices import Slice, cut_slice, new_objects
from merklelog.publish.source import TileReads
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import Hash
from merklelog.tree.tiles import Tile


class PublishedLog(Protocol):
    """What a publisher asks of the log it publishes. Called from the publisher's thread alone."""

    @property
    def origin(self) -> str:
        """The log's name."""

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The keys that its checkpoints are signed with."""

    def integrated(self) -> TreeHead:
        """The newest durable tree."""

    def tiles(self) -> TileReads:
        """Its tiles and bundles, at any width that is there up to the integrated size."""

    def epoch(self) -> int:
        """The newest epoch that `record_epoch` was called with; 0: none."""

    def signed(self, size: int) -> bytes | None:
        """The checkpoint that is stored for that size."""

    def shown(self) -> TreeHead | None:
        """What `record_shown` was called with last, in this life of the log or an earlier one."""

    def sign(self, head: TreeHead) -> bytes:
        """The checkpoint of that tree, signed by every key; stored and synced before it is given.

        What is stored for the size already is given as it is. Raises DamagedError when it is not the log's tree.
        """

    def record_epoch(self, epoch: int, head: TreeHead) -> None:
        """Note the epoch, durably: every target has it, and began it with `head` or less."""

    def record_shown(self, head: TreeHead, note: bytes) -> None:
        """Note what every target shows, durably; readers of the log see it from then on.

        Of a log that waits for witnesses they see it later, by `record_witnessed`.
        """

    def record_witnessed(self, head: TreeHead, note: bytes) -> None:
        """Note, durably, the newest published checkpoint that a quorum cosigned, with its cosignatures."""


class Witnessed(Enum):
    """What a log's witnesses have to do with what its targets show.

    NOBODY is asked; `checkpoint` waits for them (HOLD); or it goes on without them (CONTINUE).
    """

    NOBODY = "nobody"
    HOLD = "hold"
    CONTINUE = "continue"

    @property
    def newest_key(self) -> str:
        """The pointer that each publication moves."""
        return UNWITNESSED_KEY if self is Witnessed.HOLD else CHECKPOINT_KEY

    @property
    def cosigned_key(self) -> str | None:
        """The pointer that shows the newest checkpoint with a quorum; None where nobody is asked."""
        return {Witnessed.HOLD: CHECKPOINT_KEY, Witnessed.CONTINUE: WITNESSED_KEY}.get(self)


class Beside(Protocol):
    """Somebody who writes more into a target, for example the entries as files for analysts."""

    def due(self, now: int, size: int) -> bool:
        """Whether `run` has something to do though nothing is published; `size` is what the target shows."""

    def run(self, now: int, shown: TreeHead, tiles: TileReads) -> int:
        """Write what is due of the entries under `shown`; how many objects. Called again after an error."""


@dataclass(frozen=True, slots=True)
class PublicationReport:
    """What one call of `publish` did.

    `head` is what every target shows now, None when nothing yet; `moved` says whether this call moved it.
    `created` counts new tiles and bundles, `staged` bytes of staging objects, `collected` objects that went, all
    over all targets. `backlog` counts integrated entries that are not published. `uncollected` says why
    superseded objects are still there; the next publication tries them again. `is_cut`: it was bounded, or brought
    a lagging target further, so that more may be done at once.
    """

    epoch: int
    head: TreeHead | None
    moved: bool
    created: int
    staged: int
    collected: int
    backlog: int
    is_cut: bool = False
    uncollected: str | None = None


@dataclass(slots=True)
class Publication:
    """A publication that is under way: its head, the step that comes next, and what it made so far."""

    aim: TreeHead
    cursor: Cursor | None
    note: bytes = b""
    slices: dict[tuple[int, BundleEncoding], Slice] = field(default_factory=dict)
    put: int = 0  # objects that stand on the target of the cursor
    moved: bool = True
    created: int = 0
    staged: int = 0
    collected: int = 0
    uncollected: str | None = None
    is_cut: bool = False  # more was to be published, and it was bounded


def slice_of(log: PublishedLog, pub: Publication, floor: int, encoding: BundleEncoding, pace: Pace) -> Slice:
    """All that is new above `floor`, cut once for all targets that have as much."""
    known = pub.slices.get((floor, encoding))
    if known is None:
        known = cut_slice(log.tiles(), log.origin, floor, pub.aim, encoding, pace)
        pub.slices[floor, encoding] = known
    return known


def objects_of(
    tiles: TileReads, pub: Publication, floor: int, encoding: BundleEncoding, pace: Pace
) -> Iterator[tuple[Tile, NewObject]]:
    """What is new above `floor`: as it was staged; after a start from the log's own tiles, which are the same."""
    if (known := pub.slices.get((floor, encoding))) is not None:
        return pace.over(known.objects())
    if floor >= pub.aim.size:
        return iter(())
    return pace.over(new_objects(VerifiedTiles(tiles, *pub.aim), floor, pub.aim.size, encoding))


def report_of(
    pub: Publication, epoch: int, shown: list[TreeHead | None], integrated: int
) -> PublicationReport:
    """What to tell of a publication, with what each target shows and how many entries there are."""
    least = min(shown, key=size_of) if None not in shown else None
    return PublicationReport(
        epoch,
        least,
        pub.moved,
        pub.created,
        pub.staged,
        pub.collected,
        integrated - (least.size if least else 0),
        pub.is_cut,
        pub.uncollected,
    )


def signed_by(log: PublishedLog, aim: TreeHead) -> bytes:
    """The log's checkpoint; what will be locked for years is judged as any reader would. Raises DamagedError."""
    note = log.sign(aim)
    head = verify_head(note, log.verifiers, f"the log's checkpoint of size {aim.size}")
    if (head.origin, head.size, head.root) != (log.origin, *aim):
        raise DamagedError(
            f"the log signed size {head.size} and root {head.root.hex()} of {head.origin}, want size "
            f"{aim.size} and root {aim.root.hex()} of {log.origin}"
        )
    return note


def check_pointer(
    log: PublishedLog, roots: Callable[[], Callable[[int], Hash]], found: TreeHead, note: bytes
) -> None:
    """Judge a checkpoint that somebody else put: it must be of our history. Raises FencedError, ForkError."""
    newest = log.integrated()
    if found.size > newest.size:
        raise FencedError(
            f"a target shows size {found.size}, this log has {newest.size} entries: another process "
            "publishes this log, so this one stops"
        )
    if (root := roots()(found.size)) != found.root:
        raise ForkError(
            f"a target shows size {found.size} with root {found.root.hex()}, this log has {root.hex()} there",
            note,
            log.signed(found.size) or b"",
        )


def no_step(_step: PublicationStep) -> None:
    """The step hook that does nothing."""


def nobody(_store: ObjectStore) -> Beside | None:
    """The `beside` where nothing else is written."""
    return None
