"""What a producer asks of the way to its log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from merklelog.tree import Hash


@dataclass(frozen=True, slots=True)
class Answer:
    """What a log says of one batch: the index of each entry, and the signed note over a tree that has them all.

    Nothing of it is verified yet.
    """

    indexes: Sequence[int]
    size: int
    note: bytes


class Proofs(Protocol):
    """Where proofs come from; none of them is verified yet.

    Every method raises a MerklelogError: OverloadedError and UnavailableError for what may come right by itself.
    """

    async def range_proof(self, start: int, end: int, size: int) -> Sequence[Hash]:
        """The proof of the entries [start, end) in the tree of `size`, as `tree.verify_range` takes it."""
        ...

    async def inclusion_proofs(self, indexes: Sequence[int], size: int) -> Sequence[Sequence[Hash]]:
        """The inclusion proof of each entry in the tree of `size`."""
        ...

    async def consistency_proof(self, old: int, new: int) -> Sequence[Hash]:
        """The proof that the tree of `old` entries begins that of `new`."""
        ...


class Transport(Proofs, Protocol):
    """A way to one log, made and used in one event loop."""

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
