"""What a producer asks of the way to its log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from merklelog.client.transport import Epoch, Included
from merklelog.tree import Hash


@dataclass(frozen=True, slots=True)
class Answer:
    """What a log says of one batch: the index of each entry, and the signed note over a tree that has them all.

    Indexes that go up one by one are a `range`. `epoch` is that of a receipt note, 0 where the note is a
    checkpoint. Nothing of it is verified yet.
    """

    indexes: Sequence[int]
    size: int
    note: bytes
    epoch: int = 0


class Proofs(Protocol):
    """Where proofs come from, as `transport.AsyncTransport` gives them; none of them is verified yet."""

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> Sequence[Included]:
        """See AsyncTransport."""
        ...

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> Sequence[Hash]:
        """See AsyncTransport."""
        ...

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> Sequence[Hash]:
        """See AsyncTransport."""
        ...

    async def grown(self, size: int, seconds: float) -> bytes:
        """See AsyncTransport."""
        ...

    async def epoch(self, seconds: float) -> Epoch:
        """See AsyncTransport."""
        ...


class Sender(Protocol):
    """A way to one log, made and used in one event loop; `proofs` is where its answers' proofs come from.

    Everything raises a MerklelogError: OverloadedError and UnavailableError for what may come right by itself.
    """

    @property
    def proofs(self) -> Proofs:
        """Where proofs come from."""
        ...

    def send(self, entries: Sequence[bytes], key: bytes) -> asyncio.Future[Answer]:
        """Append these entries, all or none, under this idempotency key.

        Calls need not wait for each other, and are stored in the order they are made in. When one fails, every
        later one that is not answered fails with it, and nothing of those is stored unless all before it are.
        """
        ...

    async def reset(self) -> None:
        """Give up what is not answered; the next `send` begins anew. After it nothing that was sent before `reset`
        is stored behind what is sent after it, but for repeats, which their keys make harmless.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...
