"""One publish target as its one writer sees it: what it says, and each step of a publication done on it.

Every method may be called again after it raised: what was stored without an answer is recognised then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from merklelog.errors import (
    DamagedError,
    FencedError,
    FormatError,
    NotFoundError,
)
from merklelog.formats.keys import VerifierKey
from merklelog.protocol.publication import (
    EMPTY_TREE,
    EpochHead,
    LostSwap,
    TargetState,
    TreeHead,
    judge_lost_swap,
    size_of,
)
from merklelog.publish.collect import partials_at
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    CHECKPOINT_OF_SIZE_KIND,
    HEAD_KEY,
    HEAD_KIND,
    MANIFEST_KIND,
    STAGING,
    STAGING_KIND,
    checkpoint_key,
    cosigned_key,
    parse_staging_key,
    staging_key,
)
from merklelog.publish.manifest import MANIFEST_KEY, Manifest, format_manifest
from merklelog.publish.moving import ATTEMPTS, MovingPointer, unsettled
from merklelog.publish.objects import NewObject, ObjectStore
from merklelog.publish.pointer import StoredHead, format_head, read_head
from merklelog.publish.slices import Slice
from merklelog.publish.staging import MAX_STAGING_BYTES, parse_staging
from merklelog.publish.stored import copy_encoding, refuse_lost_pointers
from merklelog.tree.tiles import BUNDLE_LEVEL, TILE_WIDTH, Tile, parse_path, width_at

_COLLECTED: Final = 900  # keys at a time: with the older versions beside them, S3 takes 1,000 in one request
# Where nothing can be deleted, what is left would pile up here too. A partial tile that is forgotten harms nobody.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of the protocol that it can not do without. Tests leave out one at a time, and must notice.

    No configuration reaches these.
    """

    stages: bool = True  # what is new is staged before `head` names it
    swaps_head: bool = True  # `head` moves by compare-and-swap only
    signs_after_head: bool = True  # nothing is signed that `head` does not name
    keeps_pointer: bool = True  # `checkpoint` never moves to a smaller size
    takes_epoch: bool = True  # every start takes an epoch of its own


ALL_RULES: Final = Rules()


class TargetWriter:
    """One target of one log; not safe for threads.

    `head` is what this writer put into the target's `head` or read there, `pointer` the tree that `checkpoint`
    shows, and every tile and bundle up to size `floor` stands there under its own key. `is_checked` is for the
    caller: it is False again from each `look` on.
    """

    def __init__(
        self,
        store: ObjectStore,
        choose: Callable[[ObjectStore], BundleEncoding],
        verifiers: Sequence[VerifierKey],
        rules: Rules,
        *,
        is_filled: bool = False,
        newest: str = CHECKPOINT_KEY,
        cosigned: str | None = None,
    ) -> None:
        """`is_filled`: this log was published here before, so a place that holds nothing is not taken.

        `newest` is the pointer that each publication moves, `cosigned` the one that follows with witnesses.
        """
        self.store = store
        self.encoding = BundleEncoding.IDENTITY
        self.head: EpochHead | None = None
        self.floor = 0
        self.is_checked = False
        self._choose = choose
        self._rules = rules
        self._is_filled = is_filled
        self._is_new = False
        self._head_version: str | None = None
        self._head_data = b""
        keeps = rules.keeps_pointer
        self._newest = MovingPointer(store, verifiers, newest, keeps=keeps)
        self._cosigned = MovingPointer(store, verifiers, cosigned, keeps=keeps) if cosigned else None
        self._staged: dict[str, int] = {}
        self._partials: set[Tile] = set()

    @property
    def location(self) -> str:
        """How a person names the target."""
        return self.store.location

    @property
    def pointer(self) -> TreeHead | None:
        """The newest tree that a pointer of the target shows."""
        return max([pointer.tree for pointer in self._pointers], key=size_of)

    @property
    def _pointers(self) -> tuple[MovingPointer, ...]:
        return (self._newest,) if self._cosigned is None else (self._newest, self._cosigned)

    # --- a start ------------------------------------------------------------------------------------------------

    def look(self) -> TargetState:
        """Read what the target says; changes nothing.

        Raises NotALogError for a place that holds something else, FormatVersionError for one by a newer version,
        DamagedError and SignatureError for a `head` or `checkpoint` that is damaged or another log's. DamagedError
        also where both are gone: from a target that has checkpoints, or with all else where the log was before.
        """
        self.is_checked = False
        there = copy_encoding(self.store)
        if there is None and self._is_filled:
            raise DamagedError(
                f"{self.location}: it holds nothing, and this log was published there: emptied, or not mounted? "
                "Nothing was written. Were this an old copy of the disk, going on would fork the log. If it "
                f"really is to be filled again: `merklelog publish DIR --refill {self.location}`"
            )
        self._is_new = there is None
        self.encoding = self._choose(self.store) if there is None else there
        self._read_head()
        for pointer in self._pointers:
            pointer.read()
        self.floor = self.pointer.size if self.pointer else 0
        if there is not None and self.head is None and self.pointer is None:
            refuse_lost_pointers(self.store)
        evidence = max(self._pointers, key=lambda pointer: size_of(pointer.tree)).note or self._head_data
        shown = [(pointer.key, pointer.tree) for pointer in self._pointers if pointer.tree is not None]
        return TargetState(self.location, self.head, self.pointer, evidence, tuple(shown))

    @property
    def tree(self) -> TreeHead:
        """The newest tree that `head` or `checkpoint` names."""
        return max(self.head.tree if self.head else None, self.pointer, key=size_of) or EMPTY_TREE

    def check_epoch(self, epoch: int, writer: str) -> None:
        """Check that what was read last leaves this epoch to this writer. Raises FencedError.

        Without it, two that start at once could come to have one epoch: the other one has taken it since the
        number was chosen, and a compare-and-swap against what is read now would succeed.
        """
        if self.head is not None and self.head.epoch >= epoch and self.head.writer != writer:
            raise self._fenced(StoredHead(self.head, self._head_version or "", self._head_data))

    def take(self, wanted: EpochHead) -> LostSwap:
        """Try once to move `head` to a new epoch: WON, or what else it may be. Raises FencedError."""
        if self._is_new:
            self.store.put_immutable(MANIFEST_KEY, format_manifest(Manifest(self.encoding)), MANIFEST_KIND)
            self._is_new = False
        return self._swap(wanted)

    def survey(self, size: int) -> None:
        """Learn which staging objects and partial tiles earlier writers left, once `head` is ours.

        `size` is that of the head that is finished next. Lists a few prefixes.
        """
        for key in self.store.list_keys(STAGING):
            try:
                self._staged[key] = parse_staging_key(key)[0]
            except FormatError:
                continue  # not of this format, so not ours to delete
        edges = {size, self.floor, *(self._edge(key) for key, at in self._staged.items() if at == size)}
        for edge in edges:
            self._partials.update(map(parse_path, partials_at(self.store, edge)))

    def _edge(self, key: str) -> int:
        """A size within the first bundle that a staged publication put; 0 when it does not tell.

        It was killed before it collected, and what it would have are the partial tiles at that size.
        """
        try:
            staged = parse_staging(self.store.get(key, limit=MAX_STAGING_BYTES).data)
        except (NotFoundError, FormatError, DamagedError):
            return 0  # it is not locked, so it may be gone or anything; partial tiles left behind harm nobody
        bundles = [tile.index for tile in staged.tiles() if tile.level == BUNDLE_LEVEL]
        return min(bundles) * TILE_WIDTH + 1 if bundles else 0

    # --- the steps of a publication -----------------------------------------------------------------------------

    def stage(self, new: Slice) -> None:
        """Step 1: everything new in one object."""
        key = staging_key(new.head.size, new.head.root)
        if len(self._staged) < _REMEMBERED:
            self._staged[key] = new.head.size
        if not self._rules.stages:
            return
        # Nearly always nothing is there yet. Asked so, a bucket says that this is its only version, and nobody has
        # to list them to collect it.
        if self.store.put_if_version(key, new.staging, None, STAGING_KIND) is None:
            self.store.put(key, new.staging, STAGING_KIND)

    def move(self, wanted: EpochHead) -> None:
        """Step 2: `head` moves from what this writer put there to `wanted`. Raises FencedError when it can not."""
        for _ in range(ATTEMPTS):
            lost = self._swap(wanted)
            if lost is LostSwap.WON:
                return
            if lost is LostSwap.OLDER:
                raise self._fenced(read_head(self.store))
        raise unsettled(self.location, HEAD_KEY)

    def put(self, objects: Iterable[tuple[Tile, NewObject]]) -> tuple[int, int]:
        """Step 4: tiles and bundles, taken one at a time; how many there were, and how many were new."""
        count = 0

        def noting() -> Iterable[NewObject]:
            nonlocal count
            for tile, new in objects:
                count += 1
                if tile.width < TILE_WIDTH and len(self._partials) < _REMEMBERED:
                    self._partials.add(tile)
                yield new

        created = self.store.put_many(noting())
        return count, created

    def file(self, size: int, note: bytes) -> None:
        """Step 5: the checkpoint under its size."""
        self.store.put_immutable(checkpoint_key(size), note, CHECKPOINT_OF_SIZE_KIND)

    def point(self, aim: TreeHead, note: bytes, check: Callable[[TreeHead, bytes], None]) -> None:
        """Step 7: `checkpoint` moves to `aim` unless it shows as much; `check` judges what others put there.

        Where it waits for witnesses, `checkpoint.unwitnessed` moves in its place.
        """
        self._newest.move(aim, note, check)

    def file_cosigned(self, size: int, note: bytes) -> None:
        """A checkpoint with its cosignatures under its size; one that is there with others stays."""
        self.store.put_immutable(cosigned_key(size), note, CHECKPOINT_OF_SIZE_KIND)

    def point_cosigned(self, aim: TreeHead, note: bytes, check: Callable[[TreeHead, bytes], None]) -> None:
        """The pointer to the newest cosigned checkpoint moves to `aim`, or to newer cosignatures of it."""
        if self._cosigned is not None:
            self._cosigned.move(aim, note, check, renew=True)

    def collect(self) -> int:
        """Step 8: what nobody needs once everything up to `floor` is there; how many objects went.

        Staging objects of sizes up to `floor`, whoever left them: `head` came to `floor`, and never goes back.
        Partial tiles whose full ones are there, and older versions of what is replaced. One request on S3: what
        is more waits for the next time.
        """
        done = [key for key, size in self._staged.items() if size <= self.floor][:_COLLECTED]
        edges = (t for t in self._partials if width_at(t.level, t.index, self.floor) == TILE_WIDTH)
        full = list(islice(edges, _COLLECTED - len(done)))
        keys = [*done, *(tile.path for tile in full)]
        if keys:
            pointers = [pointer.key for pointer in self._pointers]
            self.store.delete_many(keys, superseded=(HEAD_KEY, *pointers))
        for key in done:
            del self._staged[key]
        self._partials.difference_update(full)
        return len(keys)

    # --- what is there ------------------------------------------------------------------------------------------

    def _swap(self, wanted: EpochHead) -> LostSwap:
        data = format_head(wanted)
        version: str | None
        if self._rules.swaps_head:
            version = self.store.put_if_version(HEAD_KEY, data, self._head_version, HEAD_KIND)
        else:
            version = self.store.put(HEAD_KEY, data, HEAD_KIND)
        lost = LostSwap.WON
        if version is None:
            found = read_head(self.store)
            unchanged = (found.version if found else None) == self._head_version
            lost = judge_lost_swap(wanted, found.head if found else None, unchanged=unchanged)
            if lost is LostSwap.FENCED:
                raise self._fenced(found)
            version = found.version if found else None
        if lost is LostSwap.WON:
            self.head, self._head_version, self._head_data = wanted, version, data
        return lost

    def _read_head(self) -> None:
        found = read_head(self.store)
        self.head = found.head if found else None
        self._head_version = found.version if found else None
        self._head_data = found.data if found else b""

    def _fenced(self, found: StoredHead | None) -> FencedError:
        there = f"epoch {found.head.epoch}, size {found.head.size}" if found else "nothing"
        ours = f"epoch {self.head.epoch}, size {self.head.size}" if self.head else "nothing"
        return FencedError(
            f"{self.location}/{HEAD_KEY}: it holds {there}, and this writer knew {ours} there: another process "
            "publishes this log (a copy of its disk, or a recovered log?), so this one stops; what it had not "
            "published is in its own database only"
        )
