"""What `append` is given, cut into entries: a file an entry, or a line an entry. Memory stays bounded."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from merklelog.cli.files import STANDARD, name_of
from merklelog.errors import EntryError, UsageError
from merklelog.formats import MAX_ENTRY

CHUNK_BYTES: Final = 1 << 20
BATCH_ENTRIES: Final = 1_000
BATCH_BYTES: Final = 256 << 10  # fits four times into the least `log.max_pending_bytes` there can be
ENTRY_COST: Final = 160  # what a waiting entry counts beside its bytes


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of one `append`, in order; `-` is standard input."""

    paths: tuple[str, ...]
    lines: bool  # an entry a line, else an entry a file

    def streams(self) -> bool:
        """Whether some input is no plain file: it can not be looked at beforehand, and may come slowly."""
        return any(not is_plain(path) for path in self.paths)


def choose_inputs(files: Sequence[str], *, lines: bool) -> Inputs:
    """The inputs that a command line names: standard input when it names none. Raises UsageError."""
    paths = tuple(files) or (STANDARD,)
    if paths.count(STANDARD) > 1:
        raise UsageError("standard input (-) is given twice")
    return Inputs(paths, lines)


def is_plain(path: str) -> bool:
    """Whether it is a regular file, standard input included. Raises OSError."""
    if path == STANDARD:
        return False
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return stat.S_ISREG(status.st_mode)


def check(inputs: Inputs) -> int | None:
    """Look at every plain file before anything is appended, and count the entries (None: that can not be told).

    Raises EntryError naming the file (and the line) of an entry that is too long, OSError.
    """
    total: int | None = 0
    for path in inputs.paths:
        if not is_plain(path):
            total = None
            continue
        with Path(path).open("rb") as file:
            found = sum(map(len, _lines(file, path))) if inputs.lines else _check_size(file, path)
        total = None if total is None else total + found
    return total


def _check_size(file: BinaryIO, path: str) -> int:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_ENTRY:
        raise EntryError(f"{path}: {size:,} bytes, and an entry has at most {MAX_ENTRY:,}{_hint(path)}")
    return 1


def _hint(path: str) -> str:
    return "; is it an entry a line? then say --jsonl" if path.endswith((".jsonl", ".ndjson", ".log")) else ""


def chunks(inputs: Inputs) -> Iterator[list[bytes]]:
    """The entries as they come. Raises EntryError naming the file (and the line), UsageError, OSError."""
    for path in inputs.paths:
        if path == STANDARD:
            yield from _entries(sys.stdin.buffer, path, lines=inputs.lines)
        else:
            with Path(path).open("rb") as file:
                yield from _entries(file, path, lines=inputs.lines)


def _entries(file: BinaryIO, path: str, *, lines: bool) -> Iterator[list[bytes]]:
    if lines:
        yield from _lines(file, path)
        return
    data = file.read(MAX_ENTRY + 1)
    if len(data) > MAX_ENTRY:
        raise EntryError(f"{name_of(path)}: an entry has at most {MAX_ENTRY:,} bytes, and this is longer")
    if not data and path == STANDARD:
        # Far more often a command before us that failed than an entry; and nothing is ever taken back.
        raise UsageError("standard input is empty; an empty entry is appended from an empty file")
    yield [data]


def _lines(file: BinaryIO, path: str) -> Iterator[list[bytes]]:
    """Lines without their newline, every other byte kept; what follows the last newline is a line too."""
    rest, number = b"", 1
    while chunk := _read(file):
        *found, rest = (rest + chunk).split(b"\n")
        _check_lines(found, path, number)
        number += len(found)
        if len(rest) > MAX_ENTRY:  # now, before more of a line that may never end is read
            raise _too_long(path, number, f"over {MAX_ENTRY:,} bytes")
        if found:
            yield found
    if rest:
        yield [rest]


def _read(file: BinaryIO) -> bytes:
    """What has come by now, so that a slow writer's lines are appended as it writes them."""
    read1 = getattr(file, "read1", None)
    data: bytes = file.read(CHUNK_BYTES) if read1 is None else read1(CHUNK_BYTES)
    return data


def _check_lines(found: list[bytes], path: str, number: int) -> None:
    if found and max(map(len, found)) > MAX_ENTRY:
        at, size = next((i, len(line)) for i, line in enumerate(found) if len(line) > MAX_ENTRY)
        raise _too_long(path, number + at, f"{size:,} bytes")


def _too_long(path: str, number: int, size: str) -> EntryError:
    return EntryError(f"{name_of(path)}, line {number}: {size}, and an entry has at most {MAX_ENTRY:,}")


def batches(found: Iterator[list[bytes]], *, hold: bool) -> Iterator[list[bytes]]:
    """Entries in batches of at most `BATCH_ENTRIES` and about `BATCH_BYTES`.

    With `hold` a batch is filled whatever time that takes, so that the same input is always cut the same way;
    without, what has come is not kept waiting for what has not.
    """
    batch: list[bytes] = []
    cost = 0
    for chunk in found:
        for entry in chunk:
            price = len(entry) + ENTRY_COST
            if batch and (cost + price > BATCH_BYTES or len(batch) == BATCH_ENTRIES):
                yield batch
                batch, cost = [], 0
            batch.append(entry)
            cost += price
        if batch and not hold:
            yield batch
            batch, cost = [], 0
    if batch:
        yield batch
