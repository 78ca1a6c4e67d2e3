"""A store whose n-th write or sync fails: before anything of it is done, or after all of it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from merklelog.errors import StorageError
from merklelog.protocol.commit import Commit
from merklelog.store import Store


class FailingStore:
    """Passes everything on. After the failure every write and sync fails, as RocksDB's do."""

    def __init__(
        self,
        store: Store,
        fail: str = "",
        number: int = 0,
        *,
        stored: bool = False,
        error: Callable[[], BaseException] = lambda: StorageError("the disk said no"),
    ) -> None:
        self.inner = store
        self.counts = {"write": 0, "sync": 0}
        self.failed: BaseException | None = None
        self._fail = fail, number
        self._stored = stored
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, commit: Commit) -> None:
        """See Store.write."""
        self._pass("write", lambda: self.inner.write(commit))

    def sync(self) -> None:
        """See Store.sync."""
        self._pass("sync", self.inner.sync)

    def _pass(self, what: str, do: Callable[[], None]) -> None:
        if self.failed is not None:
            raise self.failed
        self.counts[what] += 1
        if (what, self.counts[what]) != self._fail:
            do()
            return
        if self._stored:
            do()
        self.failed = self._error()
        raise self.failed
