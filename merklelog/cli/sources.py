"""One log to read from, whatever kind of target it is: what the reading commands ask."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from merklelog.errors import ForkError, ProofError, StaleError

if TYPE_CHECKING:
    from merklelog.cli.entries import Indexed
    from merklelog.client import Client, Consistency, TileSource, VerifiedHead, VerifiedReads
    from merklelog.protocol import TrustedHead
    from merklelog.tree import Hash

# (index, entry, whether nothing else is there yet)
Followed = Iterator[tuple[int, bytes, bool]]


class Reads(Protocol):
    """Verified reads: every error that they raise says what was wrong where."""

    def head(self, size: int | None = None) -> VerifiedHead:
        """The newest checkpoint, or the stored one of that size."""

    def entries(self, head: VerifiedHead, start: int, end: int) -> Indexed:
        """The entries [start, end) under a checkpoint."""

    def entry(self, index: int, size: int | None = None) -> bytes:
        """One entry."""

    def prove(self, index: int, size: int | None = None) -> bytes:
        """A proof file."""

    def inclusion(self, head: VerifiedHead, index: int) -> Sequence[Hash]:
        """The inclusion proof of an entry under a checkpoint that `head` gave."""

    def consistency(self, old: int, new: int) -> Consistency:
        """The proof between two stored checkpoints."""

    def follow(self, start: int, end: int | None, poll: float) -> Followed:
        """Entries as they come, each head proven to extend the one before."""


class FileReads:
    """Over files: a data directory or a published copy."""

    def __init__(self, source: TileSource, reads: VerifiedReads) -> None:
        self._source = source
        self._reads = reads
        self.head = reads.head
        self.entry = reads.entry
        self.prove = reads.prove
        self.consistency = reads.consistency

    def entries(self, head: VerifiedHead, start: int, end: int) -> Indexed:
        """See Reads."""
        return self._entries(head.checkpoint.size, head.checkpoint.root, start, end)

    def _entries(self, size: int, root: Hash, start: int, end: int) -> Indexed:
        from merklelog.cli.entries import verified_entries
        from merklelog.publish.verified import VerifiedTiles

        return verified_entries(VerifiedTiles(self._source, size, root), start, end)

    def inclusion(self, head: VerifiedHead, index: int) -> Sequence[Hash]:
        """See Reads: each hash of it leads to the root."""
        from merklelog.publish.verified import VerifiedTiles
        from merklelog.tree import prove_inclusion

        size, root = head.checkpoint.size, head.checkpoint.root
        return prove_inclusion(index, size, VerifiedTiles(self._source, size, root).read)

    def follow(self, start: int, end: int | None, poll: float) -> Followed:
        """See Reads."""
        trusted: TrustedHead | None = None
        at = start
        while end is None or at < end:
            trusted = self._advance(trusted)
            stop = trusted.size if end is None else min(end, trusted.size)
            if at < stop:
                for index, entry in self._entries(trusted.size, trusted.root, at, stop):
                    yield index, entry, index + 1 == stop
                at = stop
            if end is None or at < end:
                time.sleep(poll)
                self._refresh()

    def _advance(self, trusted: TrustedHead | None) -> TrustedHead:
        """The newest head, proven to extend the one before.

        Raises ForkError with both notes when it does not, StaleError for a smaller one.
        """
        from merklelog.formats import parse_checkpoint
        from merklelog.protocol import advance
        from merklelog.publish.verified import VerifiedTiles
        from merklelog.tree import prove_consistency

        head = self._reads.head()
        size, root = head.checkpoint.size, head.checkpoint.root
        proof: list[Hash] = []
        if trusted is not None and trusted.size < size:
            proof = prove_consistency(trusted.size, size, VerifiedTiles(self._source, size, root).read)
        try:
            return advance(trusted, parse_checkpoint(head.note), proof)
        except ProofError as error:
            if trusted is None:
                raise
            # Each hash of the proof leads to the new root, so it is not the proof that is wrong.
            raise ForkError(f"two histories of one log: {error}", trusted.note, head.note) from error

    def _refresh(self) -> None:
        """A data directory shows one moment until it is asked for a later one; a published copy is read anew."""
        from merklelog.log import LogReader

        if isinstance(self._source, LogReader):
            self._source.refresh()


class ClientReads:
    """Over a client, which remembers what it verified."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.head = client.checkpoint
        self.prove = client.prove
        self.consistency = client.consistency

    def entries(self, head: VerifiedHead, start: int, end: int) -> Indexed:
        """See Reads."""
        return enumerate(self._client.entries_under(head, start, end), start)

    def entry(self, index: int, size: int | None = None) -> bytes:
        """See Reads."""
        return next(iter(self._client.entries(index, index + 1, size)))

    def inclusion(self, head: VerifiedHead, index: int) -> Sequence[Hash]:
        """See Reads. Raises StaleError when the log gives proofs under another checkpoint alone."""
        from merklelog.formats import parse_checkpoint, parse_proof

        # What the client verified last is this checkpoint, unless it was asked for a stored one.
        for size in (None, head.checkpoint.size):
            proof = parse_proof(self._client.prove(index, size))
            if parse_checkpoint(proof.checkpoint).checkpoint == head.checkpoint:
                return proof.hashes
        raise StaleError(f"entry {index}: no proof under the checkpoint of size {head.checkpoint.size}")

    def follow(self, start: int, end: int | None, poll: float) -> Followed:  # noqa: ARG002  the client was told
        """See Reads."""
        if end is not None and start >= end:
            return
        for index, entry in self._client.follow(start):
            trusted = self._client.trusted
            yield index, entry, trusted is None or index + 1 >= trusted.size
            if index + 1 == end:
                return
