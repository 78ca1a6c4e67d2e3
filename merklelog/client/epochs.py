"""Receipts of a log with publish targets: verified, and held against each other epoch by epoch.

A receipt is no checkpoint: a lost disk may take back what it says, so it never gets into the state file. Within
one epoch the log has one history all the same, and two roots for one size in it are a fork. A receipt whose epoch
is over, and whose entry is not in the tree, is lost, which accuses nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from merklelog.errors import ForkError, SignatureError
from merklelog.formats.keys import VerifierKey
from merklelog.formats.note import verify_note
from merklelog.formats.receipt import parse_receipt, receipt_key_name
from merklelog.formats.wire import quote
from merklelog.protocol.advance import TrustedHead
from merklelog.tree.hashing import Hash

_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class ReceiptHead:
    """What a verified receipt note says: in this epoch the log had this tree. `head.note` is the receipt note."""

    epoch: int
    head: TrustedHead


class Epochs:
    """The newest receipt of the newest epoch seen, in memory alone. Safe for threads."""

    def __init__(self, keys: Iterable[VerifierKey] = ()) -> None:
        """`keys` are the receipt keys to believe; without any no receipt is."""
        self.keys = tuple(keys)
        self._lock = threading.Lock()
        self._newest: ReceiptHead | None = None
        self._held_to: TrustedHead | None = None
        self._roots: dict[tuple[int, int], tuple[Hash, bytes]] = {}

    @property
    def newest(self) -> ReceiptHead | None:
        """The largest tree of the newest epoch that was seen, None before the first."""
        return self._newest

    @property
    def held_to(self) -> TrustedHead | None:
        """The checkpoint that the newest one was proven to be of one history with, None before the first."""
        return self._held_to

    def verify(self, note: bytes) -> ReceiptHead:
        """A receipt note that one of the keys signed. Raises FormatError, SignatureError."""
        receipt, signed = parse_receipt(note)
        name = receipt_key_name(receipt.origin)
        keys = [key for key in self.keys if key.name == name]
        if not keys:
            raise SignatureError(f"receipt of {quote(receipt.origin)}: no receipt key of that log is trusted")
        verify_note(signed, keys)
        return ReceiptHead(receipt.epoch, TrustedHead(receipt.origin, receipt.size, receipt.root, note))

    def settle(self, new: ReceiptHead, proven: Collection[TrustedHead]) -> TrustedHead | None:
        """Take in a verified receipt; `proven` are those heads that it was proven to be of one history with.

        None: done. Else a head of the same epoch that it was not compared with yet: prove that one begins the
        other and call again with it in `proven`. Raises ForkError, with both notes, for two roots of one size in
        one epoch.
        """
        with self._lock:
            self._check(new)
            known = self._newest
            if known is not None and new.epoch == known.epoch and not self._is_proven(known, new, proven):
                return known.head
            self._remember(new)
            if known is None or new.epoch > known.epoch:
                self._held_to = None
            if known is None or (new.epoch, new.head.size) > (known.epoch, known.head.size):
                self._newest = new
            return None

    def settle_checkpoint(self, receipt: ReceiptHead, checkpoint: TrustedHead) -> None:
        """The receipt was proven to be of one history with this checkpoint.

        Later receipts need not be held to it where this one has all of it: they are held to this one. A smaller
        one says nothing of the checkpoint's other entries.
        """
        with self._lock:
            known = self._newest
            if known is None or known.epoch != receipt.epoch or receipt.head.size < checkpoint.size:
                return
            self._held_to = checkpoint

    def forget(self, receipt: ReceiptHead) -> None:
        """Its epoch is over, and the log went on without what was in it: nothing newer is held to it."""
        with self._lock:
            if self._newest is not None and self._newest.epoch == receipt.epoch:
                self._newest = self._held_to = None

    def _check(self, new: ReceiptHead) -> None:
        found = self._roots.get((new.epoch, new.head.size))
        if found is not None and found[0] != new.head.root:
            raise ForkError(
                f"two histories of {new.head.origin!r}: two roots for size {new.head.size} in epoch {new.epoch}",
                found[1],
                new.head.note,
            )

    def _is_proven(self, known: ReceiptHead, new: ReceiptHead, proven: Collection[TrustedHead]) -> bool:
        if new.head.size == known.head.size or not known.head.size or known.head in proven:
            return True  # of one size, it has the same root here
        # All that was taken in of an epoch is one history: what begins one of them begins those after it.
        return any(
            head.size >= new.head.size and self._root(known.epoch, head.size) == head.root for head in proven
        )

    def _root(self, epoch: int, size: int) -> Hash | None:
        found = self._roots.get((epoch, size))
        return None if found is None else found[0]

    def _remember(self, new: ReceiptHead) -> None:
        self._roots.setdefault((new.epoch, new.head.size), (new.head.root, new.head.note))
        if len(self._roots) > _REMEMBERED:
            del self._roots[next(iter(self._roots))]
