"""A blocking transport for tasks: each call in a thread of its own, for what knows no other way (files, HTTP)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from merklelog.client.transport import Appended, Batch, Epoch, Included, Stretch, Transport
from merklelog.tree.hashing import Hash


class ThreadedTransport:
    """An AsyncTransport over a Transport. What is cancelled goes on in its thread until its time is over."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""
        return await asyncio.to_thread(self._transport.checkpoint, size, seconds)

    async def witnessed(self, seconds: float) -> bytes:
        """See Transport."""
        return await asyncio.to_thread(self._transport.witnessed, seconds)

    async def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""
        return await asyncio.to_thread(self._transport.grown, size, seconds)

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> list[Included]:
        """See Transport."""
        return await asyncio.to_thread(self._transport.inclusions, indexes, size, root, seconds)

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> tuple[Hash, ...]:
        """See Transport."""
        return await asyncio.to_thread(self._transport.range_proof, start, end, size, root, seconds)

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""
        return await asyncio.to_thread(self._transport.consistency, old, size, root, seconds)

    async def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""
        return await asyncio.to_thread(self._transport.entries, start, end, size, root, seconds)

    async def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""
        return await asyncio.to_thread(self._transport.append, batch, seconds)

    async def epoch(self, seconds: float) -> Epoch:
        """See Transport."""
        return await asyncio.to_thread(self._transport.epoch, seconds)

    async def close(self) -> None:
        """See Transport."""
        await asyncio.to_thread(self._transport.close)
