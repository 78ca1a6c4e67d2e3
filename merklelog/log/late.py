"""What a receipt asks of its log when it is asked itself: a proof, or a published checkpoint."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Final, Protocol

from merklelog.errors import ClosedError, UnavailableError
from merklelog.tree import Hash

from .head import Head
from .reader import open_reader
from .receipt import Receipt

UPGRADE_SECONDS: Final = 60.0


class Issuer(Protocol):
    """The log that gave a receipt: see Log."""

    @property
    def path(self) -> Path:
        """See Log."""

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """See Log."""

    def wait_published(self, size: int) -> Future[Head]:
        """See Log."""


class LateProofs:
    """Proofs for receipts of a log; when that was closed meanwhile, they are read from its directory."""

    def __init__(self, log: Issuer) -> None:
        self._log = log

    def inclusion_proof(self, index: int, size: int | None = None) -> list[Hash]:
        """See LogReader.inclusion_proof."""
        try:
            return self._log.inclusion_proof(index, size)
        except ClosedError:
            with open_reader(self._log.path) as reader:
                return reader.inclusion_proof(index, size)

    def upgrade(self, receipt: Receipt) -> Receipt:
        """See Receipt.upgrade. It is the log's own word: no entry is lost while its disk is there."""
        head = self._published(receipt.index)
        return Receipt(self, receipt.index, receipt.leaf_hash, head.size, head.note)

    def _published(self, index: int) -> Head:
        future: Future[Head] | None = None
        try:
            future = self._log.wait_published(index + 1)
            return future.result(UPGRADE_SECONDS)
        except TimeoutError:
            if future is not None:
                future.cancel()
            raise UnavailableError(
                f"entry {index} was not published within {UPGRADE_SECONDS:.0f} seconds", 1.0
            ) from None
        except ClosedError as error:
            with open_reader(self._log.path) as reader:
                head = reader.published
            if head.size > index:
                return head
            raise UnavailableError(f"entry {index} is not published yet, and its log was closed") from error


__all__ = ["LateProofs"]
