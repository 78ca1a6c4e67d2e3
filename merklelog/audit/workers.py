"""Spreading an audit over processes: this one, and workers beside it.

Workers are interpreters of their own that run `worker`, and not `multiprocessing`: that one runs the caller's main
script again in each child, which a script without `if __name__ == "__main__"` does not survive, or forks a process
that has threads and an open database.

This process hashes too, and sees to its workers between two tasks of its own. A worker is told its next tasks
before it ends one, so it never waits as long as this process comes by in the time of some tasks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
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
AHEAD: Final = 3  # tasks that a worker holds: one it works on, and the next ones
# Tasks for each process that are begun before the first of them is done: who is quick must not wait for a worker
# that still starts, which takes the time of some ten; and their checkpoints, which make the most of a result.
_HELD: Final = 16
_SIZES_HELD: Final = 1 << 17
_SIZES: Final = 128  # checkpoints of the tasks that a worker holds; of a task alone there may be more
_READ: Final = 1 << 16
_SHOWN: Final = 2000


def can_start() -> bool:
    """Whether this process knows an interpreter to start: not when Python is embedded or frozen."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


@dataclass(slots=True, eq=False)
class _Given:
    """A task that somebody works on, and what came of it once it is done."""

    task: Task
    found: Scanned | None = None


class Workers:
    """A number of worker processes, perhaps none. They end when this is closed, or when this process does.

    `take` gets the results in the order of the tasks, from within `attend` and `finish`; a few tasks and results a
    worker are held, however many there are. Both raise StorageError when a worker died, what it ended with when it
    could not open the target, and what `take` raises.
    """

    def __init__(
        self, setup: Setup, count: int, tasks: Iterable[Task], take: Callable[[Scanned], None]
    ) -> None:
        self._tasks = iter(tasks)
        self._upcoming: Task | None = None
        self._take = take
        self._given: deque[_Given] = deque()  # in the order of the tasks
        self._all: list[_Worker] = []
        self._problem: MerklelogError | None = None
        self._most = _HELD * (count + 1)
        self._selector = DefaultSelector()
        try:
            for _ in range(count):
                self._all.append(_Worker(setup))
                self._selector.register(self._all[-1].answers, EVENT_READ, self._all[-1])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def attend(self, *, wait: bool = False) -> None:
        """Take the answers that are there (`wait`: one at least), and give out tasks. To be called often."""
        for key, _ in self._selector.select(None if wait else 0) if self._all else ():
            key.data.read()
        while self._given and (found := self._given[0].found) is not None:
            self._given.popleft()
            self._take(found)
        for worker in self._all:
            while (given := self._next(worker)) is not None:
                worker.give(given)

    def beat(self) -> None:
        """`attend`, for who handles errors of its own: what stands in the way here is raised by `finish`."""
        if self._problem is None:
            try:
                self.attend()
            except MerklelogError as error:
                self._problem = error

    def finish(self, scan: Callable[[Task], Scanned]) -> None:
        """Have all tasks done, some by `scan`, in this process."""
        if self._problem is not None:
            raise self._problem
        while True:
            self.attend()
            if (given := self._next()) is not None:
                given.found = scan(given.task)
            elif self._given:
                self.attend(wait=True)  # the first of them is with a worker
            else:
                return

    def _next(self, worker: _Worker | None = None) -> _Given | None:
        """The next task; None when there is none, too many wait for one before them, or it is not for `worker`."""
        if self._upcoming is None:
            self._upcoming = next(self._tasks, None)
        task = self._upcoming
        if task is None or self._is_full() or not (worker is None or worker.has_room(task)):
            return None
        self._upcoming = None
        self._given.append(_Given(task))
        return self._given[-1]

    def _is_full(self) -> bool:
        sizes = sum(len(given.task.sizes) for given in self._given)
        return len(self._given) >= self._most or sizes >= _SIZES_HELD

    def close(self) -> None:
        """End every worker, whatever it does; safe to call twice."""
        self._selector.close()
        for worker in self._all:
            worker.close()


class _Worker:
    """One worker process."""

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
        lines, answers = self._process.stdin, self._process.stdout
        if lines is None or answers is None:
            raise StorageError("an audit process without pipes")
        self._lines, self.answers = lines, answers
        self._first = format_setup(setup)
        self._given: deque[_Given] = deque()
        self._partial = bytearray()

    def has_room(self, task: Task) -> bool:
        """Whether it is to get this task beside those that it has.

        What is told ahead has to fit any pipe: who tells more than that would wait for a process that itself waits
        until its last answer is read.
        """
        if not self._given:
            return True
        return (
            len(self._given) < AHEAD
            and sum(len(g.task.sizes) for g in self._given) + len(task.sizes) <= _SIZES
        )

    def give(self, given: _Given) -> None:
        """Give it one more task."""
        self._given.append(given)
        with suppress(OSError):  # it is gone: `read` says why
            self._lines.write(self._first + format_task(given.task))
            self._lines.flush()
        self._first = b""

    def read(self) -> None:
        """Take the answers that are there. Raises as `Workers` says."""
        chunk = os.read(self.answers.fileno(), _READ)
        if not chunk:
            raise self._death()
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._answered(bytes(self._partial) + line)
            self._partial.clear()
        self._partial += rest

    def _answered(self, line: bytes) -> None:
        try:
            if line.startswith(b'{"%s"' % ERROR.encode()):
                name, text = json.loads(line)[ERROR]
                raise _error(name, text)
            if not self._given:
                raise StorageError("an audit process answered what nobody asked")
            given = self._given.popleft()
            given.found = parse_scanned(line, given.task)
        except (ValueError, LookupError, TypeError) as error:  # or what else prints as an interpreter starts
            raise StorageError(f"an audit process wrote what is no answer: {line[:200]!r}") from error

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
