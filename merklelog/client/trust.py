"""Whom a client believes, and the newest head it verified: what every answer is held against."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Final

from merklelog.client.believed import Trusted, policy_of
from merklelog.client.epochs import Epochs, ReceiptHead
from merklelog.client.heads import VerifiedHead
from merklelog.client.state import StateFile
from merklelog.errors import DamagedError, FormatError, PolicyUnmetError, ProofError, SignatureError
from merklelog.formats.checkpoint import parse_checkpoint
from merklelog.formats.keys import VerifierKey
from merklelog.formats.policy import Policy
from merklelog.protocol.advance import TrustedHead
from merklelog.protocol.verdict import evaluate_policy
from merklelog.tree.hashing import EMPTY_ROOT, Hash

__all__ = ["Trust", "Trusted", "policy_of", "trusted_head"]

_REMEMBERED: Final = 4_096


class Trust:
    """A policy and the newest head that was verified under it, in memory and in a state file where there is one.

    The head only advances. Who has a newer one proves first that it extends `head`, then calls `settle`. Safe for
    threads; several processes may share a state file. Receipts are apart, in `epochs`, and in no file.
    """

    def __init__(
        self, policy: Policy, state: StateFile | None = None, receipt_keys: Iterable[VerifierKey] = ()
    ) -> None:
        """Raises what keeps a state file from being believed: DamagedError, SignatureError, PolicyUnmetError
        naming it, StorageError.
        """
        self.policy = policy
        self.epochs = Epochs(receipt_keys)
        self._state = state
        self._lock = threading.Lock()
        self._head: TrustedHead | None = None
        self._past: dict[tuple[int, Hash], None] = {}
        if (stored := self._stored()) is not None:
            self._move(stored)

    @property
    def head(self) -> TrustedHead | None:
        """The newest verified head, None before the first."""
        return self._head

    @property
    def durable(self) -> bool:
        """Whether heads are kept in a file, so that `settle` waits for a disk."""
        return self._state is not None

    @property
    def origin(self) -> str | None:
        """The log's name: that of the head, else the only one the policy lists."""
        if self._head is not None:
            return self._head.origin
        names = {log.key.name for log in self.policy.logs}
        return names.pop() if len(names) == 1 else None

    def verify(self, note: bytes) -> VerifiedHead:
        """A signed checkpoint that meets the policy; nothing is said yet of its tree.

        Raises FormatError for what is no checkpoint, SignatureError, PolicyUnmetError; ProofError for an empty
        tree with a root of its own, and for a checkpoint of another log than before.
        """
        signed = parse_checkpoint(note)
        verdict = evaluate_policy(self.policy, signed)
        checkpoint = signed.checkpoint
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise ProofError(f"checkpoint: size 0 with root {checkpoint.root.hex()}")
        if self._head is not None and checkpoint.origin != self._head.origin:
            raise ProofError(f"checkpoint: got origin {checkpoint.origin!r}, want {self._head.origin!r}")
        return VerifiedHead(checkpoint, verdict, note)

    def verify_receipt(self, note: bytes) -> ReceiptHead:
        """A receipt note that a trusted receipt key of this log signed.

        Raises FormatError, SignatureError; ProofError for one of another log.
        """
        found = self.epochs.verify(note)
        origin = self.origin
        if origin is not None and found.head.origin != origin:
            raise ProofError(f"receipt: got origin {found.head.origin!r}, want {origin!r}")
        return found

    def settle(self, new: TrustedHead, proven: Collection[TrustedHead]) -> TrustedHead | None:
        """Take in a verified head; `proven` are those that the caller has proven to be of one history with it.

        None: done, and the newest of all is trusted and kept. Else a head that `new` was not compared with yet, as
        another thread or process may have been quicker: prove it against that one and call again, with both in
        `proven`. A head that moves nothing waits for no disk. Raises StorageError, and as the constructor does.
        """
        with self._lock:
            if self._head is not None and not self._is_proven(self._head, new, proven):
                return self._head
            if self._head is not None and new.size <= self._head.size:
                if new.size == self._head.size:
                    self._head = new  # its note may have more cosigners
                return None
            newest = new
            if self._state is not None:
                with self._state.locked():
                    stored = self._stored()
                    if stored is not None and not self._is_proven(stored, new, proven):
                        return stored
                    newest = new if stored is None or stored.size < new.size else stored
                    if newest is not stored:
                        self._state.write(newest.note)
            self._move(new)
            self._move(newest)
            return None

    def _is_proven(self, known: TrustedHead, new: TrustedHead, proven: Collection[TrustedHead]) -> bool:
        if (known.size, known.root) == (new.size, new.root) or not known.size or known in proven:
            return True
        if known is not self._head:
            return False
        # All that was trusted here is one history: what begins one of those heads begins those after it too.
        return any(head.size >= new.size and (head.size, head.root) in self._past for head in proven)

    def _move(self, head: TrustedHead) -> None:
        self._head = head
        self._past[head.size, head.root] = None
        if len(self._past) > _REMEMBERED:
            del self._past[next(iter(self._past))]

    def _stored(self) -> TrustedHead | None:
        if self._state is None or (note := self._state.read()) is None:
            return None
        if self._head is not None and note == self._head.note:
            return self._head  # what was verified once is not verified at each answer
        name = f"state file {self._state.path}"
        try:
            return trusted_head(self.verify(note))
        except (SignatureError, PolicyUnmetError, ProofError) as error:
            raise type(error)(f"{name}: {error}") from error
        except FormatError as error:
            raise DamagedError(f"{name}: {error}") from error


def trusted_head(head: VerifiedHead) -> TrustedHead:
    """A verified checkpoint as one that others are held against."""
    checkpoint = head.checkpoint
    return TrustedHead(checkpoint.origin, checkpoint.size, checkpoint.root, head.note)
