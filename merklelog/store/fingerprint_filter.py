"""The Bloom filter that says "surely not in this run" without touching the disk.

Blocked, so that a probe costs one cache miss: the fingerprint's upper half picks a 64-bit word by
multiply-and-shift (no power of two needed, and monotone: sorted fingerprints fill the filter front to back),
its lower bits pick four bits there and three in another word of the same 64-byte line. The second word is
looked at only for the few per cent that pass the first. Of fingerprints that are not there, 0.35% pass at 13
bits an entry, 0.14% at 16, 0.05% at 20 and 0.02% at 24.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

WORDS: Final = np.dtype("<u8")  # fingerprints and filters alike; the byte order of the files
# numpy lets go of the GIL above 500 elements. In a process whose other threads run Python, every such operation
# may then wait 5 ms to get it back: a probe of many runs is some hundred operations.
PROBE_MAX: Final = 500

_LINE_WORDS = 8
_LINE_BITS = 64 * _LINE_WORDS
# A window is unpacked to one byte a bit while it is filled: 128 KiB, which malloc gives again and again. Memory
# that is new to the process costs more than what is done with it here.
_WINDOW_WORDS = 1 << 11
_SECOND = 24  # where the bits for the second word begin: three for its place, then 6 for each of three bits

_U = [np.uint64(n) for n in range(64)]
# As columns, so that one numpy operation serves all bits of all fingerprints.
_FIRST_SHIFTS: Final = np.array([[0], [6], [12], [18]], dtype=np.uint64)
_SECOND_SHIFTS: Final = np.array([[_SECOND + 3], [_SECOND + 9], [_SECOND + 15]], dtype=np.uint64)
_LOW12 = np.uint64(0xFFF)
_PAIRS: Final[Words] = np.array([1 << (i & 63) | 1 << (i >> 6) for i in range(1 << 12)], dtype=WORDS)


def filter_words(count: int) -> int:
    """Words of a filter for so many entries. Small runs are cheap, so they get more bits an entry."""
    bits = 24 if count < 3 << 16 else 20 if count < 3 << 18 else 16 if count < 3 << 20 else 13
    return (count * bits // _LINE_BITS + 1) * _LINE_WORDS


def empty_words(count: int) -> Words:
    """So many zeros in a mapping of their own.

    From malloc, the first large filter that is freed would teach it to keep that much for itself for good.
    """
    return np.frombuffer(mmap.mmap(-1, count * WORDS.itemsize), WORDS)


class Probe:
    """At most `PROBE_MAX` fingerprints with what every filter needs of them, computed once for all runs."""

    __slots__ = ("fingerprints", "first", "second", "step", "upper")

    def __init__(self, fingerprints: Words) -> None:
        self.fingerprints = fingerprints
        self.upper = fingerprints >> _U[32]
        self.first = _first_bits(fingerprints)
        self.step = _step(fingerprints)
        self.second = _second_bits(fingerprints)


class Filter:
    """A filter over `words`, whose length comes from `filter_words`."""

    __slots__ = ("_count", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        self._count = np.uint64(len(words))

    def add(self, fingerprints: Words) -> None:
        """Put sorted fingerprints in."""
        for base, bits in _windows(fingerprints, self._count):
            self.words[base : base + len(bits)] |= bits

    def add_sparse(self, fingerprints: Words) -> None:
        """The same for fewer than the filter has lines, in any order. Whoever probes meanwhile loses nothing."""
        words = self.words
        place = (fingerprints >> _U[32]) * self._count >> _U[32]
        places = np.concatenate((place.view(np.int64), place.view(np.int64) ^ _step(fingerprints)))
        bits = np.concatenate((_first_bits(fingerprints), _second_bits(fingerprints)))
        while len(places):  # of several that share a word the last one wins; the others try again
            words[places] |= bits
            left = (words[places] & bits != bits).nonzero()[0]
            places, bits = places[left], bits[left]

    def passing(self, probe: Probe) -> list[int]:
        """Positions of the fingerprints that may be there."""
        place = probe.upper * self._count
        place >>= _U[32]
        places = place.view(np.int64)
        found = self.words[places]
        found &= probe.first
        survivors = (found == probe.first).nonzero()[0]
        if not len(survivors):
            return []
        partners = places[survivors]
        partners ^= probe.step[survivors]
        second = probe.second[survivors]
        passed: list[int] = survivors[self.words[partners] & second == second].tolist()
        return passed

    def may_hold(self, fingerprint: int) -> bool:
        """The same for one fingerprint, without numpy's cost a call."""
        words = self.words
        place = (fingerprint >> 32) * len(words) >> 32
        first = 1 << (fingerprint & 63) | 1 << (fingerprint >> 6 & 63)
        first |= 1 << (fingerprint >> 12 & 63) | 1 << (fingerprint >> 18 & 63)
        if words.item(place) & first != first:
            return False
        place ^= ((fingerprint >> _SECOND & 7) * 7 >> 3) + 1
        second = 1 << (fingerprint >> _SECOND + 3 & 63) | 1 << (fingerprint >> _SECOND + 9 & 63)
        second |= 1 << (fingerprint >> _SECOND + 15 & 63)
        return words.item(place) & second == second


class FilterWriter:
    """Makes a filter of so many words front to back, and holds little of it.

    `write(at, words)` is given what is final, in order; words that it is never given are zero. Sorted fingerprints
    fill a filter in order, so only the last line that has any may get more.
    """

    def __init__(self, count: int, write: Callable[[int, Words], None]) -> None:
        self._count = np.uint64(count)
        self._write = write
        self._at = 0
        self._line = np.zeros(_LINE_WORDS, WORDS)

    def add(self, fingerprints: Words) -> None:
        """Put fingerprints in: sorted, none below one that was given before."""
        for base, bits in _windows(fingerprints, self._count):
            if base == self._at:
                bits[:_LINE_WORDS] |= self._line
            else:
                self._write(self._at, self._line)
            if len(bits) > _LINE_WORDS:
                self._write(base, bits[:-_LINE_WORDS])
            self._at, self._line = base + len(bits) - _LINE_WORDS, bits[-_LINE_WORDS:].copy()

    def finish(self) -> None:
        """Give the last line away; nothing may be added after."""
        self._write(self._at, self._line)


def _windows(fingerprints: Words, count: np.uint64) -> Iterator[tuple[int, Words]]:
    """The lines that sorted fingerprints set bits in, in order, as (first word, fresh words) without overlap."""
    place = ((fingerprints >> _U[32]) * count >> _U[32]).astype(np.int64)
    start, total = 0, len(place)
    while start < total:
        base = int(place[start]) & -_LINE_WORDS
        end = int(place.searchsorted(base + _WINDOW_WORDS))
        yield base, _bits(place[start:end] - base, fingerprints[start:end])
        start = end


def _bits(place: NDArray[np.int64], fingerprints: Words) -> Words:
    span = (int(place[-1]) | (_LINE_WORDS - 1)) + 1
    bits = np.zeros(span * 64, dtype=np.uint8)
    for words, shifts in ((place, _FIRST_SHIFTS), (place ^ _step(fingerprints), _SECOND_SHIFTS)):
        at = fingerprints >> shifts
        at &= _U[63]
        at |= (words << 6).view(np.uint64)
        bits[at.view(np.int64)] = 1
    return np.packbits(bits, bitorder="little").view(WORDS)


def _first_bits(fingerprints: Words) -> Words:
    """The four bits in the first word."""
    bits: Words = _PAIRS[fingerprints & _LOW12]
    bits |= _PAIRS[fingerprints >> _U[12] & _LOW12]
    return bits


def _second_bits(fingerprints: Words) -> Words:
    """The three bits in the second word."""
    bits: Words = _U[1] << (fingerprints >> _U[_SECOND + 3] & _U[63])
    bits |= _PAIRS[fingerprints >> _U[_SECOND + 9] & _LOW12]
    return bits


def _step(fingerprints: Words) -> NDArray[np.int64]:
    """What leads to the other word of the same line: 1 to 7, to be XORed with the place of the first."""
    step = ((fingerprints >> _U[_SECOND] & _U[7]) * _U[7] >> _U[3]) + _U[1]
    return step.view(np.int64)
