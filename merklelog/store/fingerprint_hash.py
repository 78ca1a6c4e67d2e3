"""From a 32-byte key to the 8 bytes that the index keeps of it.

Identities may be anything a caller likes, counters and chosen prefixes too, and the index wants numbers that look
random. So a key is hashed under a secret seed of the index. First NH (Black, Halevi, Krawczyk, Krovetz, Rogaway:
"UMAC", CRYPTO '99): products of sums of 32-bit words with secret words, by which two keys chosen without the seed
collide with a chance of at most 2^-32. Then a bijection that spreads the bits. It takes about twenty numpy
operations however many keys there are; a cryptographic hash would cost half a microsecond for each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from blake3 import blake3

from .fingerprint_filter import WORDS, Words

KEY_BYTES: Final = 32
SEED_BYTES: Final = 16

_HALVES = struct.Struct("<8I")
_HALF = np.dtype("<u4")
_LOW32 = (1 << 32) - 1
_LOW64 = (1 << 64) - 1
# The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
_SPREAD = (30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)


class Fingerprinter:
    """Fingerprints under one seed of `SEED_BYTES`."""

    __slots__ = ("_halves", "_secrets", "_spread", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        secrets = blake3(seed, derive_key_context="merklelog identity index fingerprints v1").digest(
            _HALVES.size
        )
        self._secrets = _HALVES.unpack(secrets)
        self._halves = [np.uint32(secret) for secret in self._secrets]
        self._spread = [np.uint64(n) for n in _SPREAD]

    def many(self, keys: Sequence[bytes]) -> Words:
        """The fingerprints of these keys, each of 32 bytes."""
        words = np.frombuffer(b"".join(keys), _HALF)
        sums = [words[at::8] + half for at, half in enumerate(self._halves)]
        mixed = np.multiply(sums[0], sums[1], dtype=np.uint64)
        for at in (2, 4, 6):
            mixed += np.multiply(sums[at], sums[at + 1], dtype=np.uint64)
        first, by, second, again, third = self._spread
        mixed ^= mixed >> first
        mixed *= by
        mixed ^= mixed >> second
        mixed *= again
        mixed ^= mixed >> third
        return np.asarray(mixed, WORDS)

    def one(self, key: bytes) -> int:
        """The same for one key, without numpy's cost a call."""
        a, b, c, d, e, f, g, h = _HALVES.unpack(key)
        i, j, k, m, n, o, p, q = self._secrets
        mixed: int = (a + i & _LOW32) * (b + j & _LOW32) + (c + k & _LOW32) * (d + m & _LOW32)
        mixed += (e + n & _LOW32) * (f + o & _LOW32) + (g + p & _LOW32) * (h + q & _LOW32)
        first, by, second, again, third = _SPREAD
        mixed &= _LOW64
        mixed = (mixed ^ mixed >> first) * by & _LOW64
        mixed = (mixed ^ mixed >> second) * again & _LOW64
        return mixed ^ mixed >> third
