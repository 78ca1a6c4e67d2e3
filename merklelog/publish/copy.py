"""A static tlog-tiles copy of what a log has signed, made and brought up to date by the same call.

The order is the promise (design, "What must always hold", 3): whoever sees a checkpoint of the copy can fetch
everything under it. So everything new is put first and is durable, then the checkpoint under its size, then
`checkpoint` by compare-and-swap; a kill between any two of these leaves a copy that is whole for what it
shows, and the same call again goes on from there, since objects that are there already with the same bytes
are left as they are.

Nothing is believed on the way: every tile and bundle is checked against the root of the checkpoint that is
published before it is put, so a damaged log is never copied, and a copy of another log or of another history
is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from merklelog.errors import BehindError, ConfigError
from merklelog.formats.keys import VerifierKey
from merklelog.publish.collect import collect_partials
from merklelog.publish.encoding import BundleEncoding, parse_bundle_encoding
from merklelog.publish.heads import Head, check_same_history, head_to_publish, newest_head, read_copy_head
from merklelog.publish.layout import (
    CHECKPOINT_KEY,
    CHECKPOINT_KIND,
    CHECKPOINT_OF_SIZE_KIND,
    MANIFEST_KIND,
    MARK_KIND,
    UNFINISHED_KEY,
    checkpoint_key,
)
from merklelog.publish.manifest import MANIFEST_KEY, Manifest, format_manifest
from merklelog.publish.objects import NewObject, ObjectStore
from merklelog.publish.slices import object_of, tiles_to_put
from merklelog.publish.source import TileSource
from merklelog.publish.stored import StoredTiles, copy_encoding
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.tiles import TILE_WIDTH

# The stages of a publication, in their order; `step` is called with each name when that stage is done.
STEPS: Final = (
    "checked",
    "manifest",
    "marked",
    "full",
    "partial",
    "stored",
    "shown",
    "collected",
    "finished",
)

_MARK: Final = b"A publication is running here or was killed. Publishing again finishes it.\n"

Progress = Callable[[int, int], None]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a publication did.

    `size` is what the copy shows now, `previous` what it showed before (None: it was new); `newest` is the
    newest size the log has signed (larger than `size` when its other keys have not signed that one yet);
    `moved` says whether this publication moved `checkpoint`; `created` counts new tiles and bundles,
    `collected` the partial ones removed.
    """

    origin: str
    size: int
    previous: int | None
    newest: int
    moved: bool
    created: int
    collected: int


def _no_progress(_done: int, _total: int) -> None:
    """The progress callback that does nothing."""


def _no_step(_name: str) -> None:
    """The step hook that does nothing."""


def publish_copy(
    source: TileSource,
    dest: ObjectStore,
    *,
    verifiers: Sequence[VerifierKey],
    bundle_encoding: str | None = None,
    progress: Progress = _no_progress,
    step: Step = _no_step,
) -> PublishReport:
    """Bring a static copy up to the newest stored checkpoint; the first time, make it.

    `verifiers` are the log's keys. `bundle_encoding` is "identity" or "gzip"; None takes what the copy has,
    identity for a new one. `progress(done, total)` counts new entries. Costs what is new since the copy's
    checkpoint, and holds a bounded part of it; when it returns, everything the copy shows is as durable as
    `dest` makes it.

    Raises, with the copy unchanged: NotALogError for a place that holds something else; ConfigError for an
    encoding that is none or not the copy's; FormatVersionError for a copy by a newer version; DamagedError
    and SignatureError for a copy whose checkpoint or right edge is damaged or another log's; BehindError when
    the copy is newer than the log (a backup, brought back); ForkError with both notes when their histories
    differ. Raises, with what it shows unchanged: DamagedError for a tile or bundle of the log that does not
    lead to the signed root; ImmutableError for an object of the copy that is there with other bytes; what
    `source` and `dest` raise. Source: c2sp.org/tlog-tiles, "APIs".
    """
    asked = None if bundle_encoding is None else parse_bundle_encoding(bundle_encoding)
    encoding, is_new = _copy_encoding(dest, asked)
    shown = read_copy_head(dest, verifiers)
    newest = newest_head(source, verifiers)
    target = head_to_publish(source, verifiers, newest, shown.size if shown else 0)
    run = _Publication(source, dest, encoding, verifiers, target, progress, step)
    run.check(shown, newest)
    step("checked")
    if is_new:
        dest.put_immutable(MANIFEST_KEY, format_manifest(Manifest(encoding)), MANIFEST_KIND)
    step("manifest")
    return run.publish(shown, newest)


def _copy_encoding(dest: ObjectStore, asked: BundleEncoding | None) -> tuple[BundleEncoding, bool]:
    """How the copy's bundles are stored, and whether the copy is still to be made."""
    there = copy_encoding(dest)
    if there is None:
        return asked or BundleEncoding.IDENTITY, True
    if asked not in (None, there):
        raise ConfigError(f"{dest.location}: its bundles are stored as {there}, asked for {asked}")
    return there, False


class _Publication:
    """One publication of `target`: the stages, in the order in which they must happen."""

    def __init__(
        self,
        source: TileSource,
        dest: ObjectStore,
        encoding: BundleEncoding,
        verifiers: Sequence[VerifierKey],
        target: Head,
        progress: Progress,
        step: Step,
    ) -> None:
        self._dest = dest
        self._encoding = encoding
        self._verifiers = verifiers
        self._target = target
        self._progress = progress
        self._step = step
        self._tiles = VerifiedTiles(source, target.size, target.root)
        self._contested = False

    def check(self, shown: Head | None, newest: Head) -> None:
        """Compare the log with what the copy shows, before anything is changed."""
        self._tiles.check()
        if shown is None:
            return
        self._compare(shown)
        if shown.size > newest.size:
            raise BehindError(
                f"{self._dest.location}: it shows size {shown.size}, and this log has signed only up to "
                f"{newest.size}: is it a backup that was brought back?"
            )

    def _compare(self, shown: Head) -> None:
        """Check the copy's right edge, and that one history holds both what it shows and the target."""
        copied = VerifiedTiles(StoredTiles(self._dest, self._encoding), shown.size, shown.root)
        copied.check()
        if shown.size > self._target.size:
            check_same_history(copied, shown, self._target)
        else:
            check_same_history(self._tiles, self._target, shown)

    def publish(self, shown: Head | None, newest: Head) -> PublishReport:
        old, target = shown.size if shown else 0, self._target
        unfinished = self._dest.stat(UNFINISHED_KEY) is not None
        work = shown is None or (target.size, target.signers) > (old, shown.signers)
        if work and not unfinished:
            self._dest.put(UNFINISHED_KEY, _MARK, MARK_KIND)
        self._step("marked")
        created, size, moved = 0, old, False
        if work:
            created = self._put_tree(old)
            self._dest.put_immutable(checkpoint_key(target.size), target.note, CHECKPOINT_OF_SIZE_KIND)
            self._step("stored")
            size, moved = self._show(shown)
            self._step("shown")
        collected = 0
        if work or unfinished:
            # One that was killed may have left partial tiles of a size never shown, and one that ran at the
            # same time those of a size this one knows nothing of: then look everywhere.
            everywhere = unfinished or self._contested
            collected = collect_partials(self._dest, None if everywhere else old, size)
            self._step("collected")
            self._dest.delete(UNFINISHED_KEY)
        self._step("finished")
        previous = shown.size if shown else None
        return PublishReport(target.origin, size, previous, newest.size, moved, created, collected)

    def _put_tree(self, old: int) -> int:
        """Put what is new since `old`: full tiles and bundles, then partial ones, durable when it returns."""
        if old >= self._target.size:
            return 0
        created = self._dest.put_many(self._objects(old, partial=False))
        self._step("full")
        created += self._dest.put_many(self._objects(old, partial=True))
        self._step("partial")
        return created

    def _objects(self, old: int, *, partial: bool) -> Iterator[NewObject]:
        new = self._target.size
        for tile in tiles_to_put(old, new):
            if (tile.width < TILE_WIDTH) is partial:
                yield object_of(self._tiles, tile, self._encoding)
                if tile.level == 0:
                    self._progress(min(new, (tile.index + 1) * TILE_WIDTH) - old, new - old)

    def _show(self, shown: Head | None) -> tuple[int, bool]:
        """Move `checkpoint` to the target, never back: the size it shows then, and whether this moved it."""
        while True:
            expected = shown.version if shown else None
            if (
                self._dest.put_if_version(CHECKPOINT_KEY, self._target.note, expected, CHECKPOINT_KIND)
                is not None
            ):
                return self._target.size, True
            # Somebody else published meanwhile. That is fine if it is the same history; if it is not, say so.
            self._contested = True
            shown = read_copy_head(self._dest, self._verifiers)
            if shown is not None:
                self._compare(shown)
                if (shown.size, shown.signers) >= (self._target.size, self._target.signers):
                    return shown.size, False
