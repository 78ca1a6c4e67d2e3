"""How a log ends: one last entry that says so, under the log's last checkpoint, and no append ever again.

The statement (`formats.statement`) names the index at which it stands, so it is made by the sequencer's thread,
alone in its commit and behind all that waited. In a log without publish targets that commit holds the last
checkpoint too, signed by both keys and filed; one with targets publishes it as it does any other.

Nothing else remembers that a log is frozen: whoever opens it finds the statement as its last entry. So it holds
after every restart, in a backup, and in a log that was recovered from what it published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from merklelog.errors import DamagedError, UsageError
from merklelog.formats import validate_origin
from merklelog.formats.statement import Follows, Freeze, sign_statement
from merklelog.formats.wire import quote
from merklelog.protocol.statement import Chain, follows_at_start, freeze_at
from merklelog.tree import Hash, TreeSize

from .head import Keys, Signers
from .receipt import Receipt
from .request import OVERHEAD_BYTES, Request, single

if TYPE_CHECKING:
    from collections.abc import Callable

    from merklelog.store import StoreReader

    from .sequencer import Sequencer

_BYTES: Final = 1 << 13  # more than a statement has, for what waits


class Statements:
    """What the one writer of a log may state in it. A log that ended before takes no appends from the first on."""

    def __init__(self, keys: Keys, signers: Signers, sequencer: Sequencer, ended: Freeze | None) -> None:
        """`ended` is the statement with which the log's tree ends already."""
        self._keys = keys
        self._signers = signers
        self._sequencer = sequencer
        self._ended = ended
        if ended is not None:
            sequencer.freeze(why_frozen(ended))

    @property
    def ended(self) -> Freeze | None:
        """The statement that ended this log, published or not; None while it goes on."""
        return self._ended

    def freeze(self, successor: str | None = None) -> Receipt:
        """End the log: append the statement that it takes nothing after it, and sign the last checkpoint over it.

        Appends that were called before are stored before it, later ones raise FrozenError, for good. `successor`
        is the origin of the log that goes on. Returns when the statement is durable; a log with publish targets
        then publishes it (`publish_now`).

        Raises FrozenError for a log that has ended already, OriginError and UsageError for a successor that is
        none, and as an append does: UnavailableError, StoppedError (then it may have ended), ClosedError.
        """
        if successor is not None and validate_origin(successor) == self._keys.origin:
            raise UsageError(f"successor {quote(successor)}: a log does not follow itself")

        def make(index: int) -> bytes:
            return self._sign(Freeze(self._keys.origin, TreeSize(index), successor))

        request = _request(make)
        request.block()
        self._sequencer.freeze(f"{self._keys.origin} is frozen: it takes no appends", request)
        receipt = single(request.wait())
        self._ended = Freeze(self._keys.origin, TreeSize(receipt.index), successor)
        self._sequencer.freeze(why_frozen(self._ended))
        return receipt

    def follow(self, predecessor: str, size: int, root: Hash) -> Receipt:
        """Say, in the first entry of this log, that it goes on where another one ended.

        Raises UsageError for a log that has entries, or a predecessor that is none; else as an append does.
        """
        if validate_origin(predecessor) == self._keys.origin:
            raise UsageError(f"predecessor {quote(predecessor)}: a log does not follow itself")

        def make(index: int) -> bytes:
            if index:
                raise UsageError(
                    f"{self._keys.origin} has {index} entries: only its first one can say what it follows"
                )
            return self._sign(Follows(self._keys.origin, predecessor, TreeSize(size), root))

        request = _request(make)
        request.block()
        self._sequencer.submit(request)
        return single(request.wait())

    def _sign(self, statement: Freeze | Follows) -> bytes:
        return sign_statement(statement, (self._signers.ed25519, self._signers.mldsa44))


def _request(make: Callable[[int], bytes]) -> Request:
    request = Request([], _BYTES + OVERHEAD_BYTES, single=True)
    request.make = make
    return request


def why_frozen(freeze: Freeze) -> str:
    """What appends to it are told."""
    end = "" if freeze.successor is None else f"; {freeze.successor} goes on"
    return f"{freeze.origin} is frozen since entry {freeze.size}: it takes no appends{end}"


def read_freeze(store: StoreReader, size: int, keys: Keys) -> Freeze | None:
    """The statement that a tree of this size ends with; None where it ends with another entry."""
    entry = _entry(store, size - 1)
    return None if entry is None else freeze_at(entry, size - 1, keys.origin, keys.verifiers)


def read_chain(store: StoreReader, size: int, keys: Keys) -> Chain:
    """What a tree of this size says of the logs before and after it."""
    first = _entry(store, 0) if size else None
    follows = None if first is None else follows_at_start(first, keys.origin, keys.verifiers)
    return Chain(follows, read_freeze(store, size, keys))


def _entry(store: StoreReader, index: int) -> bytes | None:
    """One entry's bytes; None before the first. Raises DamagedError."""
    if index < 0:
        return None
    for first, framed in store.segments(index, index + 1):
        offset = 0
        for at in range(first, index + 1):
            end = offset + 2 + int.from_bytes(framed[offset : offset + 2], "big")
            if end > len(framed) or end - offset < 2:
                break
            if at == index:
                return framed[offset + 2 : end]
            offset = end
    raise DamagedError(f"entry {index} is missing")


__all__ = ["Statements", "read_chain", "read_freeze", "why_frozen"]
