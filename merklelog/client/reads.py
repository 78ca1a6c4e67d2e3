"""Reads that a stranger can rely on: everything leads up to a checkpoint that meets the reader's own policy.

The source may be a data directory, a published copy or, later, a server: none of them is trusted, and what
does not fit the checkpoint is reported with the name of the file it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from merklelog.client.heads import VerifiedHead, head_of_size, newest_head
from merklelog.client.source import TileSource
from merklelog.errors import ForkError, ProofError, RangeError
from merklelog.formats.keys import VerifierKey
from merklelog.formats.policy import Policy, single_log_policy
from merklelog.formats.proof import ProofFile, format_proof
from merklelog.protocol.verdict import verify_proof_file
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import HASH_SIZE, Hash
from merklelog.tree.prove import prove_consistency, prove_inclusion
from merklelog.tree.tiles import TILE_WIDTH
from merklelog.tree.verify import verify_consistency

_CACHED_TILES = 64


@dataclass(frozen=True, slots=True)
class Consistency:
    """Two verified checkpoints of one log, and the verified proof that the tree of `old` begins that of
    `new`.
    """

    old: VerifiedHead
    new: VerifiedHead
    proof: tuple[Hash, ...]


class VerifiedReads:
    """Verified reads over `source`, under a policy or the verifier keys of one log (any one of them is
    enough).

    Without a `size` a read is under the newest stored checkpoint that meets the policy; with one, under the
    stored checkpoint of that size. Keeps `cached_tiles` tiles in memory, so that many proofs cost no more
    than the tiles they touch. Every method raises what `newest_head` and `head_of_size` say; DamagedError,
    naming the file, for what does not lead to the checkpoint or is not there though it must be; RangeError
    for an index or size outside the tree; and what the source raises when it could not tell. Not safe for
    threads.
    """

    def __init__(
        self, source: TileSource, trust: Policy | Iterable[VerifierKey], *, cached_tiles: int = _CACHED_TILES
    ) -> None:
        self._source = source
        self._policy = trust if isinstance(trust, Policy) else single_log_policy(trust)
        self._cached_tiles = cached_tiles
        self._tiles: tuple[int, Hash, VerifiedTiles] | None = None

    def head(self, size: int | None = None) -> VerifiedHead:
        """The checkpoint that a read with this `size` is under."""
        if size is None:
            return newest_head(self._source, self._policy)
        return head_of_size(self._source, self._policy, size)

    def entry(self, index: int, size: int | None = None) -> bytes:
        """One entry's bytes."""
        head = self.head(size)
        self._check_index(index, head)
        return self._open(head).entries(index // TILE_WIDTH)[index % TILE_WIDTH]

    def entries(self, start: int, end: int | None = None, size: int | None = None) -> Iterator[bytes]:
        """The entries [start, end), all of them from `start` on without an end; holds one bundle at a time.

        The range is checked and the checkpoint chosen at the call, each bundle when it is reached.
        """
        head = self.head(size)
        stop = head.checkpoint.size if end is None else end
        if not 0 <= start <= stop <= head.checkpoint.size:
            raise RangeError(f"entries [{start}, {stop}): the checkpoint has size {head.checkpoint.size}")
        return self._stream(self._open(head), start, stop)

    def prove(self, index: int, size: int | None = None) -> bytes:
        """A tlog-proof file for the entry at `index`, verified against the policy before it is given.

        Source: c2sp.org/tlog-proof.
        """
        head = self.head(size)
        self._check_index(index, head)
        tiles = self._open(head)
        hashes = prove_inclusion(index, head.checkpoint.size, tiles.read)
        proof = ProofFile(index, tuple(hashes), head.note)
        at = index % TILE_WIDTH * HASH_SIZE
        leaf = Hash(tiles.tile(0, index // TILE_WIDTH)[at : at + HASH_SIZE])
        verify_proof_file(proof, leaf, self._policy)
        return format_proof(proof)

    def consistency(self, old: int, new: int) -> Consistency:
        """The proof between the stored checkpoints of two sizes, verified.

        Raises RangeError unless 0 <= old <= new, ForkError with both notes when the newer tree, whose every
        hash is verified, does not begin with the older one.
        """
        if not 0 <= old <= new:
            raise RangeError(f"consistency of sizes {old} and {new}: want 0 <= old <= new")
        first, second = self.head(old), self.head(new)
        hashes = prove_consistency(old, new, self._open(second).read)
        try:
            verify_consistency(old, new, first.checkpoint.root, second.checkpoint.root, hashes)
        except ProofError as error:
            raise ForkError(f"two histories of one log: {error}", first.note, second.note) from error
        return Consistency(first, second, tuple(hashes))

    def _open(self, head: VerifiedHead) -> VerifiedTiles:
        """The tiles under a checkpoint; those of the last one stay in memory."""
        size, root = head.checkpoint.size, head.checkpoint.root
        if self._tiles is None or self._tiles[:2] != (size, root):
            tiles = VerifiedTiles(self._source, size, root, cached=self._cached_tiles)
            self._tiles = (size, root, tiles)
        return self._tiles[2]

    @staticmethod
    def _check_index(index: int, head: VerifiedHead) -> None:
        if not 0 <= index < head.checkpoint.size:
            raise RangeError(f"index {index}: the checkpoint has size {head.checkpoint.size}")

    @staticmethod
    def _stream(tiles: VerifiedTiles, start: int, end: int) -> Iterator[bytes]:
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = number * TILE_WIDTH
            yield from tiles.entries(number)[max(0, start - first) : end - first]
