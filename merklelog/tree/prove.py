"""Inclusion, range and consistency proofs, made of hashes that a `HashReader` hands over.

Each function names all the nodes it needs in one call, and only roots of perfect subtrees, so a reader may be
a table in memory, tiles on a disk or tiles behind a network, and never has to hash over the tree's ragged
edge. Nothing here checks the hashes: a prover is not trusted anyway, see `verify`.

Sources: RFC 6962 sections 2.1.1 (PATH) and 2.1.2 (PROOF, SUBPROOF), the same as RFC 9162 sections 2.1.3.1
and 2.1.4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from ..errors import RangeError
from .hashing import SIZE_LIMIT, Hash, shown
from .ranges import NodeId, decompose, fold

# Gives the hash of each node asked for, in that order. Asked once a proof (or once for many), each node once.
HashReader = Callable[[Sequence[NodeId]], Sequence[Hash]]

# A node's height and index without its class: a thousand proofs in a large tree name ten thousand nodes.
_Place = tuple[int, int]
_node: Callable[[_Place], NodeId] = partial(tuple.__new__, NodeId)
# Paths of many leaves are made of steps of this many heights, each made once however many paths go through it.
_STEP = 4


class _Path(NamedTuple):
    """A proof to be: one hash for each node in order, but those of [fold_from, fold_to) folded into one."""

    nodes: list[NodeId]
    fold_from: int
    fold_to: int


def prove_inclusion(index: int, size: int, read: HashReader) -> list[Hash]:
    """The audit path of leaf `index` in the tree of `size` leaves, lowest hash first.

    Raises RangeError unless 0 <= index < size < 2**63. Source: RFC 6962 section 2.1.1, PATH(m, D[n]).
    """
    return prove_inclusions((index,), size, read)[0]


def prove_inclusions(indexes: Iterable[int], size: int, read: HashReader) -> list[list[Hash]]:
    """`prove_inclusion` for each of `indexes`, with one read in which shared nodes stand once.

    Raises RangeError as `prove_inclusion` does.
    """
    leaves = _leaves(indexes, size)
    paths = _Paths(leaves, size)
    return paths.proofs(leaves, _read(paths.nodes(), read))


def prove_leaves(indexes: Iterable[int], size: int, read: HashReader) -> tuple[list[Hash], list[list[Hash]]]:
    """The leaf hashes of `indexes`, and their proofs as `prove_inclusions` gives them, with one read for both."""
    leaves = _leaves(indexes, size)
    paths = _Paths(leaves, size)
    known = _read(chain(leaves, paths.nodes()), read)
    return [known[leaf] for leaf in leaves], paths.proofs(leaves, known)


def prove_consistency(old: int, new: int, read: HashReader) -> list[Hash]:
    """The proof that the tree of `old` leaves is the beginning of the tree of `new` leaves.

    Empty when there is nothing to prove: old == 0 (the empty tree begins every tree) and old == new. Raises
    RangeError unless 0 <= old <= new < 2**63. Source: RFC 6962 section 2.1.2, PROOF(m, D[n]).
    """
    if not 0 <= old <= new < SIZE_LIMIT:
        raise RangeError(f"consistency of sizes {shown(old)} and {shown(new)}: want 0 <= old <= new < 2**63")
    if old in (0, new):
        return []
    # SUBPROOF comes down to the largest perfect subtree that ends the old tree. The proof is that node and
    # its path in the new tree; the node itself is left out (SUBPROOF's b is true) when it is the whole old
    # tree, whose root the verifier has.
    height = (old & -old).bit_length() - 1
    node = NodeId(height, (old - 1) >> height)
    path = _path(node, new)
    if node.index:
        path = _Path([node, *path.nodes], path.fold_from + 1, path.fold_to + 1)
    return _assemble(path, _read(path.nodes, read))


def prove_range(start: int, end: int, size: int, read: HashReader) -> list[Hash]:
    """The proof that leaves [start, end) stand there in the tree of `size` leaves: one proof for all of them.

    It is the peaks of the tree of `start` leaves, then the perfect subtrees that cover [end, size), both left to
    right; with the leaf hashes between them they make the root. Raises RangeError unless
    0 <= start < end <= size < 2**63. Source: RFC 6962 section 2.1 (MTH), the compact ranges of `ranges`.
    """
    if not 0 <= start < end <= size < SIZE_LIMIT:
        raise RangeError(
            f"range [{shown(start)}, {shown(end)}) in size {shown(size)}: "
            "want 0 <= start < end <= size < 2**63"
        )
    nodes = [*decompose(0, start), *decompose(end, size)]
    return list(_read(nodes, read).values())


def root_hash(size: int, read: HashReader) -> Hash:
    """The root of the tree of `size` leaves (RFC 6962 section 2.1, MTH). Raises RangeError at 2**63."""
    nodes = decompose(0, size)
    return fold(_read(nodes, read).values())


def _leaves(indexes: Iterable[int], size: int) -> list[_Place]:
    leaves = []
    for index in indexes:
        if not 0 <= index < size < SIZE_LIMIT:
            raise RangeError(
                f"inclusion of leaf {shown(index)} in size {shown(size)}: want 0 <= index < size < 2**63"
            )
        leaves.append((0, index))
    return leaves


class _Paths:
    """The paths of many leaves in one tree: steps of _STEP siblings, by the node that each begins at, and ends.

    In a step all siblings are perfect subtrees (see `_path`); where that is over the rest of the path is an end.
    """

    def __init__(self, leaves: Iterable[_Place], size: int) -> None:
        self._steps: dict[_Place, tuple[_Place, ...]] = {}
        self._ends: dict[_Place, _Path] = {}
        steps, ends, last = self._steps, self._ends, size - 1
        for at in leaves:
            while at not in steps and at not in ends:
                height, index = at
                above, over = height + _STEP, index >> _STEP
                if over == last >> above:
                    ends[at] = _path(NodeId(height, index), size)
                    break
                steps[at] = (
                    (height, index ^ 1),
                    (height + 1, index >> 1 ^ 1),
                    (height + 2, index >> 2 ^ 1),
                    (height + 3, index >> 3 ^ 1),
                )
                at = above, over

    def nodes(self) -> Iterator[_Place]:
        """Every node on them, some more than once."""
        yield from chain.from_iterable(self._steps.values())
        for end in self._ends.values():
            yield from end.nodes

    def proofs(self, leaves: Iterable[_Place], known: Mapping[_Place, Hash]) -> list[list[Hash]]:
        """The proof of each leaf; what many go through is put together once."""
        steps, ends, hash_of = self._steps, self._ends, known.__getitem__
        tails: dict[_Place, list[Hash]] = {}

        def tail(at: _Place) -> list[Hash]:
            hashes = tails.get(at)
            if hashes is None:
                hashes = tails[at] = follow(at)
            return hashes

        def follow(at: _Place) -> list[Hash]:
            if at in ends:
                return _assemble(ends[at], known)
            return [*map(hash_of, steps[at]), *tail((at[0] + _STEP, at[1] >> _STEP))]

        return [follow(leaf) for leaf in leaves]


def _path(node: NodeId, size: int) -> _Path:
    """The siblings on the way from `node` to the root of the tree of `size` leaves.

    Below the height where the node's way meets that of the last leaf, all siblings are perfect. At that
    height the sibling is the tree's ragged right side, several perfect subtrees. Above it both go up the
    right edge and have siblings on the left only, perfect again.
    """
    height, index = node
    inner = (index ^ ((size - 1) >> height)).bit_length()
    nodes = [NodeId(height + up, index >> up ^ 1) for up in range(inner - 1)]
    fold_from = len(nodes)
    if inner:
        up = inner - 1
        nodes += decompose(((index >> up) + 1) << (height + up), size)
    fold_to = len(nodes)
    border = range(inner, index.bit_length())
    nodes += [NodeId(height + up, index >> up ^ 1) for up in border if index >> up & 1]
    return _Path(nodes, fold_from, fold_to)


def _read(places: Iterable[_Place], read: HashReader) -> dict[_Place, Hash]:
    """Ask for each node once; no question at all when there is none."""
    wanted = list(dict.fromkeys(places))
    return dict(zip(wanted, read([*map(_node, wanted)]), strict=True)) if wanted else {}


def _assemble(path: _Path, known: Mapping[_Place, Hash]) -> list[Hash]:
    nodes, fold_from, fold_to = path
    hashes = [known[node] for node in nodes]
    if fold_to - fold_from > 1:
        hashes[fold_from:fold_to] = [fold(hashes[fold_from:fold_to])]
    return hashes
