"""Who hears of findings: a stream of JSON lines, a command, a webhook. Each takes every finding at least once.

A sink that refuses is tried again, later and later up to a minute, and what it has not taken yet waits for it on
the disk; the others and the monitor itself go on.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from merklelog.audit.monitor_files import Journal
from merklelog.client.access import Access, split_url
from merklelog.client.http_wire import Connections
from merklelog.errors import MerklelogError, UnreachableError

_SECONDS: Final = 60.0
_FIRST: Final = 1.0
_MOST: Final = 60.0
_SAID: Final = 300
_ANSWER: Final = 64 << 10


class Sink(Protocol):
    """Takes findings. `name` is the same at each start; `send` raises a MerklelogError when it could not."""

    @property
    def name(self) -> str:
        """A file's name."""

    def send(self, line: bytes) -> None:
        """Take one finding, a line of JSON."""

    def close(self) -> None:
        """Let go of what is held."""


class LineSink:
    """Writes each line, or what `render` makes of it."""

    name = "lines"

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def send(self, line: bytes) -> None:
        """See Sink."""
        self._write(line)

    def close(self) -> None:
        """See Sink."""


class CommandSink:
    """Starts a command for each finding, with the line on its standard input; status 0 means taken."""

    def __init__(self, words: Sequence[str], name: str = "command", *, seconds: float = _SECONDS) -> None:
        self._words = list(words)
        self.name = name
        self._seconds = seconds

    def send(self, line: bytes) -> None:
        """See Sink. Raises UnreachableError: it could not be started, took too long, or ended otherwise."""
        try:
            done = subprocess.run(
                self._words, input=line, capture_output=True, timeout=self._seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(f"{self._words[0]}: it took more than {self._seconds:g} s") from error
        except (OSError, ValueError) as error:
            raise UnreachableError(f"{self._words[0]}: {error}") from error
        if done.returncode:
            said = done.stderr[-_SAID:].decode("utf-8", "replace").strip()
            raise UnreachableError(
                f"{self._words[0]}: it ended with status {done.returncode}{': ' + said if said else ''}"
            )

    def close(self) -> None:
        """See Sink."""


class WebhookSink:
    """Posts each finding as `application/json`; any status from 200 to 299 means taken."""

    def __init__(self, url: str, access: Access, name: str = "webhook") -> None:
        """Raises UsageError for what is no http(s) URL."""
        found = split_url(url, ("http", "https"), prefix=True)
        self.name = name
        self._url = url
        self._path = found.path or "/"
        self._seconds = access.retry.attempt
        self._connections = Connections(found, access)

    def send(self, line: bytes) -> None:
        """See Sink. Raises UnreachableError and kin."""
        answer = self._connections.ask(
            "POST",
            self._path,
            limit=_ANSWER,
            seconds=self._seconds,
            headers={"Content-Type": "application/json"},
            body=line,
        )
        if not 200 <= answer.status < 300:
            raise UnreachableError(f"{self._url}: it answered with status {answer.status}")

    def close(self) -> None:
        """See Sink."""
        self._connections.close()


class Delivery:
    """Brings what is in the journal to the sinks, in its order. `tell` hears once when a sink begins to refuse."""

    def __init__(
        self,
        journal: Journal,
        sinks: Sequence[Sink],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises DamagedError, StorageError."""
        self._lines = [_Line(journal, sink, tell, clock) for sink in sinks]

    def run(self) -> bool:
        """Bring what there is; whether every sink has taken everything. Raises StorageError alone."""
        done = [line.run() for line in self._lines]  # each of them, also behind one that refuses
        return all(done)

    def close(self) -> None:
        """Close the sinks."""
        for line in self._lines:
            line.sink.close()


class _Line:
    """The way to one sink."""

    def __init__(
        self, journal: Journal, sink: Sink, tell: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self.sink = sink
        self._tell = tell
        self._clock = clock
        self._at = journal.sent(sink.name)
        self._pause = 0.0
        self._next = 0.0

    def run(self) -> bool:
        if self._at < self._journal.end and self._clock() < self._next:
            return False
        while self._at < self._journal.end:
            before = self._at
            try:
                for line in self._journal.read(self._at):
                    self.sink.send(line)
                    self._at += len(line)
            except MerklelogError as error:
                self._wait(error)
                return False
            finally:
                if self._at != before:
                    self._journal.mark_sent(self.sink.name, self._at)
            self._pause = 0.0
        return True

    def _wait(self, error: MerklelogError) -> None:
        if not self._pause:
            self._tell(f"a finding could not be told, it is tried again: {error}")
        self._pause = min(max(2 * self._pause, _FIRST), _MOST)
        self._next = self._clock() + self._pause


__all__ = ["CommandSink", "Delivery", "LineSink", "Sink", "WebhookSink"]
