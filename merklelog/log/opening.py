"""Opening a log for appending: everything is looked at before anything is changed.

Opening a database for writing replays, rewrites and deletes files; whoever finds damage only then can not leave
the directory as it was. So it is read first, as a reader beside a writer would read it, and refused as it stands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from merklelog.errors import (
    ConfigError,
    DamagedError,
    KeyFileError,
    MerklelogError,
    NotALogError,
    StoppedError,
)
from merklelog.formats import format_vkey
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import RocksStore
from merklelog.store.problems import os_problem

from .acknowledged import Acknowledged, check_acknowledged, read_acknowledged
from .config import LogConfig, load_config
from .create import RECEIPT_FILE, LogInfo, load_signers, read_info, with_receipt_key
from .directory import DATABASE, INDEX, WriterLock, check_directory, check_stored_format
from .freeze import read_freeze
from .head import Head, Signers, read_head, read_published
from .log import Log
from .observer import Observer
from .world import World, unseen

if TYPE_CHECKING:
    from merklelog.protocol.publication import PublicationStep

    from .publishing_targets import Targets


def open_log(
    path: str | os.PathLike[str],
    *,
    observer: Callable[[str], Observer] | None = None,
    step: Callable[[str], None] | None = None,
    wait: float | None = 60.0,
    publication_step: Callable[[PublicationStep], None] | None = None,
) -> Log:
    """Open a log's data directory for appending; use as a context manager, or call `close`.

    The stored tree is checked against the newest signed checkpoint, and that against what was acknowledged,
    before anything is appended. `observer` makes, from the log's origin, who hears of its commits. `step` is
    called with the name of each step of a commit, `publication_step` with each of a publication; they are for
    tests.

    A log with publish targets or witnesses is compared with them first, for at most `wait` seconds. When they have
    not answered by then (or at once, with None) the log is open for reading, `starting` is True, and appends raise
    UnavailableError until they have.

    A program that forks opens its log after that. A child that was forked off an open log has none of its threads
    and must leave it alone; it ends by exec or os._exit, as those of multiprocessing do: at another exit RocksDB
    waits for threads that only the parent has, and the child dies of a signal. The parent and the log are well.

    Raises NotALogError, FormatVersionError, ConfigError, KeyFileError, LockedError (naming the process that has
    it), DamagedError, StorageError; then nothing was changed. Within `wait`, too: BehindError and ForkError for a
    target that has more than this log or another history, FencedError when another process began at the target.
    """
    directory = Path(path).absolute()
    check_directory(directory)
    config = load_config(directory)
    signers = load_signers(config.keys_path(directory), config.origin)
    lock = WriterLock(directory)
    try:
        targets = _targets(config, directory, signers, publication_step)
        _inspect(directory, config, signers)
        log = _open(directory, config, signers, lock, step or _no_step, observer, targets)
    except BaseException:
        lock.release()
        raise
    if targets is not None:
        _begin(log, wait)
    return log


def _targets(
    config: LogConfig, directory: Path, signers: Signers, step: Callable[[PublicationStep], None] | None
) -> Targets | None:
    if not config.publish.targets and not config.witness.policy:
        return None
    # It brings the publisher, which a log without targets does without.
    from .publishing_targets import open_targets, refuse_nested
    from .witnessing import open_witnesses

    refuse_nested(config.publish, directory, config.keys_path(directory))
    verifiers = (signers.ed25519.verifier, signers.mldsa44.verifier)
    witnesses = open_witnesses(config.witness, directory, verifiers)
    return open_targets(config.publish, step or _no_publication_step, witnesses)


def _begin(log: Log, wait: float | None) -> None:
    try:
        log.begin(wait)
        failure = log.failure if wait is not None else None
        if isinstance(failure, MerklelogError):
            raise failure
    except BaseException:
        # What stopped it is on its way already, and says more.
        with suppress(StoppedError):
            log.close(publish_seconds=0.0)
        raise


def _inspect(directory: Path, config: LogConfig, signers: Signers) -> None:
    with closing(RocksStore.open_beside(directory / DATABASE)) as store:
        info = _check_info(directory, store, config, signers)
        keys = info.keys()
        head, _ = read_head(store, info.origin, keys.verifiers, str(directory), keys.receipt)
        read_published(store, head, keys, str(directory))
        read_freeze(store, head.size, keys)
        store.checkpoint(head.size)  # the one row more that appending begins with
        if config.dedupe or config.lookup:
            from .identities import read_uncovered  # brings numpy

            read_uncovered(directory / INDEX, store, head.size)
    check_acknowledged(directory, read_acknowledged(directory), head.size)


def _open(
    directory: Path,
    config: LogConfig,
    signers: Signers,
    lock: WriterLock,
    step: Callable[[str], None],
    observer: Callable[[str], Observer] | None,
    targets: Targets | None,
) -> Log:
    acknowledged = Acknowledged(directory)
    committed: Callable[[int, Sequence[bytes]], None] = unseen
    if observer is not None:
        seen = observer(config.origin)
        step, committed = _both(step, seen.step), seen.committed
    world = World(time.monotonic, lambda: int(time.time()), _free_bytes(directory), step, committed)
    publishes = targets is not None and bool(targets.stores)
    store = RocksStore(directory / DATABASE)
    try:
        info = _check_info(directory, store, config, signers)
        if publishes:
            info, signers = _with_receipts(store, info, signers, config.keys_path(directory))
        keys = info.keys()
        head, frontier = read_head(store, info.origin, keys.verifiers, str(directory), keys.receipt)
        acknowledged.note(head.size)
        if not publishes:
            _check_unwitnessed(head, targets)
            head = _checkpointed(store, head, signers)
            if targets is None and store.held() == b"1":
                store.write(Commit(held=b"0"))  # witnesses were taken away, so nothing waits for them
                store.sync()
        shown = read_published(store, head, keys, str(directory))
        log = Log(
            directory,
            config,
            info,
            store,
            head,
            frontier,
            signers,
            lock,
            world,
            published=shown,
            targets=targets,
        )
    except BaseException:
        store.close()
        raise
    log.listen_integrated(acknowledged.note)
    return log


def _check_unwitnessed(head: Head, targets: Targets | None) -> None:
    """A log whose targets were taken away would sign a checkpoint at once, before its witnesses were asked."""
    if head.epoch is not None and targets is not None:
        raise ConfigError(
            "publish.targets was emptied while witness.policy is set: the log would sign a checkpoint of what was "
            "not published, before it was compared with its witnesses. Give it a publish target again"
        )


def _with_receipts(store: RocksStore, info: LogInfo, signers: Signers, keys: Path) -> tuple[LogInfo, Signers]:
    """A log whose first publish target was just configured gets its receipt key, and says which it is."""
    if info.receipt_vkey and signers.receipt is None:
        raise KeyFileError(
            f"{keys / RECEIPT_FILE} is missing: a log with publish targets signs its receipts with it. Bring it "
            f"back from where the other keys are kept"
        )
    if signers.receipt is None:
        signers = with_receipt_key(keys, signers)
    if signers.receipt is not None and not info.receipt_vkey:
        info = msgspec.structs.replace(info, receipt_vkey=format_vkey(signers.receipt.verifier))
        store.put_rows("meta", [(b"log", info.row())])
        store.sync()
    return info, signers


def _checkpointed(store: RocksStore, head: Head, signers: Signers) -> Head:
    """The newest head under a checkpoint: a log whose last publish target was taken away has receipts above it.

    Its tree was proven to be that of the receipt, and the published checkpoint before it to be of that tree.
    """
    if head.epoch is None:
        return head
    note = signers.sign(head.size, head.root, both=True)
    store.write(Commit(checkpoint=Checkpointed(head.size, note, keep=True)))
    store.sync()
    return Head(head.size, head.root, note, head.partials)


def _check_info(directory: Path, store: RocksStore, config: LogConfig, signers: Signers) -> LogInfo:
    """The database's own word on which log it is must fit the configuration and the keys."""
    check_stored_format(store, directory)
    info = read_info(store)
    if info is None:
        raise DamagedError(f"{directory}: the database does not say which log it is")
    if info.origin != config.origin:
        raise NotALogError(
            f"{directory}: the configuration says log.origin = {config.origin!r}, "
            f"the database is of {info.origin!r}"
        )
    keys = info.keys()
    pairs = [*zip(keys.verifiers, (signers.ed25519, signers.mldsa44), strict=True)]
    if keys.receipt is not None and signers.receipt is not None:
        pairs.append((keys.receipt, signers.receipt))
    for known, key in pairs:
        if key.verifier != known:
            raise KeyFileError(
                f"{config.keys_path(directory)}: a key with ID {key.verifier.key_id.hex()}, "
                f"but this log's is {known.key_id.hex()}"
            )
    return info


def _free_bytes(path: Path) -> Callable[[], int]:
    def free() -> int:
        try:
            stat = os.statvfs(path)
        except OSError as error:
            raise os_problem(error, path) from error
        return stat.f_bavail * stat.f_frsize

    return free


def _no_step(_name: str) -> None:
    """Nothing happens between steps, but in tests."""


def _no_publication_step(_step: PublicationStep) -> None:
    """Nothing happens between steps of a publication, but in tests."""


def _both(step: Callable[[str], None], observed: Callable[[str], None]) -> Callable[[str], None]:
    """A test's step and an observer's; the observer's alone where there is no test."""
    if step is _no_step:
        return observed

    def both(name: str) -> None:
        observed(name)
        step(name)

    return both


__all__ = ["open_log"]
