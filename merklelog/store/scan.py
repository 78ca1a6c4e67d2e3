"""Scans over the database that it can be closed under.

A live iterator keeps RocksDB's lock: a log that was closed while somebody held a half-read `entries()` could not
be opened again in this process. So every scan stands in a list, and closing takes its iterator away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rocksdict import RdictIter

from merklelog.errors import ClosedError, MerklelogError


class _Held:
    """The one reference to an iterator that outlives a step of its scan."""

    __slots__ = ("rows",)

    def __init__(self, rows: RdictIter) -> None:
        self.rows: RdictIter | None = rows


class Scans:
    """The scans of one database that are under way, in any thread."""

    __slots__ = ("_live", "_problem")

    def __init__(self, problem: Callable[[Exception, str], MerklelogError]) -> None:
        self._problem = problem
        self._live: set[_Held] = set()

    def run(
        self,
        start: Callable[[], RdictIter],
        family: str,
        seek: Callable[[RdictIter], None],
        *,
        backward: bool,
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows from where `seek` puts a new iterator on. Raises DamagedError, StorageError, ClosedError."""
        held = _Held(start())
        self._live.add(held)
        try:
            yield from self._steps(held, family, seek, backward=backward)
        finally:
            held.rows = None
            self._live.discard(held)

    def _steps(
        self, held: _Held, family: str, seek: Callable[[RdictIter], None], *, backward: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        step = seek
        while (rows := held.rows) is not None:
            step(rows)
            step = RdictIter.prev if backward else RdictIter.next
            if not rows.valid():
                self.check(rows, family)
                return
            row = rows.key(), rows.value()
            del rows  # while the caller has the row, nothing here may keep the iterator alive
            yield row
        raise ClosedError("the database was closed under a scan")

    def check(self, rows: RdictIter, family: str) -> None:
        """An iterator ends at damage as it ends at the last row; only its status tells which."""
        try:
            rows.status()
        except Exception as error:  # rocksdict raises no narrower class
            raise self._problem(error, f"scanning {family}") from error

    def close(self) -> None:
        """Take the iterators away; who steps on in a scan gets ClosedError."""
        for held in list(self._live):
            held.rows = None
