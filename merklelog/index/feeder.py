"""Keeping a log's index up with it: a thread that reads what is new, and a process that indexes it.

The process has its own interpreter, so that appends share neither a lock nor a thread with it; the thread only
hands bundles on. What goes wrong is told, and tried again after a while: an append never hears of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

import msgspec

from merklelog.errors import ClosedError, MerklelogError, StorageError, StorageFullError
from merklelog.log import Log
from merklelog.store.problems import os_problem
from merklelog.tree import TILE_HEIGHT, width_at

from .child import Begin, Feed, Renew, Told
from .files import search_directory, was_asked_for_rebuild
from .schema import State
from .update import COMMIT_ENTRIES, strangeness

_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from merklelog.index.child import main; main()"
_MESSAGE_BYTES: Final = 4 << 20  # and what one bundle has
_PAUSES: Final = (1.0, 5.0, 15.0, 60.0)
_STOP_SECONDS: Final = 10.0

# What happened, and whether it is a failure.
Tell = Callable[[str, bool], None]


class Feeder:
    """Indexes one log from now until `close`. `tell` is called from its own thread."""

    def __init__(self, log: Log, tell: Tell) -> None:
        self._log = log
        self._tell = tell
        self._stop = threading.Event()
        self._grown = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0  # since it was last up with the log
        self.indexed = 0  # how many entries can be found, so far as this process knows
        self._unlisten = log.listen(lambda _size: self._grown.set())
        self._thread = threading.Thread(target=self._run, name="merklelog-index", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; safe to call twice. What is not indexed yet is when the log is opened again."""
        self._stop.set()
        self._grown.set()
        self._unlisten()
        self._thread.join(_STOP_SECONDS)
        child = self._child
        if self._thread.is_alive() and child is not None:
            child.kill()  # it does not answer; what it committed stays
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._process() as child:
                    self._follow(child)
            except ClosedError:
                return  # the log was closed
            except MerklelogError as error:
                self._pause(str(error))
            except Exception as error:  # noqa: BLE001 - unforeseen: told too, and no reason to index nothing more
                self._pause(f"unexpected {type(error).__name__}: {error}")

    def _pause(self, why: str) -> None:
        """Say what failed, and wait before it is tried again; when it is stopped, neither."""
        if self._stop.is_set():
            return
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        self._tell(f"search index: {why}; tried again in {pause:.0f} s", True)
        self._stop.wait(pause)

    @contextmanager
    def _process(self) -> Iterator[_Child]:
        path = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109  sys.path holds text
        command = [sys.executable, "-P", "-c", _BOOT, *path]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise StorageError(f"no process can be started: {error.strerror}: {sys.executable}") from error
        self._child = process
        if process.stdin is None or process.stdout is None:
            raise StorageError("a process was started without pipes")
        try:
            yield _Child(process.stdin, process.stdout)
        finally:
            self._child = None
            try:
                process.stdin.close()
            except OSError:
                process.kill()  # it is gone already, and what was for it is given to the next one
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def _follow(self, child: _Child) -> None:
        place = search_directory(self._log.path)
        told = child.ask(Begin(str(place), self._log.config.index.memory_bytes))
        if told.renewed:
            self._tell(f"search index: made anew: {told.renewed}", False)
        why = strangeness(self._log, State(told.size, told.checkpoint))
        if why:
            self._tell(f"search index: made anew: {why}", False)
            told = child.ask(Renew(why, at_once=True))
        while not self._stop.is_set():
            began = time.monotonic()
            if was_asked_for_rebuild(place):
                self._tell("search index: made anew: it was asked for", False)
                told = child.ask(Renew("it was asked for", at_once=False))
            self._grown.clear()
            told = self._catch_up(child, told)
            self._failures = 0
            left = self._log.config.index.interval - (time.monotonic() - began)
            self._stop.wait(max(left, 0.0))
            # A rebuild is asked for through a file: it is looked for now and then, grown or not.
            self._grown.wait(1.0)

    def _catch_up(self, child: _Child, told: Told) -> Told:
        self.indexed = told.size
        head = self._log.published  # both of one head: the log grows meanwhile
        note, size = head.note, head.size
        uncommitted = 0
        while told.next < size and not self._stop.is_set():
            self._check_room()
            first = last = told.next >> TILE_HEIGHT
            bundles: list[bytes] = []
            while last << TILE_HEIGHT < size and sum(map(len, bundles)) < _MESSAGE_BYTES:
                bundles.append(self._log.bundle(last, width_at(0, last, size)))
                last += 1
            data = b"".join(bundles)
            end = min(last << TILE_HEIGHT, size)
            uncommitted += end - told.next
            commit = end == size or uncommitted >= COMMIT_ENTRIES
            if commit:
                uncommitted = 0
            message = Feed(
                first << TILE_HEIGHT, len(data), note.decode("utf-8") if commit else "", end == size
            )
            told = child.ask(message, data)
            if told.next != end:
                raise StorageError(f"its process has {told.next} entries, want {end}")
            self.indexed = told.size
        return told

    def _check_room(self) -> None:
        """An index must not take the room that appends need. Raises StorageFullError."""
        config = self._log.config
        want = config.min_free_bytes + config.index.memory_bytes
        try:
            stat = os.statvfs(self._log.path)
        except OSError as error:
            raise os_problem(error, self._log.path) from error
        if stat.f_bavail * stat.f_frsize < want:
            raise StorageFullError(
                f"{self._log.path}: fewer than {want:,} bytes are free, the rest is for appends"
            )


class _Child:
    """The process at the other end of two pipes."""

    def __init__(self, given: IO[bytes], told: IO[bytes]) -> None:
        self._given = given
        self._told = told

    def ask(self, message: Begin | Feed | Renew, data: bytes = b"") -> Told:
        """Send a message, and wait for its answer. Raises StorageError for an error of the process, or its end."""
        try:
            self._given.write(msgspec.json.encode(message) + b"\n" + data)
            self._given.flush()
        except OSError as error:
            raise StorageError(f"its process is gone: {error.strerror}") from error
        line = self._told.readline()
        if not line.endswith(b"\n"):
            raise StorageError("its process ended without a word; standard error may say why")
        try:
            told = msgspec.json.decode(line, type=Told)
        except msgspec.MsgspecError as error:
            raise StorageError(f"what its process said can not be read: {error}") from error
        if told.error:
            raise StorageError(told.error)
        return told


__all__ = ["Feeder", "Tell"]
