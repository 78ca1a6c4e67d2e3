from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.tree import EMPTY_ROOT, leaf_hash, leaf_hashes, node_hash, node_hashes
from merklelog.tree.hashing import shown


def test_published_values() -> None:
    # The values that Certificate Transparency implementations test themselves with.
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert (
        node_hash(b"N123", b"N456").hex()
        == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


def test_a_leaf_is_not_a_node() -> None:
    left, right = leaf_hash(b"l"), leaf_hash(b"r")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"\x01" + left + right) != node_hash(left, right)


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_bulk_leaves_are_the_single_ones(entries: list[bytes]) -> None:
    want = [sha256(b"\x00" + entry).digest() for entry in entries]
    assert leaf_hashes(entries) == want
    assert leaf_hashes(iter(entries)) == want
    assert [leaf_hash(entry) for entry in entries] == want


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20))
def test_bulk_nodes_are_the_single_ones(hashes: list[bytes]) -> None:
    pairs = list(zip(hashes[::2], hashes[1::2], strict=False))
    got = node_hashes(b"".join(left + right for left, right in pairs))
    assert got == [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    assert got == [node_hash(left, right) for left, right in pairs]


def test_bulk_calls_share_no_state() -> None:
    first = leaf_hashes([b"a", b"b"]), node_hashes(bytes(128))
    assert (leaf_hashes([b"a", b"b"]), node_hashes(bytes(128))) == first


@pytest.mark.parametrize("size", [1, 32, 63, 65, 96])
def test_half_a_pair_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"got {size} bytes"):
        node_hashes(bytes(size))


def test_numbers_in_messages_stay_short() -> None:
    assert shown(2**64 - 1) == str(2**64 - 1)
    assert shown(-5) == "-5"
    assert shown(1 << 100_000) == "<100001 bits>"
