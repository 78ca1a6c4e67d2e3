"""Bringing an index up to its log: from where it ends, or from the first entry when it is not this log's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats import parse_checkpoint
from merklelog.log import LogReader

from .indexer import Indexer
from .schema import State

COMMIT_ENTRIES: Final = 50_000
_CHUNK: Final = 2_048

Progress = Callable[[int, int], object]


def _no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


def strangeness(log: LogReader, state: State) -> str:
    """Why an index is not this log's; "" when it is: the log has all it is of, under the same root."""
    if not state.checkpoint:
        return "" if not state.size else "it does not say of which log it is"
    try:
        told = parse_checkpoint(state.checkpoint.encode("utf-8")).checkpoint
    except FormatError as error:
        return f"its checkpoint can not be read: {error}"
    if told.origin != log.origin:
        return f"it is of the log {told.origin!r}"
    if told.size > log.size or state.size > told.size:
        return f"it is of a log with {told.size} entries, this one has {log.size}"
    if log.integrated_tiles().root_at(told.size) != told.root:
        return f"it is of a log with another root at size {told.size}"
    return ""


def update(indexer: Indexer, log: LogReader, *, progress: Progress = _no_progress) -> State:
    """Index what `log` shows and the index has not, and commit it.

    Raises what reading the log raises, StorageError and StorageFullError for the index; then what was committed
    stays.
    """
    why = strangeness(log, indexer.state)
    if why:
        indexer.renew(why, at_once=True)
    head = log.published  # both of one head: the log may grow meanwhile
    note, size = head.note, head.size
    uncommitted = 0
    while indexer.size < size:
        end = min(size, indexer.size + _CHUNK)
        uncommitted += end - indexer.size
        indexer.add(log.entries(indexer.size, end))
        if uncommitted >= COMMIT_ENTRIES and indexer.size < size:
            indexer.commit(note, whole=False)
            uncommitted = 0
        progress(indexer.size, size)
    state = indexer.state
    if uncommitted or state.size < size or indexer.renewed:
        state = indexer.commit(note, whole=True)
    return state


__all__ = ["COMMIT_ENTRIES", "Progress", "strangeness", "update"]
