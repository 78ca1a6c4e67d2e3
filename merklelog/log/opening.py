"""Opening a log for appending: everything is looked at before anything is changed.

Opening a database for writing replays, rewrites and deletes files; whoever finds damage only then can not leave
the directory as it was. So it is read first, as a reader beside a writer would read it, and refused as it stands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from merklelog.errors import DamagedError, KeyFileError, NotALogError
from merklelog.store import RocksStore
from merklelog.store.problems import os_problem

from .acknowledged import Acknowledged, check_acknowledged, read_acknowledged
from .config import LogConfig, load_config
from .create import LogInfo, load_signers, read_info
from .directory import DATABASE, INDEX, WriterLock, check_directory, check_stored_format
from .head import Signers, read_head
from .log import Log
from .observer import Observer
from .world import World, unseen


def open_log(
    path: str | os.PathLike[str],
    *,
    observer: Callable[[str], Observer] | None = None,
    step: Callable[[str], None] | None = None,
) -> Log:
    """Open a log's data directory for appending; use as a context manager, or call `close`.

    The stored tree is checked against the newest signed checkpoint, and that against what was acknowledged,
    before anything is appended. `observer` makes, from the log's origin, who hears of its commits. `step` is
    called with the name of each step of a commit; it is for tests.

    Raises NotALogError, FormatVersionError, ConfigError, KeyFileError, LockedError (naming the process that has
    it), DamagedError, StorageError; then nothing was changed.
    """
    directory = Path(path).absolute()
    check_directory(directory)
    config = load_config(directory)
    signers = load_signers(config.keys_path(directory), config.origin)
    lock = WriterLock(directory)
    try:
        _inspect(directory, config, signers)
        return _open(directory, config, signers, lock, step or _no_step, observer)
    except BaseException:
        lock.release()
        raise


def _inspect(directory: Path, config: LogConfig, signers: Signers) -> None:
    with closing(RocksStore.open_beside(directory / DATABASE)) as store:
        info = _check_info(directory, store, config, signers)
        head, _ = read_head(store, info.origin, info.verifiers(), str(directory))
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
) -> Log:
    acknowledged = Acknowledged(directory)
    committed: Callable[[int, Sequence[bytes]], None] = unseen
    if observer is not None:
        seen = observer(config.origin)
        step, committed = _both(step, seen.step), seen.committed
    world = World(time.monotonic, lambda: int(time.time()), _free_bytes(directory), step, committed)
    store = RocksStore(directory / DATABASE)
    try:
        info = _check_info(directory, store, config, signers)
        head, frontier = read_head(store, info.origin, info.verifiers(), str(directory))
        acknowledged.note(head.size)
        log = Log(directory, config, info, store, head, frontier, signers, lock, world)
    except BaseException:
        store.close()
        raise
    log.listen(acknowledged.note)
    return log


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
    for known, key in zip(info.verifiers(), (signers.ed25519, signers.mldsa44), strict=True):
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


def _both(step: Callable[[str], None], observed: Callable[[str], None]) -> Callable[[str], None]:
    """A test's step and an observer's; the observer's alone where there is no test."""
    if step is _no_step:
        return observed

    def both(name: str) -> None:
        observed(name)
        step(name)

    return both


__all__ = ["open_log"]
