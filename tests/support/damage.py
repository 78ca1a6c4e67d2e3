"""What damage does: a log's directory spoiled in a copy, opened, read in full, and compared with what it was."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import merklelog
from merklelog import LogReader
from merklelog.errors import MerklelogError

from .checker import check_log


def hashes(directory: Path) -> dict[str, str]:
    """Every file below a directory, by what is in it."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest() for path in files}


def flip(path: Path, at: int, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@dataclass(frozen=True, slots=True)
class Whole:
    """What a log must hold, whoever opens it: entries, checkpoints seen, and rows of idempotency and identity."""

    entries: list[bytes]
    seen: list[bytes]
    rows: dict[str, list[tuple[bytes, bytes]]]

    @classmethod
    def of(cls, log: LogReader, seen: list[bytes]) -> Whole:
        return cls(list(log.entries(0, log.size)), seen, side_rows(log))

    def check(self, log: LogReader) -> None:
        """Assert that it is all there. Raises the log's own errors."""
        check_log(log, seen=self.seen, acknowledged=dict(enumerate(self.entries)))
        assert side_rows(log) == self.rows


def side_rows(log: LogReader) -> dict[str, list[tuple[bytes, bytes]]]:
    """What no root covers."""
    return {family: list(log._reads.rows(family)) for family in ("idempotency", "identities", "meta")}  # type: ignore[attr-defined]


def outcome(directory: Path, whole: Whole, *, write: bool) -> str:
    """Open a directory and read all of it: "refused", "reported" (while reading) or "intact".

    Whatever was refused must be as it was; anything but an error of the project's or the whole log fails.
    """
    before = hashes(directory / "db")
    try:
        log = merklelog.open(directory) if write else merklelog.open_reader(directory)
    except MerklelogError:
        assert hashes(directory / "db") == before, "a directory that was refused was changed"
        return "refused"
    try:
        whole.check(log)
        if write:
            receipt = log.append(b"on it goes")  # type: ignore[attr-defined]
            assert receipt.index == len(whole.entries)
    except MerklelogError:
        return "reported"
    finally:
        with suppress(MerklelogError):  # closing flushes, and may meet the damage once more
            log.close()
    return "intact"


def copy(source: Path, target: Path) -> Path:
    """A copy of a log's directory, as a crash at this moment would leave it."""
    return Path(shutil.copytree(source, target))


def records(data: bytes) -> list[tuple[int, int]]:
    """Where each record of a whole write-ahead log or manifest starts, and how long its payload is."""
    found, at = [], 0
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        found.append((at, int.from_bytes(data[at + 4 : at + 6], "little")))
        at += 7 + found[-1][1]
    return found
