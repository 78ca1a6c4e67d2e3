"""The growing right edge, beside the definitions: every size, every split, every restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.tree import EMPTY_ROOT, CompactRange, Frontier, Growth, Hash, LeafIndex, leaf_hashes, node_hash

SIZES = 600
BORDERS = (1, 15, 16, 17, 127, 128, 255, 256, 257, 258, 511, 512, 513, 599, 600)


class Tree(Protocol):
    def mth(self, start: int, end: int) -> bytes: ...
    def tile(self, level: int, index: int, width: int) -> bytes: ...
    def inner(self, level: int, index: int) -> bytes: ...


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    return [b"frontier %d" % i for i in range(SIZES)]


@pytest.fixture(scope="module")
def leaves(entries: list[bytes]) -> list[Hash]:
    return leaf_hashes(entries)


@pytest.fixture(scope="module")
def tree(entries: list[bytes], reference_tree: Callable[[list[bytes]], Tree]) -> Tree:
    return reference_tree(entries)


@pytest.fixture(scope="module")
def partials(tree: Tree) -> list[tuple[bytes, ...]]:
    """The unfinished tile of each level at each size, from the definition alone."""
    return [tuple(partial_tiles(tree, size)) for size in range(SIZES + 1)]


def partial_tiles(tree: Tree, size: int) -> Iterator[bytes]:
    level = 0
    while level == 0 or size >> 8 * level:
        width = (size >> 8 * level) & 255
        yield tree.tile(level, size >> 8 * (level + 1), width)
        level += 1


class Disk:
    """What a store makes of growths: full tiles with their inner hashes, and the pieces of partial ones."""

    def __init__(self) -> None:
        self.full: dict[tuple[int, int], bytes] = {}
        self.inner: dict[tuple[int, int], bytes] = {}
        self.edges: dict[tuple[int, int], bytes] = {}

    def take(self, growth: Growth) -> None:
        for tile in growth.full:
            key = (tile.level, tile.index)
            assert key not in self.full, "a tile became full twice"
            assert (len(tile.hashes), len(tile.nodes)) == (8192, 960)
            assert tile.hashes.startswith(self.edges.pop(key, b"")), "a full tile drops hashes of its pieces"
            self.full[key], self.inner[key] = tile.hashes, tile.nodes
        for piece in growth.edges:
            key = (piece.level, piece.index)
            assert piece.hashes
            assert len(self.edges.get(key, b"")) == 32 * piece.start, "a piece does not follow the last one"
            assert key not in self.full
            self.edges[key] = self.edges.get(key, b"") + piece.hashes
            assert len(self.edges[key]) < 8192


def compare(disk: Disk, frontier: Frontier, tree: Tree, partials: list[tuple[bytes, ...]]) -> None:
    size = frontier.size
    assert frontier.root() == tree.mth(0, size)
    assert frontier.partials() == partials[size]
    want = {(level, size >> 8 * (level + 1)): p for level, p in enumerate(partials[size]) if p}
    assert disk.edges == want
    assert set(disk.full) == {
        (level, i) for level in range(len(partials[size])) for i in range(size >> 8 * (level + 1))
    }
    for (level, index), hashes in disk.full.items():
        assert hashes == tree.tile(level, index, 256)
        assert disk.inner[level, index] == tree.inner(level, index)


def test_one_by_one_every_size(leaves: list[Hash], tree: Tree, partials: list[tuple[bytes, ...]]) -> None:
    frontier, disk, compact = Frontier(), Disk(), CompactRange()
    assert frontier.root() == EMPTY_ROOT
    for size, leaf in enumerate(leaves, 1):
        disk.take(frontier.extend([leaf]))
        compact = compact.append(leaf)
        assert frontier.size == size
        assert frontier.root() == compact.root()
        compare(disk, frontier, tree, partials)


def test_every_split_of_every_border_size(
    leaves: list[Hash], tree: Tree, partials: list[tuple[bytes, ...]]
) -> None:
    for total in BORDERS:
        for first in range(total + 1):
            frontier, disk = Frontier(), Disk()
            disk.take(frontier.extend(leaves[:first]))
            disk.take(frontier.extend(leaves[first:total]))
            compare(disk, frontier, tree, partials)


def test_every_pair_of_sizes_has_the_right_root(leaves: list[Hash], tree: Tree) -> None:
    """From every size straight to a few later ones, started from the partial tiles of that size."""
    rng = Random(5)
    for old in range(SIZES):
        for new in {old + 1, min(SIZES, (old | 255) + 1), SIZES, rng.randint(old, SIZES)}:
            frontier = Frontier(old, tuple(partial_tiles(tree, old)))
            frontier.extend(leaves[old:new])
            assert frontier.root() == tree.mth(0, new)


def test_a_restart_at_every_size_goes_on_as_if_nothing_happened(
    leaves: list[Hash], tree: Tree, partials: list[tuple[bytes, ...]]
) -> None:
    whole = Frontier()
    for size in range(SIZES):
        again = Frontier(size, partials[size])
        assert again.size == size
        assert again.root() == tree.mth(0, size)
        assert again.partials() == partials[size]
        step = leaves[size : size + 1]
        assert again.extend(step) == whole.extend(step)
        far = Frontier(size, partials[size])
        rest = leaves[size : size + 300]
        growth = far.extend(rest)
        assert far.root() == tree.mth(0, size + len(rest))
        for tile in growth.full:
            assert tile.hashes == tree.tile(tile.level, tile.index, 256)
            assert tile.nodes == tree.inner(tile.level, tile.index)


def test_nothing_appended_changes_nothing(leaves: list[Hash]) -> None:
    frontier = Frontier()
    assert frontier.extend([]) == Growth((), ())
    frontier.extend(leaves[:300])
    root = frontier.root()
    assert frontier.extend([]) == Growth((), ())
    assert (frontier.size, frontier.root()) == (300, root)


def test_what_was_handed_out_does_not_change_later(leaves: list[Hash]) -> None:
    frontier = Frontier()
    growth = frontier.extend(leaves[:100])
    before = frontier.partials()
    copies = [bytes(piece.hashes) for piece in growth.edges], [bytes(part) for part in before]
    frontier.extend(leaves[100:600])
    assert ([piece.hashes for piece in growth.edges], list(before)) == copies


@pytest.mark.parametrize(
    ("size", "partials"),
    [
        (1, ()),
        (1, (b"",)),
        (1, (bytes(31),)),
        (1, (bytes(33),)),
        (1, (bytes(64),)),
        (0, (bytes(32),)),
        (256, (b"",)),
        (256, (bytes(32), bytes(32))),
        (256, (b"", bytes(32), bytes(32))),
        (65536, (b"", b"")),
    ],
)
def test_partials_that_do_not_fit_the_size_are_refused(size: int, partials: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"level \d: \d+ bytes for \d+ hashes"):
        Frontier(size, partials)


def test_a_changed_partial_changes_the_root(tree: Tree, partials: list[tuple[bytes, ...]]) -> None:
    for size in (1, 2, 255, 257, 300, 511, 513, 600):
        for level, partial in enumerate(partials[size]):
            for at in range(0, len(partial), 32 * 7):
                bent = bytearray(partial)
                bent[at] ^= 1
                changed = [*partials[size]]
                changed[level] = bytes(bent)
                assert Frontier(size, changed).root() != tree.mth(0, size)


def number_leaves(start: int, end: int) -> list[Hash]:
    return [Hash(sha256(i.to_bytes(8, "big")).digest()) for i in range(start, end)]


def rows_of(leaves: list[Hash]) -> list[list[Hash]]:
    """Every complete node of each height: the whole tree by brute force."""
    rows = [leaves]
    while len(rows[-1]) > 1:
        row = rows[-1]
        rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
    return rows


def check_everything(frontier: Frontier, disk: Disk, leaves: list[Hash]) -> None:
    rows = rows_of(leaves)
    for (level, index), hashes in disk.full.items():
        assert hashes == b"".join(rows[8 * level][256 * index : 256 * (index + 1)])
        nodes = []
        for height in (4, 5, 6, 7):
            width = 256 >> height
            nodes += rows[8 * level + height][width * index : width * (index + 1)]
        assert disk.inner[level, index] == b"".join(nodes)
    for level in range((max(1, len(leaves)).bit_length() + 7) // 8):
        count = len(leaves) >> 8 * level
        assert sum(1 for at in disk.full if at[0] == level) == count >> 8
        want = b"".join(rows[8 * level][count & ~255 : count]) if 8 * level < len(rows) else b""
        assert disk.edges.get((level, count >> 8), b"") == want == frontier.partial(level)
    assert frontier.root() == compact_root(leaves)


def compact_root(leaves: Iterable[Hash]) -> Hash:
    """Merged pairwise, so that a large tree is not appended leaf by leaf."""
    ranges = [CompactRange(LeafIndex(i), LeafIndex(i + 1), (leaf,)) for i, leaf in enumerate(leaves)]
    while len(ranges) > 1:
        pairs = [left.merge(right) for left, right in zip(ranges[::2], ranges[1::2], strict=False)]
        ranges = pairs + ranges[len(ranges) & ~1 :]
    return ranges[0].root() if ranges else EMPTY_ROOT


def test_two_levels_of_full_tiles_in_uneven_batches() -> None:
    """Past 65,536 leaves, where level 1 has a full tile: batches that end before, at and after the border."""
    sizes = [0, 1, 255, 256, 257, 4096, 65_279, 65_280, 65_535, 65_536, 65_537, 66_000, 66_304]
    leaves = number_leaves(0, sizes[-1])
    frontier, disk = Frontier(), Disk()
    for old, new in pairwise(sizes):
        disk.take(frontier.extend(leaves[old:new]))
        restarted = Frontier(frontier.size, frontier.partials())
        assert restarted.root() == frontier.root()
    check_everything(frontier, disk, leaves)


def test_the_largest_border_in_one_batch_and_split_around_it() -> None:
    leaves = number_leaves(0, 65_540)
    at_once = Frontier()
    at_once.extend(leaves)
    for first in (65_534, 65_535, 65_536, 65_537):
        frontier = Frontier()
        frontier.extend(leaves[:first])
        again = Frontier(first, frontier.partials())
        for each in (frontier, again):
            each.extend(leaves[first:])
            assert each.root() == at_once.root()
            assert each.partials() == at_once.partials()


@given(st.lists(st.integers(0, 700), max_size=8), st.booleans())
def test_any_batches(batches: list[int], restart: bool) -> None:
    leaves = number_leaves(0, sum(batches))
    frontier, disk, at = Frontier(), Disk(), 0
    for count in batches:
        disk.take(frontier.extend(leaves[at : at + count]))
        at += count
        if restart:
            frontier = Frontier(at, frontier.partials())
    check_everything(frontier, disk, leaves)


@given(st.integers(0, 2**40), st.integers(0, 600))
def test_any_size_grows_like_a_compact_range(size: int, count: int) -> None:
    """Sizes no test can build leaf by leaf: made-up partial tiles stand for the subtrees on the left."""
    partials, level = [], 0
    while level == 0 or size >> 8 * level:
        width = size >> 8 * level & 255
        made = [sha256(b"%d %d" % (level, i)).digest() for i in range(width)]
        partials.append(b"".join(made))
        level += 1
    frontier = Frontier(size, partials)
    compact = CompactRange(LeafIndex(0), LeafIndex(size), tuple(peaks(partials, size)))
    assert frontier.root() == compact.root()
    leaves = number_leaves(size, size + count)
    growth = frontier.extend(leaves)
    for leaf in leaves:
        compact = compact.append(leaf)
    assert frontier.root() == compact.root()
    assert [(t.level, t.index) for t in growth.full] == [
        (at, i) for at in range(level + 1) for i in range(size >> 8 * (at + 1), size + count >> 8 * (at + 1))
    ]


def peaks(partials: list[bytes], size: int) -> Iterator[Hash]:
    """The roots of the perfect subtrees of a tree, highest first, folded out of its partial tiles."""
    for level in reversed(range(len(partials))):
        row = [Hash(partials[level][i : i + 32]) for i in range(0, len(partials[level]), 32)]
        at = 0
        for height in reversed(range(8)):
            if size >> 8 * level + height & 1:
                yield rows_of(row[at : at + (1 << height)])[-1][0]
                at += 1 << height
