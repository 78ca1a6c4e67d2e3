"""A data directory to append to: the log itself, once something is appended, else a reader beside its writer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as WaitTimeoutError
from pathlib import Path

from merklelog.client.source import TileSource
from merklelog.client.tile_transport import TileTransport
from merklelog.client.transport import Appended, Batch, Transport
from merklelog.errors import LevelError, UnavailableError
from merklelog.log import Log, LogReader, open_log
from merklelog.tree.tiles import TILE_WIDTH


def local_transport(source: TileSource, poll: float) -> Transport:
    """A transport to what is on this machine; only a data directory takes appends."""
    if not isinstance(source, LogReader):
        return TileTransport(source, poll=poll)
    writable = _Directory(source.path, source)
    return TileTransport(writable, append=writable.append, refresh=writable.refresh, poll=poll)


class _Directory:
    """A data directory: a reader beside whoever writes, until something is appended; then the writer itself."""

    def __init__(self, path: Path, reader: LogReader) -> None:
        self._path = path
        self._reader = reader
        self._log: Log | None = None
        self.checkpoint = reader.checkpoint
        self.pointer = reader.pointer
        self.stored_sizes = reader.stored_sizes
        self.tile: Callable[..., bytes] = reader.tile
        self.bundle: Callable[..., bytes] = reader.bundle

    def epoch(self) -> int | None:
        """The epoch that the log is in, or was in last."""
        return self._reader.epoch if self._log is None else self._log.epoch

    def refresh(self) -> None:
        """See what another process appended."""
        if self._log is None:
            self._reader.refresh()

    def append(self, batch: Batch, seconds: float) -> Appended:
        """Append as the directory's writer. Raises LockedError when there is another; LevelError."""
        log = self._open()
        if batch.wait == "witnessed" and not log.config.witness.policy:
            raise LevelError(f"{self._path}: the log has no witnesses, so nothing in it is ever cosigned")
        if batch.wait == "published" and log.epoch is None:
            raise LevelError(
                f"{self._path}: the log has no publish targets, so nothing in it is ever published"
            )
        receipt = log.append_batch(
            batch.entries,
            identities=batch.identities,
            idempotency_key=batch.key,
            idempotency_keys=batch.keys,
        )
        if batch.published:
            end = max(receipt.indexes) + 1
            try:
                if batch.wait == "witnessed":
                    return Appended(receipt.indexes, log.wait_witnessed(end).result(seconds).note)
                log.wait_published(end).result(seconds)
            except WaitTimeoutError as error:
                if batch.wait == "witnessed":
                    text = f"{self._path}: appended, and not witnessed within {seconds:.1f} s; it goes on"
                    raise UnavailableError(text) from error
                return Appended(receipt.indexes, receipt.note)  # what there is; the caller goes on waiting
            return Appended(receipt.indexes, log.checkpoint())
        proof = tuple(receipt[0].proof) if len(receipt) == 1 else None
        return Appended(receipt.indexes, receipt.note, proof)

    def _open(self) -> Log:
        if self._log is None:
            log = self._log = open_log(self._path)
            self.checkpoint, self.stored_sizes = log.checkpoint, log.stored_sizes
            self.pointer = log.pointer
            # Receipts lead beyond what is published.
            self.tile = lambda level, index, width=TILE_WIDTH: log.integrated_tiles().tile(
                level, index, width
            )
            self.bundle = lambda index, width=TILE_WIDTH: log.integrated_tiles().bundle(index, width)
        return self._log

    def close(self) -> None:
        """Close the reader, and the writer where there is one."""
        self._reader.close()
        if self._log is not None:
            self._log.close()
