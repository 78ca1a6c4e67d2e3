"""A producer's outbox on disk: the batches that are not published yet, for the next start of the program.

A directory holds `outbox.json` (which log it is for), and a file a batch. A batch's file is there, synced, before
the batch is sent, and goes when its publication was verified: it may be sent once more than needed and never once
less, which its idempotency key makes harmless. `<number>.at` beside it says where the log put it: after a recovery
the log knows no keys any more, and what is published at that place is not sent again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from merklelog.errors import DamagedError, FormatVersionError, LockedError, StorageError, UsageError

from .producer_batch import WIRE_BYTES, Batch

_ABOUT: Final = "outbox.json"
_FORMAT: Final = 1
_MAGIC: Final = b"merklelog outbox 1\n"
_BATCH: Final = ".batch"
_PLACE: Final = ".at"
_NAME: Final = re.compile("[0-9a-f]{16}")
_DIGEST: Final = hashlib.sha256().digest_size
_LENGTH: Final = 4


class Outbox:
    """The outbox at a path, for one producer at a time; its methods are for that producer's thread."""

    def __init__(self, path: str | os.PathLike[str], origin: str | None) -> None:
        """Makes the directory where there is none.

        `origin` names the log where it is known. Raises LockedError when another producer has it, UsageError for
        the outbox of another log, FormatVersionError, DamagedError and StorageError.
        """
        self.path = Path(path)
        with self._faults(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._begin(origin)
        except BaseException:
            self.close()
            raise

    def _begin(self, origin: str | None) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"outbox {self.path}: another producer uses it") from error
        about = self.path / _ABOUT
        with self._faults(about):
            told = about.read_bytes() if about.exists() else b""
        if told:
            self._check_about(about, told, origin)
        else:
            self._write(about, json.dumps({"format": _FORMAT, "origin": origin}).encode() + b"\n")
        with self._faults(self.path):
            for left in self.path.glob("*.new"):
                left.unlink()
            self._numbers = sorted(_number(file) for file in self.path.glob(f"*{_BATCH}"))

    def _check_about(self, about: Path, told: bytes, origin: str | None) -> None:
        try:
            found = json.loads(told)
            version, of = found["format"], found["origin"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DamagedError(f"{about}: it does not say which log the outbox is for") from error
        if version != _FORMAT:
            raise FormatVersionError(f"{about}: got format {version!r}, this version reads {_FORMAT}")
        if of is not None and origin is not None and of != origin:
            raise UsageError(f"outbox {self.path}: it is for {of!r}, and this producer sends to {origin!r}")

    def close(self) -> None:
        """Let another producer have it; safe to call twice."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    @property
    def next_number(self) -> int:
        """The number of the next batch: larger than that of all that were ever here at the same time."""
        return self._numbers[-1] + 1 if self._numbers else 0

    def left(self) -> Iterator[Batch]:
        """What an earlier producer left, in its order, without the entries. Raises DamagedError."""
        for number in self._numbers:
            key, entries = self._parse(number)
            batch = Batch(key, number, 0.0)
            batch.count = len(entries)
            batch.stored = True
            batch.size = sum(len(entry) + WIRE_BYTES for entry in entries)
            place = self._place(number)
            if place is not None:
                batch.epoch, batch.indexes = place
            yield batch

    def store(self, batches: Sequence[Batch]) -> None:
        """The batches are on disk, whatever happens, when this returns. Raises StorageError."""
        for batch in batches:
            head = json.dumps({"key": batch.key.hex(), "entries": len(batch.entries)}).encode()
            parts = [_MAGIC, head, b"\n"]
            for entry in batch.entries:
                parts += (len(entry).to_bytes(_LENGTH, "big"), entry)
            data = b"".join(parts)
            self._write(self._file(batch.number), data + hashlib.sha256(data).digest(), directory=False)
        if batches:
            self._sync_directory()
        for batch in batches:
            batch.stored = True

    def entries(self, batch: Batch) -> list[bytes]:
        """A batch's entries. Raises DamagedError, StorageError."""
        return self._parse(batch.number)[1]

    def note_place(self, batch: Batch) -> None:
        """Write down where the log says the batch stands; not synced, as it only saves sending."""
        indexes = batch.indexes
        if indexes is None:
            return
        contiguous = isinstance(indexes, range)
        told = {
            "epoch": batch.epoch,
            "first": indexes[0],
            "indexes": None if contiguous else list(indexes),
            "count": len(indexes),
        }
        place = self._file(batch.number).with_suffix(_PLACE)
        with self._faults(place):
            place.write_text(json.dumps(told) + "\n", encoding="ascii")

    def remove(self, batch: Batch) -> None:
        """The batch is published, or given up."""
        file = self._file(batch.number)
        with self._faults(file):
            file.with_suffix(_PLACE).unlink(missing_ok=True)
            file.unlink(missing_ok=True)

    # --- files ---------------------------------------------------------------------------------------------------

    def _file(self, number: int) -> Path:
        return self.path / f"{number:016x}{_BATCH}"

    def _parse(self, number: int) -> tuple[bytes, list[bytes]]:
        file = self._file(number)
        with self._faults(file):
            data = file.read_bytes()
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise DamagedError(f"{file}: it is not what was written; its entries can not be sent from here")
        line, _, rest = body[len(_MAGIC) :].partition(b"\n")
        head: dict[str, Any] = json.loads(line)  # whole, as its digest says
        entries: list[bytes] = []
        at = 0
        while at < len(rest):
            start = at + _LENGTH
            at = start + int.from_bytes(rest[at:start], "big")
            entries.append(rest[start:at])
        return bytes.fromhex(head["key"]), entries

    def _place(self, number: int) -> tuple[int, Sequence[int]] | None:
        """None too for one that a crash left half written: then the batch is sent again."""
        file = self._file(number).with_suffix(_PLACE)
        try:
            told = json.loads(file.read_bytes())
            epoch, first, count, listed = told["epoch"], told["first"], told["count"], told["indexes"]
            indexes: Sequence[int] = range(first, first + count) if listed is None else listed
            if not all(isinstance(number, int) for number in (epoch, *indexes[:1])):
                return None
            return epoch, indexes
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _fault(file, error) from error
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def _write(self, file: Path, data: bytes, *, directory: bool = True) -> None:
        new = file.with_name(file.name + ".new")
        with self._faults(file):
            with new.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        if directory:
            self._sync_directory()

    def _sync_directory(self) -> None:
        with self._faults(self.path):
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _faults(self, what: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _fault(what, error) from error


def _fault(what: Path, error: OSError) -> StorageError:
    return StorageError(f"outbox: {what}: {error.strerror or error}")


def _number(file: Path) -> int:
    name = file.name.removesuffix(_BATCH)
    if not _NAME.fullmatch(name):
        raise DamagedError(f"outbox: {file}: no name of a batch")
    return int.from_bytes(bytes.fromhex(name), "big")
