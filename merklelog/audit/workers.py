"""Spreading an audit over processes.

Workers are interpreters of their own that run `worker`, and not `multiprocessing`: that one runs the caller's main
script again in each child, which a script without `if __name__ == "__main__"` does not survive, or forks a process
that has threads and an open database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, Self

from merklelog.audit.scan import Scanned, Task
from merklelog.audit.worker import ERROR, Setup, format_setup, format_task, parse_scanned
from merklelog.errors import (
    DamagedError,
    MerklelogError,
    NotALogError,
    NotFoundError,
    StorageError,
    UnreachableError,
)

# The child looks for modules where this process does, in that order, so that both run the same code.
_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from merklelog.audit.worker import main; main()"
_AHEAD: Final = (
    3  # tasks given out for each worker: one it works on, and a wait as long as two others costs nothing
)
_SHOWN: Final = 2000


def can_start() -> bool:
    """Whether this process knows an interpreter to start: not when Python is embedded or frozen."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class Workers:
    """A number of worker processes. They end when this is closed, or when this process does."""

    def __init__(self, setup: Setup, count: int) -> None:
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._all: list[_Worker] = []
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="merklelog-audit")
        try:
            for _ in range(count):
                self._all.append(_Worker(setup))
                self._idle.put(self._all[-1])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def scan_all(self, tasks: Iterable[Task]) -> Iterator[Scanned]:
        """The results in the order of the tasks; holds a few tasks and results a worker, however many there are.

        Raises StorageError when a worker died, and what it ended with when it could not open the target.
        """
        waiting: deque[Future[Scanned]] = deque()
        for task in tasks:
            waiting.append(self._threads.submit(self._scan, task))
            if len(waiting) >= _AHEAD * len(self._all):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _scan(self, task: Task) -> Scanned:
        worker = self._idle.get()  # there are as many threads as workers
        try:
            return worker.scan(task)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End every worker, whatever it does; safe to call twice."""
        # Workers first: the threads wait for their answers.
        for worker in self._all:
            worker.close()
        self._threads.shutdown(cancel_futures=True)


class _Worker:
    """One worker process, used by one thread at a time."""

    def __init__(self, setup: Setup) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        path = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109  sys.path holds text
        command = [sys.executable, "-P", "-c", _BOOT, *path]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise StorageError(
                f"no audit process can be started: {error.strerror}: {sys.executable}"
            ) from error
        self._first = format_setup(setup)

    def scan(self, task: Task) -> Scanned:
        """Have one task done. Raises as `Workers.scan_all` says."""
        lines, answers = self._process.stdin, self._process.stdout
        if lines is None or answers is None:
            raise StorageError("an audit process without pipes")
        try:
            lines.write(self._first + format_task(task))
            lines.flush()
            answer = answers.readline()
        except (OSError, ValueError):  # ValueError: it was closed meanwhile
            answer = b""
        self._first = b""
        if not answer.endswith(b"\n"):
            raise self._death()
        if answer.startswith(b'{"%s"' % ERROR.encode()):
            raise _error(*json.loads(answer)[ERROR])
        return parse_scanned(answer, task)

    def _death(self) -> StorageError:
        status = self._process.wait()
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - _SHOWN))
        said = self._said.read().decode("utf-8", "replace").strip()
        return StorageError(f"an audit process ended with status {status}{': ' + said if said else ''}")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # bytes left for a process that is gone
                    pipe.close()
        self._said.close()


def _error(name: str, text: str) -> MerklelogError:
    """What a worker could not open its target for, as an error of the same class."""
    for kind in (DamagedError, UnreachableError, NotALogError, NotFoundError):
        if kind.__name__ == name:
            return kind(text)
    return StorageError(f"an audit process: {name}: {text}")
