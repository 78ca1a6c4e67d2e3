"""Two trees of one size, both signed by the log: kept on the disk, for whoever has to show it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from merklelog.formats.witness import AddCheckpoint, origin_hash
from merklelog.log.directory import sync_path
from merklelog.store.problems import os_problem

FOLDER: Final = "evidence"
MAX_FILES: Final = 1_000
_BETWEEN: Final = b"\n--- and, as signed by the same log ---\n\n"


class Evidence:
    """The folder `evidence` of a witness: a file an equivocation, named by log, size and the second root."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self._one = threading.Lock()

    def keep(self, request: AddCheckpoint, recorded: bytes) -> Path | None:
        """Write both notes; gives the new file, None where it is there already or a thousand are.

        May be called by several threads. Raises StorageError, StorageFullError.
        """
        checkpoint = request.checkpoint
        name = f"{origin_hash(checkpoint.origin)[:16]}-{checkpoint.size}-{checkpoint.root.hex()[:16]}.txt"
        path = self._folder / name
        try:
            with self._one:
                self._folder.mkdir(exist_ok=True)
                if path.exists() or sum(1 for _ in self._folder.glob("*.txt")) >= MAX_FILES:
                    return None
                self._write(path, recorded + _BETWEEN + request.note)
        except OSError as error:
            raise os_problem(error, path) from error
        return path

    def _write(self, path: Path, data: bytes) -> None:
        """The whole file or none: one that was begun under this name would never be written again."""
        part = path.with_suffix(".part")
        try:
            part.write_bytes(data)
            sync_path(part)
            part.rename(path)
            sync_path(self._folder)
        finally:
            part.unlink(missing_ok=True)
