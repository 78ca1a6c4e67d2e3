"""Logs for tests: on RocksDB or in memory, with a world of their own (clocks, free space, steps)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec

import merklelog
from merklelog import Log
from merklelog.errors import StoppedError
from merklelog.formats import SignatureType, SigningKey, format_vkey
from merklelog.log.config import LogConfig, load_config
from merklelog.log.create import LogInfo, load_signers, read_info
from merklelog.log.directory import DATABASE, WriterLock
from merklelog.log.head import Signers, read_head
from merklelog.log.world import World
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import FORMAT, MemoryStore, RocksStore, Store
from merklelog.tree import EMPTY_ROOT

ORIGIN = "engine.example/log"
SIGNERS = Signers(
    ORIGIN,
    SigningKey(ORIGIN, SignatureType.ED25519, b"\x01" * 32),
    SigningKey(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, b"\x02" * 32),
)
DAY = 86_400


@dataclass(slots=True)
class FakeWorld:
    """A world whose clock and disk a test moves. `offset` is added to the real monotonic clock."""

    now: int = 1_700_000_000
    offset: float = 0.0
    free: int = 1 << 40
    passed: list[str] = field(default_factory=list)
    on_step: Callable[[str], None] | None = None

    def _step(self, name: str) -> None:
        self.passed.append(name)
        if self.on_step is not None:
            self.on_step(name)

    def world(self) -> World:
        """What a sequencer takes."""
        return World(lambda: time.monotonic() + self.offset, lambda: self.now, lambda: self.free, self._step)


class NoLock:
    """A log in memory has no directory to lock."""

    def release(self) -> None:
        """Nothing is held."""


def new_memory() -> MemoryStore:
    """An empty log's store, as `create_log` would leave it."""
    vkeys = tuple(format_vkey(key.verifier) for key in (SIGNERS.ed25519, SIGNERS.mldsa44))
    info = msgspec.json.encode(LogInfo(ORIGIN, vkeys))
    store = MemoryStore(metas={"format": str(FORMAT).encode(), "log": info})
    store.write(Commit(checkpoint=Checkpointed(0, SIGNERS.sign(0, EMPTY_ROOT, both=True), keep=True)))
    store.sync()
    return store


def config(**changed: Any) -> LogConfig:
    """A small log's configuration."""
    base = LogConfig(
        origin=ORIGIN,
        keys="keys",
        dedupe=False,
        lookup=False,
        max_pending_bytes=64 << 20,
        min_free_bytes=0,
        idempotency_days=30,
    )
    return replace(base, **changed)


def open_store(
    store: Store,
    directory: Path,
    settings: LogConfig,
    world: FakeWorld,
    *,
    lock: Any = None,
    signers: Signers = SIGNERS,
) -> Log:
    """Open a log on any store, as `merklelog.open` does on its own."""
    info = read_info(store)
    assert info is not None
    keys = info.keys()
    head, frontier = read_head(store, info.origin, keys.verifiers, str(directory), keys.receipt)
    held = cast(WriterLock, lock or NoLock())
    return Log(directory, settings, info, store, head, frontier, signers, held, world.world())


def make(directory: Path, **settings: Any) -> Path:
    """A new log on disk; keys of `settings` are dotted with a double underscore: `log__dedupe=True`."""
    dotted = {name.replace("__", ".", 1): value for name, value in settings.items()}
    merklelog.create_log(directory, ORIGIN, settings={"store.min_free_bytes": 0, **dotted})
    return directory


def open_in(directory: Path, world: FakeWorld, wrap: Callable[[Store], Store] = lambda store: store) -> Log:
    """Open a log on disk in a world of the test's own, its store wrapped."""
    settings = load_config(directory)
    signers = load_signers(settings.keys_path(directory), settings.origin)
    lock = WriterLock(directory)
    store = RocksStore(directory / DATABASE)
    try:
        return open_store(wrap(store), directory, settings, world, lock=lock, signers=signers)
    except BaseException:
        store.close()
        lock.release()
        raise


def let_go(log: Log) -> None:
    """Close a log that a test stopped."""
    with suppress(StoppedError):
        log.close()
