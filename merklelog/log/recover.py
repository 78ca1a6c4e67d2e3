"""Recovery: a data directory made anew from a published copy, every leaf, tile, root and signature verified.

The copy is only read. What `head` names and no checkpoint shows yet is finished from its staging object in the new
database, its checkpoint signed, and the next start brings it to the target: that start also takes the next epoch,
which is what tells the receipts that were lost with the old disk. So a recovery may be repeated, be killed and
gone on with, and be done for practice beside the log that it is of.

What is not there can not come back: entries that only receipts were given for, idempotency keys, and identities
that callers gave with their entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, DamagedError, StorageError, UsageError
from merklelog.formats import SignatureType, VerifierKey, format_vkey
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.publish import ObjectStore
from merklelog.publish.verified import VerifiedTiles
from merklelog.store import Store
from merklelog.tree import EMPTY_ROOT, HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Frontier, Hash, TreeSize
from merklelog.tree.hashing import SIZE_LIMIT

from .config import FILE, format_config, load_config
from .create import LogInfo
from .directory import FORMAT_FILE, INDEX, check_path, format_line, sync_path, write_synced
from .head import Epoch, Signers
from .reader import open_reader
from .recover_build import Rebuild
from .recover_draft import Draft
from .recover_source import Aim, Published, way_out
from .table import Value
from .witness_config import HOLD

LISTED: Final = 20
_PARALLEL: Final = 16

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was recovered.

    `size` and `root` are of the new log; `resumed` is how many of its entries an earlier run had brought in.
    `staged` of them came from the staging object: no checkpoint was signed for them before. `checkpoints` counts
    those kept. `epoch` and `start` are those of `head`: the last start of the log, and the size it began with
    (None for a copy that is no publish target); `published` are the newest sizes that epoch published, at most 20,
    largest first. `can_append` says that the private keys are in place; `left_out` that the target's `head` names
    more than was recovered, so that the log does not start on it. `remarks` are sentences worth knowing.
    """

    origin: str
    path: Path
    source: str
    size: TreeSize
    root: Hash
    resumed: int
    staged: int
    checkpoints: int
    epoch: int | None
    start: int | None
    published: tuple[int, ...]
    can_append: bool
    left_out: bool
    remarks: tuple[str, ...]


def _no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


def recover_log(
    path: str | os.PathLike[str],
    source: ObjectStore,
    keys: Signers | Sequence[VerifierKey],
    *,
    settings: Mapping[str, Value] | None = None,
    static_copy: bool = False,
    epoch: int | None = None,
    without_staged: bool = False,
    witnessed: bytes | None = None,
    parallel: int = _PARALLEL,
    progress: Progress = _no_progress,
) -> RecoveryReport:
    """Rebuild the log that was published to `source` in a new directory at `path`.

    `keys` are the log's private keys, or its verifier keys for a log that is only read. `settings` are dotted
    keys of the configuration (`log.keys`: where the private keys are); a copy that is a publish target has to be
    among `publish.targets`, and is the only one where these are not given. A copy without `head` says neither
    that it is one nor that it is none: `static_copy` says the latter, else `publish.targets` has to name it.
    `epoch` is the largest epoch that the log is known to have had, asked for where `head` does not say it; the
    next start takes a larger one. `without_staged` brings back the newest checkpoint, and not what `head` names
    beyond it. `witnessed` is a signed checkpoint from elsewhere, for a copy that was set back: its tree is brought
    back, if the copy has all of it. `parallel` objects are read at a time, `progress(done, total)` counts entries.
    Memory is bounded but for eight bytes a checkpoint. A killed run is gone on with.

    Raises UsageError for a place that is taken, ConfigError, NotALogError and NotFoundError where nothing was
    published, SignatureError and DamagedError naming what does not verify, ForkError with two notes,
    UnreachableError, LockedError while another process does the same, StorageFullError, StorageError. Then
    there is nothing at `path`.
    """
    place = _free_place(path)
    info, signers = _info(keys), keys if isinstance(keys, Signers) else None
    chosen = {**(settings or {})}
    format_config(chosen)  # a setting that is none is told before anything is read
    with closing(Published(source, info.verifiers(), parallel=parallel)) as published:
        aim = published.aim(can_sign=signers is not None, without_staged=without_staged, witnessed=witnessed)
        published.check_witnessed(aim, witnessed)
        if chosen.get("witness.policy") and chosen.get("witness.mode", HOLD) == HOLD:
            aim = _holding(published, aim, signers)
        row = _protect(chosen, source, aim, static_copy=static_copy, epoch=epoch)
        config = format_config({**chosen, "log.origin": info.origin})
        with _way_out(aim):
            resumed, build = _rebuild(published, aim, place, info, signers, config, row, progress)
        sizes = [] if aim.head is None else published.kept_sizes(aim.head.start + 1, aim.tree.size)[-LISTED:]
    return RecoveryReport(
        origin=info.origin,
        path=place,
        source=source.location,
        size=TreeSize(aim.tree.size),
        root=aim.tree.root,
        resumed=resumed,
        staged=aim.tree.size - (aim.newest.size if aim.newest else 0) if aim.staged else 0,
        checkpoints=build.checkpoints,
        epoch=aim.head.epoch if aim.head else None,
        start=aim.head.start if aim.head else None,
        published=tuple(reversed(sizes)),
        can_append=signers is not None,
        left_out=aim.left_out,
        remarks=(*aim.remarks, *build.remarks),
    )


def _holding(published: Published, aim: Aim, signers: Signers | None) -> Aim:
    """The aim of a log that holds for witnesses: it shows what the copy does, or the checkpoint of the empty tree.

    That is what it shows before any of them cosigned.
    """
    shown, said = published.held(aim)
    if shown is None and signers is not None:
        shown = signers.sign(TreeSize(0), EMPTY_ROOT, both=True)
    return replace(aim, shown=shown, remarks=(*aim.remarks, *said))


def _free_place(path: str | os.PathLike[str]) -> Path:
    """Where the log is made: nothing is there yet. Raises UsageError."""
    place = Path(path).absolute()
    check_path(place)
    if place.is_symlink() or (place.exists() and (not place.is_dir() or any(place.iterdir()))):
        raise UsageError(
            f"{place} is there already and not an empty directory: move it away, it may hold what the copy has not"
        )
    return place


def _rebuild(
    published: Published,
    aim: Aim,
    place: Path,
    info: LogInfo,
    signers: Signers | None,
    config: str,
    epoch: bytes | None,
    progress: Progress,
) -> tuple[int, Rebuild]:
    """Make the directory; gives how many entries were there from an earlier run, and what was done."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{place.parent}: {error.strerror}") from error
    with closing(Draft(place, info)) as draft:
        store, frontier = draft.begin(VerifiedTiles(published.tiles, *aim.tree), aim.tree.size)
        resumed = frontier.size
        build = Rebuild(published, store, aim, frontier, progress, draft.saved)
        frontier = build.run()
        _sign(store, aim, signers, epoch)
        _prepare(draft.path, config, store, frontier)
        draft.close_store()
        _put_in_place(draft, place, aim)
    return resumed, build


def _info(keys: Signers | Sequence[VerifierKey]) -> LogInfo:
    """What the new database says of itself. Raises UsageError for verifier keys that are not one log's."""
    if isinstance(keys, Signers):
        given = [key.verifier for key in (keys.ed25519, keys.mldsa44, keys.receipt) if key is not None]
    else:
        given = list(keys)
    kinds = (SignatureType.ED25519, SignatureType.COSIGNATURE_MLDSA44, SignatureType.RECEIPT)
    found: dict[SignatureType, VerifierKey] = {}
    for key in given:
        if key.type not in kinds or found.setdefault(key.type, key) != key:
            raise UsageError(
                f"{format_vkey(key)}: want the verifier keys of one log, as `merklelog vkey` prints them"
            )
    missing = [kind.name for kind in kinds[:2] if kind not in found]
    if missing:
        raise UsageError(f"no key of type {missing[0]}: want all that `merklelog vkey` printed for this log")
    first, second = (found[kind] for kind in kinds[:2])
    if first.name != second.name:
        raise UsageError(f"keys of two logs: {first.name!r} and {second.name!r}")
    receipt = found.get(SignatureType.RECEIPT)
    return LogInfo(
        first.name, (format_vkey(first), format_vkey(second)), format_vkey(receipt) if receipt else ""
    )


@contextmanager
def _way_out(aim: Aim) -> Iterator[None]:
    """Say how to go on where what is damaged may lie in what no checkpoint was signed for yet."""
    try:
        yield
    except DamagedError as error:
        if not aim.staged:
            raise
        raise DamagedError(f"{error}{way_out(aim.newest)}") from error


def _protect(
    settings: dict[str, Value], source: ObjectStore, aim: Aim, *, static_copy: bool, epoch: int | None
) -> bytes | None:
    """See that the new log goes on comparing itself with its target, and from which epoch on.

    Gives the row of the newest epoch; None for a static copy. Raises ConfigError, UsageError.
    """
    head = aim.head
    if epoch is not None and not 1 <= epoch < SIZE_LIMIT - 1:
        raise UsageError(f"epoch {epoch}: want a number from 1 on, below 2**63 - 1")
    is_target = head is not None or aim.lost_head
    if is_target and static_copy:
        raise UsageError(
            f"{source.location} is no static copy: it has a `head`, so a log was published to it"
        )
    if not is_target:
        targets = settings.get("publish.targets")
        named = isinstance(targets, tuple) and source.location in targets
        if named == static_copy:
            raise ConfigError(
                f"publish.targets: {source.location} has no `head`, so it is a static copy, or a publish target "
                f"whose `head` was deleted: name it in publish.targets, or say that it is a static copy "
                f"(--static-copy), and not both"
            )
        if static_copy:
            if epoch is not None:
                raise UsageError(f"epoch {epoch}: a static copy has none")
            return None
    _check_targets(settings, source)
    if head is None and epoch is None:
        raise UsageError(
            f"{source.location}: its `head` is {'damaged' if aim.lost_head else 'gone'}, and nothing else says "
            f"which epochs were used: want the largest that a receipt or another target's `head` names (--epoch), "
            f"or a number that is larger for sure"
        )
    return Epoch(max(epoch or 0, head.epoch if head else 0), TreeSize(aim.tree.size), aim.tree.root).row()


def _check_targets(settings: dict[str, Value], source: ObjectStore) -> None:
    """A log that is published must go on comparing itself with what was: else it could sign a second history.

    Where nothing was said, its target is the copy. Raises ConfigError for targets without it.
    """
    targets = settings.setdefault("publish.targets", (source.location,))
    if not isinstance(targets, tuple) or source.location not in targets:
        raise ConfigError(
            f"publish.targets: want {source.location} in it: it is a publish target of this log, and a log that "
            f"does not compare itself with it can sign a second history"
        )


def _sign(store: Store, aim: Aim, signers: Signers | None, epoch: bytes | None) -> None:
    """The newest checkpoint of the new log, the one that is there or the one that `head` asks for; its epoch."""
    if not aim.staged and aim.newest is not None:
        note = aim.newest.note
    elif signers is not None:
        note = signers.sign(aim.tree.size, aim.tree.root, both=True)
    else:
        raise StorageError("a tree without a checkpoint, and no key to sign one")
    held = None if aim.shown is None else b"1"
    newest = Checkpointed(aim.tree.size, note, keep=True)
    store.write(Commit(checkpoint=newest, epoch=epoch, published=aim.shown, held=held))
    store.sync()


def _prepare(draft: Path, config: str, store: Store, frontier: Frontier) -> None:
    """All that a data directory has besides its database, and the index of identities."""
    try:
        write_synced(draft / FILE, config)
        (draft / INDEX).mkdir(exist_ok=True)
        settings = load_config(draft, {})
        if settings.dedupe or settings.lookup:
            from .identities import Identities  # brings numpy

            Identities(draft / INDEX, store, _LeafTiles(store, frontier), frontier.size).close()
        store.settle()
        write_synced(draft / FORMAT_FILE, format_line())
    except OSError as error:
        raise StorageError(f"{draft}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _LeafTiles:
    """The level-0 tiles of the new tree."""

    store: Store
    frontier: Frontier

    def __call__(self, number: int) -> bytes:
        if number == self.frontier.size >> TILE_HEIGHT:
            return self.frontier.partial(0)
        tile = self.store.tile(0, number)
        if tile is None or len(tile) != TILE_WIDTH * HASH_SIZE:
            raise DamagedError(f"full tile 0/{number} was written and is not there")
        return tile


def _put_in_place(draft: Draft, place: Path, aim: Aim) -> None:
    """Open the draft as a log is opened, and give it its name."""
    with open_reader(draft.path) as made:
        newest = made.integrated
        if (newest.size, newest.root) != aim.tree:
            raise DamagedError(
                f"{draft.path}: it has size {newest.size}, want {aim.tree.size}: the disk lies"
            )
    try:
        for folder, _, _ in os.walk(draft.path):
            sync_path(Path(folder))
        draft.path.chmod(0o755)
        draft.path.rename(place)
        sync_path(place.parent)
    except OSError as error:
        raise StorageError(f"{place}: {error.strerror}") from error
    draft.finish()


__all__ = ["LISTED", "RecoveryReport", "recover_log"]
