"""Answering requests for proofs and checkpoints; these functions block while they read."""

from __future__ import annotations

from collections.abc import Iterable

from merklelog.errors import FieldError, NotFoundError, RangeError
from merklelog.formats.wire import parse_decimal
from merklelog.log import Log
from merklelog.tree import (
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Hash,
    width_at,
)
from merklelog.v1 import log_pb2 as pb

from .asked import check_hash, check_size


def newest(log: Log) -> tuple[int, bytes]:
    """The newest checkpoint's size and its note, of one moment."""
    note = log.checkpoint()
    return parse_decimal(note.split(b"\n", 2)[1], "size"), note


def tree_of(log: Log, size: int) -> tuple[int, bytes]:
    """The tree size a request means (0: the newest) and its checkpoint, empty where none is stored."""
    head, note = newest(log)
    if size in (0, head):
        return head, note
    if check_size("tree_size", size) > head:
        integrated = log.integrated.size
        if size > integrated:
            raise RangeError(f"tree size {size}: the log has {integrated} entries")
        return size, b""  # between what is published and what receipts are of: no checkpoint, but proofs
    try:
        return size, log.checkpoint(size)
    except NotFoundError:
        return size, b""


def leaf_hashes(log: Log, indexes: Iterable[int]) -> list[Hash]:
    """The leaf hash of each entry, one read a tile for neighbours. Raises RangeError, DamagedError."""
    size = log.size
    hashes: list[Hash] = []
    number, tile = -1, b""
    for index in indexes:
        if index >= size:
            raise RangeError(f"entry {index}: the log has {size} entries, the first is 0")
        if index >> TILE_HEIGHT != number:
            number = index >> TILE_HEIGHT
            tile = log.tile(0, number, width_at(0, number, size))
        at = HASH_SIZE * (index % TILE_WIDTH)
        hashes.append(Hash(tile[at : at + HASH_SIZE]))
    return hashes


def find(log: Log, field: str, leaf: bytes) -> int:
    """The index of the entry with this leaf hash. Raises FieldError, NotFoundError."""
    if not (log.config.lookup or log.config.dedupe):
        raise FieldError(field, "this log keeps no lookup (log.lookup = false): want an index")
    found = log.find(check_hash(field, leaf))
    if found is None:
        raise NotFoundError(f"{field}: the log has no entry with leaf hash {leaf.hex()}")
    return found


def inclusion(log: Log, request: pb.GetInclusionProofRequest) -> pb.GetInclusionProofResponse:
    """One entry's proof."""
    which = request.WhichOneof("entry")
    if which is None:
        raise FieldError("entry", "missing: want an index or a leaf_hash")
    size, note = tree_of(log, request.tree_size)
    index = request.index if which == "index" else find(log, "leaf_hash", request.leaf_hash)
    leaves, proofs = log.leaves_and_proofs([index], size)
    return pb.GetInclusionProofResponse(
        entry=pb.Inclusion(index=index, leaf_hash=leaves[0], proof=proofs[0]), tree_size=size, checkpoint=note
    )


def inclusions(log: Log, request: pb.GetInclusionProofsRequest, most: int) -> pb.GetInclusionProofsResponse:
    """Proofs of many entries, `most` by index and as many by leaf hash, and of a range."""
    for field, count in (("indexes", len(request.indexes)), ("leaf_hashes", len(request.leaf_hashes))):
        if count > most:
            raise FieldError(field, f"{count:,} of them: want at most {most:,}")
    start, end = request.range_start, request.range_end
    if not (request.indexes or request.leaf_hashes or start or end):
        raise FieldError("indexes", "nothing is asked for: want indexes, leaf_hashes or a range")
    size, note = tree_of(log, request.tree_size)
    indexes = list(request.indexes)
    indexes += [find(log, f"leaf_hashes[{i}]", leaf) for i, leaf in enumerate(request.leaf_hashes)]
    response = pb.GetInclusionProofsResponse(tree_size=size, checkpoint=note)
    if indexes:
        leaves, proofs = log.leaves_and_proofs(indexes, size)
        for index, leaf, proof in zip(indexes, leaves, proofs, strict=True):
            response.entries.add(index=index, leaf_hash=leaf, proof=proof)
    if start or end:
        response.range_proof.extend(range_proof(log, start, end, size))
    return response


def range_proof(log: Log, start: int, end: int, size: int) -> list[Hash]:
    """The perfect subtrees left of [start, end) in the tree of `size`, then those right of it.

    With the range's own leaf hashes they make the root. Raises FieldError, RangeError.
    """
    if start >= end:
        raise FieldError("range_end", f"{end}: want more than range_start, {start}")
    if end > size:
        raise RangeError(f"entries {start}:{end}: the tree of size {size} has none from {size} on")
    return log.range_proof(start, end, size)


def consistency(log: Log, request: pb.GetConsistencyProofRequest) -> pb.GetConsistencyProofResponse:
    """The proof that one tree extends another."""
    check_size("new_size", request.new_size)
    size, note = tree_of(log, request.new_size)
    proof = log.consistency_proof(check_size("old_size", request.old_size), size)
    return pb.GetConsistencyProofResponse(proof=proof, new_size=size, checkpoint=note)
