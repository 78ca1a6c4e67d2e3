"""A publish target that a test can take away, and logs that are published to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import UnreachableError
from merklelog.log import publishing, publishing_targets
from merklelog.publish.memory import MemoryStore

ORIGIN = "published.example/log"
TARGET = "dir:/a/target/in/memory"
PATIENCE = 60.0  # seconds; no test is decided by it, but one that fails ends


class Gate:
    """An object store that passes everything on, but what `fails` names an error for: its operation and key."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.fails: Callable[[str, str], BaseException | None] = lambda _operation, _key: None
        self.calls: list[tuple[str, str]] = []
        self.refused = threading.Event()  # something was refused since the test last cleared it

    @property
    def location(self) -> str:
        """See ObjectStore."""
        return str(self.inner.location)

    def down(self, why: str = "no answer") -> None:
        """Let nothing through."""
        self.refused.clear()
        self.fails = lambda _operation, key: UnreachableError(f"{self.location}/{key}: {why}")

    def up(self) -> None:
        """Let everything through."""
        self.fails = lambda _operation, _key: None

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)
        if not callable(call):
            return call

        def passed(*args: Any, **named: Any) -> Any:
            key = args[0] if args and isinstance(args[0], str) else ""
            self.calls.append((name, key))
            error = self.fails(name, key)
            if error is not None:
                self.refused.set()
                raise error
            return call(*args, **named)

        return passed


def use(monkeypatch: pytest.MonkeyPatch, store: Any) -> None:
    """Have every log that is opened from now on publish to this store, whatever its target is called."""
    monkeypatch.setattr(publishing_targets, "open_store", lambda _target, _options: store)
    monkeypatch.setattr(publishing, "RETRY_FROM", 0.01)
    monkeypatch.setattr(publishing, "RETRY_TO", 0.02)


def make(path: Path, **settings: Any) -> Path:
    """A new log with a target; keys of `settings` are dotted with a double underscore."""
    dotted = {name.replace("__", ".", 1): value for name, value in settings.items()}
    base: dict[str, Any] = {"store.min_free_bytes": 0, "publish.targets": (TARGET,), "publish.interval": 0.05}
    merklelog.create_log(path, ORIGIN, settings={**base, **dotted})
    return path


def published(log: Log, size: int | None = None) -> int:
    """Wait until the log has published that size, or all it has; gives the size that is shown then."""
    wanted = log.integrated.size if size is None else size
    return int(log.wait_published(wanted).result(PATIENCE).size)


__all__ = ["ORIGIN", "PATIENCE", "TARGET", "Gate", "MemoryStore", "make", "published", "use"]
