"""Random lives of two writers on one target: steps interleaved request by request, faults, crashes, lost disks.

Each writer runs in a thread of its own, and only one runs at a time: before every request it waits for its turn,
and the walk decides whether the request passes, fails, or is the last thing the process does.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from failing_store import FailingStore, Fault, Killed, WrittenOnce
from publication_path import Path, Seen, look
from published_log import DiskLog, Told, recovered

from merklelog.errors import BehindError, FencedError, ForkError, UnreachableError
from merklelog.protocol.publication import PublicationStep, TreeHead
from merklelog.publish import BundleEncoding
from merklelog.publish.memory import MemoryStore
from merklelog.publish.publisher import Publisher
from merklelog.publish.target_writer import ALL_RULES, Rules


class Process:
    """One writer: a disk, and while it runs a publisher in a thread that waits for its turns."""

    def __init__(self, walk: Walk, number: int) -> None:
        self.walk = walk
        self.number = number
        self.disk: DiskLog | None = None
        self.publisher: Publisher | None = None
        self.idle = True
        self.ended: BaseException | None = None
        # One side lets the other go, and waits until it is let go itself: each lock is one of the two signals.
        self._go, self._paused = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._paused.acquire()
        self._order: Fault | str | None = None
        self._late: Callable[[], Any] | None = None
        self._thread: threading.Thread | None = None

    # --- the walk's side

    def begin(self) -> None:
        """Start the process: it compares itself with the target and takes an epoch."""
        assert self.disk is not None
        self.publisher = Publisher(
            self.disk,
            [FailingStore(store, self._gate) for store in self.walk.stores],
            encoding=lambda _: BundleEncoding.GZIP,
            step=self._passed,
            rules=self.walk.rules,
        )
        self._run(self.publisher.start)

    def publish(self) -> None:
        assert self.publisher is not None
        self._run(self.publisher.publish)

    def _run(self, call: Callable[[], Any]) -> None:
        self.idle, self.ended = False, None

        def work() -> None:
            self._go.acquire()
            try:
                call()
            except BaseException as error:
                self.ended = error
            self.idle = True
            self._paused.release()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def turn(self, order: Fault | str | None = None) -> None:
        """Let it run up to its next request, which then waits; `order` is what becomes of the one that waits."""
        self._order = order
        self._go.release()
        self._paused.acquire()
        if self.publisher is not None:
            self.walk.quietly(self.number)  # what it did since its last step, or half of one
        if self.idle:
            assert self._thread is not None
            self._thread.join()
            self.walk.over(self)

    def kill(self) -> None:
        """End the process where it is, also within a request's wait."""
        self._late = None
        while not self.idle:
            self.turn("kill")
        if self.publisher is not None:
            self.publisher = None
            self.walk.crashed(self.number)

    # --- the process's side

    def _gate(self, name: str, write: Callable[[], Any] | None) -> None:
        self._paused.release()
        self._go.acquire()
        late, self._late = self._late, None
        self._store(late)
        order, self._order = self._order, None
        if order == "kill":
            raise Killed(name)
        if order == "kill after":
            self._store(write)
            raise Killed(name)
        if isinstance(order, Fault):
            if order is Fault.STORED:
                self._store(write)
            if order is Fault.LATE:
                self._late = write
            raise UnreachableError(f"{name}: {order.value}")

    def _store(self, write: Callable[[], Any] | None) -> None:
        """A write that nobody hears the answer of."""
        if write is not None:
            write()
            self.walk.quietly(self.number)

    def _passed(self, step: PublicationStep) -> None:
        self.walk.passed(self.number, step)


class Walk:
    """A random life. `run` raises AssertionError for what must not be; `counts` says what happened how often."""

    def __init__(self, seed: int, rules: Rules = ALL_RULES, targets: int = 1) -> None:
        self.random = random.Random(seed)
        self.rules = rules
        self.told = Told()
        self.targets = [MemoryStore(f"target{number}") for number in range(targets)]
        self.target = self.targets[0]
        self.stores = [WrittenOnce(target) for target in self.targets]
        self._seen: dict[str, tuple[tuple[object, ...], Seen]] = {}
        self.paths = [
            Path(lambda target=target: self.see(target), self.told.entries, is_one_of_many=targets > 1)
            for target in self.targets
        ]
        self.processes = (Process(self, 0), Process(self, 1))
        self.backup: DiskLog | None = None
        self.shown = TreeHead(0, b"")
        self.counts: dict[str, int] = {}
        self._give(self.processes[0], DiskLog(self.told))

    def see(self, target: MemoryStore) -> Seen:
        """What is there now, decoded anew only when something changed."""
        signed = self.told.signed
        now = (len(signed), *((key, data) for key, (data, _) in target.objects.items()))
        before = self._seen.get(target.location)
        if before is None or before[0] != now:
            before = self._seen[target.location] = (now, look(target, self.told.entries, signed))
        return before[1]

    def run(self, actions: int) -> None:
        for _ in range(actions):
            process = self.random.choice(self.processes)
            self.random.choice(self._possible(process))(process)
            self._look()
        self._finish()

    def _finish(self) -> None:
        """Whatever became of them, one writer can go on and bring everything to an end."""
        for process in self.processes:
            process.kill()
        process = next((p for p in self.processes if p.disk is not None), self.processes[0])
        for _ in range(3):
            if process.disk is None:
                if self.target.stat("head") is None:
                    return
                self._give(process, recovered(self.target, self.told))
            process.begin()
            self._through(process)
            if process.publisher is not None:
                break
            self._give(process, None)  # an old disk: it refused, and is recovered
        assert process.publisher is not None, f"nobody can go on: {process.ended}"
        self._append(process)
        assert process.disk is not None
        for _ in range(6):  # who lags is brought up first, and what was under way is finished
            process.publish()
            self._through(process)
            assert process.ended is None
        assert process.disk.last_shown == process.disk.integrated()
        for target in self.targets:
            assert recovered(target, self.told).entries == process.disk.entries

    # --- what may happen

    def _possible(self, process: Process) -> list[Callable[[Process], None]]:
        if process.disk is None:
            return [self._restore, self._recover]
        if process.publisher is None:
            return [self._begin] * 4 + [self._lose, self._save]
        if not process.idle:
            return [self._turn] * 24 + [self._through] * 2 + [self._fault] * 3 + [self._kill]
        return [self._append] * 4 + [self._publish] * 8 + [self._kill, self._save, self._lose]

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _begin(self, process: Process) -> None:
        self._count("begin")
        process.begin()
        process.turn()

    def _publish(self, process: Process) -> None:
        self._count("publish")
        process.publish()
        process.turn()

    def _turn(self, process: Process) -> None:
        process.turn()

    def _fault(self, process: Process) -> None:
        self._count("fault")
        process.turn(self.random.choice(list(Fault)))

    def _kill(self, process: Process) -> None:
        self._count("kill")
        if not process.idle and self.random.random() < 0.5:
            process.turn("kill after")
        process.kill()

    def _append(self, process: Process) -> None:
        assert process.disk is not None
        size = len(process.disk.entries)
        salt = f"{'AB'[process.number]}{process.publisher.epoch if process.publisher else 0}"
        count = self.random.choice((1, 2, 40, 150))
        process.disk.append([f"{salt} {index}".encode() for index in range(size, size + count)])
        for path in self.paths:
            path.appended(process.number, self.told.entries[process.disk.integrated().root])

    def _save(self, process: Process) -> None:
        assert process.disk is not None
        self.backup = process.disk.copy()

    def _lose(self, process: Process) -> None:
        self._count("lose")
        process.kill()
        self._give(process, None)

    def _restore(self, process: Process) -> None:
        if self.backup is not None:
            self._count("restore")
            self._give(process, self.backup.copy())

    def _recover(self, process: Process) -> None:
        if self.target.stat("head") is not None:
            self._count("recover")
            self._give(process, recovered(self.target, self.told))

    def _give(self, process: Process, disk: DiskLog | None) -> None:
        process.disk = disk
        for path in self.paths:
            path.disk(process.number, None if disk is None else self.told.entries[disk.integrated().root])

    # --- the model, of each target

    def passed(self, writer: int, step: PublicationStep) -> None:
        for target, path in zip(self.targets, self.paths, strict=True):
            if step.target in ("", target.location):
                path.passed(writer, step)

    def quietly(self, writer: int) -> None:
        for path in self.paths:
            path.quietly(writer)

    def crashed(self, writer: int) -> None:
        for path in self.paths:
            path.crashed(writer)

    # --- what becomes of it

    def _through(self, process: Process) -> None:
        while not process.idle:
            process.turn()

    def over(self, process: Process) -> None:
        """A call of the publisher ended."""
        error = process.ended
        if error is None or isinstance(error, UnreachableError):
            if isinstance(error, UnreachableError) and process.publisher and process.publisher.epoch is None:
                self._again(process)
            return
        if isinstance(error, FencedError | BehindError | ForkError):
            self._count(type(error).__name__)
            was = process.publisher
            process.publisher = None
            if was is not None:
                self.crashed(process.number)
        elif not isinstance(error, Killed):
            raise error

    def _again(self, process: Process) -> None:
        """A start that got no answer is called again, as the log does, or given up."""
        if self.random.random() < 0.3:
            process.kill()
        else:
            assert process.publisher is not None
            process._run(process.publisher.start)
            process.turn()

    def _look(self) -> None:
        """What must hold at every moment, whoever runs."""
        sizes = [len(path.seen().head[1]) for path in self.paths]
        assert sizes[0] == max(sizes), f"the first target is behind another: {sizes}"
        seen = self.paths[0].seen()
        signed = sorted(seen.signed, key=len)
        for older, newer in pairwise(signed):
            assert newer[: len(older)] == older, "two checkpoints conflict"
        size = len(seen.pointer)
        assert size >= self.shown.size, "the pointer went back"
        self.shown = TreeHead(size, b"")
