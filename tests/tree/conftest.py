"""A second tree to compare with: RFC 6962's recursive definitions, typed off as they stand and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256

import pytest


class ReferenceTree:
    """MTH, PATH and PROOF of RFC 6962 section 2.1 over the entries D, each D[a:b] named by its bounds.

    Nothing of merklelog is used here.
    """

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.mth = cache(self._mth)

    def _mth(self, start: int, end: int) -> bytes:
        n = end - start
        if n == 0:
            return sha256(b"").digest()
        if n == 1:
            return sha256(b"\x00" + self.entries[start]).digest()
        k = largest_power_below(n)
        return sha256(b"\x01" + self.mth(start, start + k) + self.mth(start + k, end)).digest()

    def path(self, m: int, start: int, end: int) -> list[bytes]:
        """PATH(m, D[start:end])."""
        n = end - start
        if n == 1:
            return []
        k = largest_power_below(n)
        if m < k:
            return [*self.path(m, start, start + k), self.mth(start + k, end)]
        return [*self.path(m - k, start + k, end), self.mth(start, start + k)]

    def proof(self, m: int, n: int) -> list[bytes]:
        """PROOF(m, D[0:n]), 0 < m < n."""
        return self._subproof(m, 0, n, True)

    def _subproof(self, m: int, start: int, end: int, b: bool) -> list[bytes]:
        n = end - start
        if m == n:
            return [] if b else [self.mth(start, end)]
        k = largest_power_below(n)
        if m <= k:
            return [*self._subproof(m, start, start + k, b), self.mth(start + k, end)]
        return [*self._subproof(m - k, start + k, end, False), self.mth(start, start + k)]

    def tile(self, level: int, index: int, width: int, height: int = 8) -> bytes:
        """tlog-tiles, "Merkle Tree": MTH(D[(n*256+i) * 256**l : (n*256+i+1) * 256**l]), i from 0 on."""
        full = 2**height
        span = full**level
        return b"".join(
            self.mth((index * full + i) * span, (index * full + i + 1) * span) for i in range(width)
        )

    def inner(self, level: int, index: int) -> bytes:
        """What may be kept beside a full tile: its hashes of heights 4, 5, 6 and 7."""
        start, span = index * 256 ** (level + 1), 256**level
        return b"".join(
            self.mth(start + i * 2**h * span, start + (i + 1) * 2**h * span)
            for h in (4, 5, 6, 7)
            for i in range(256 >> h)
        )


def largest_power_below(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@pytest.fixture(scope="session")
def reference_tree() -> Callable[[list[bytes]], ReferenceTree]:
    return ReferenceTree


@pytest.fixture(scope="session")
def tree1000() -> ReferenceTree:
    """One tree for whoever only reads it: its prefixes are trees too."""
    return ReferenceTree([b"entry %d" % i for i in range(1000)])
