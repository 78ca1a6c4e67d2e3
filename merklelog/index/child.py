"""The index of one log in a process of its own: its server gives it entries, and it writes them.

On standard input come messages, each a line of JSON: first `Begin`; then any number of `Feed`, each followed by as
many bytes of entry bundles as it says, and of `Renew`. Each is answered by a line of JSON on standard output,
`Told`; after one with an `error` the process ends. When its input ends it ends too, and what was not committed is
given to the next one again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from merklelog.errors import MerklelogError, StorageError

from .indexer import Indexer

NICE: Final = 10


class Begin(msgspec.Struct, frozen=True):
    """Which index to write, and with how much memory."""

    place: str
    memory_bytes: int


class Feed(msgspec.Struct, frozen=True, tag="feed"):
    """`size` bytes follow, the bundles from entry `start` on; those before `Told.next` are known already.

    `commit` them under this checkpoint, unless it is ""; `whole`: the log has no more.
    """

    start: int
    size: int
    commit: str = ""
    whole: bool = False


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """Begin an empty index; see Indexer.renew."""

    why: str
    at_once: bool


class Told(msgspec.Struct, frozen=True):
    """What the next entry is, how many are committed, under which checkpoint, why the index was made anew."""

    next: int = 0
    size: int = 0
    checkpoint: str = ""
    renewed: str = ""
    error: str = ""


def main() -> None:
    """The child: see above."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for who started it to handle: a terminal sends it to all
    with suppress(OSError):  # where nobody may choose, it runs as all others do
        os.nice(NICE)
    given, told = sys.stdin.buffer, sys.stdout.buffer
    begin = msgspec.json.decode(given.readline(), type=Begin)
    try:
        indexer = Indexer(Path(begin.place), begin.memory_bytes)
        _tell(told, indexer)
        for message in iter(given.readline, b""):
            _do(indexer, msgspec.json.decode(message, type=Feed | Renew), given)
            _tell(told, indexer)
        indexer.close()
    except MerklelogError as error:
        _say(told, Told(error=f"{type(error).__name__}: {error}"))


def _do(indexer: Indexer, message: Feed | Renew, given: BinaryIO) -> None:
    if isinstance(message, Renew):
        indexer.renew(message.why, at_once=message.at_once)
        return
    data = given.read(message.size)
    if len(data) != message.size:
        raise StorageError("the server ended within a message")
    indexer.add(_entries(data, indexer.size - message.start))
    if message.commit:
        indexer.commit(message.commit.encode("utf-8"), whole=message.whole)


def _entries(bundles: bytes, skip: int) -> Iterator[bytes]:
    """The entries of bundles in a row, but for the first ones."""
    at, number = 0, 0
    while at < len(bundles):
        end = at + 2 + int.from_bytes(bundles[at : at + 2], "big")
        if number >= skip:
            yield bundles[at + 2 : end]
        at, number = end, number + 1


def _tell(told: BinaryIO, indexer: Indexer) -> None:
    state = indexer.state
    _say(told, Told(indexer.size, state.size, state.checkpoint, indexer.renewed))


def _say(told: BinaryIO, message: Told) -> None:
    told.write(msgspec.json.encode(message) + b"\n")
    told.flush()


__all__ = ["Begin", "Feed", "Renew", "Told", "main"]
