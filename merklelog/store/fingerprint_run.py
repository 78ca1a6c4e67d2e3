"""A run: one immutable file of sorted fingerprints and their entry indexes.

    header    magic, entries a block, [start, end), count, words of the filter, the last key, the seed of the
              fingerprints, BLAKE3 of the sections behind the blocks, BLAKE3 of the header before it
    blocks    up to 160 entries each: their fingerprints (u64), then their indexes minus `start` (u32)
    samples   each block's first fingerprint (u64)      )
    checks    the first 8 bytes of each block's BLAKE3  ) held in memory, verified when the file is opened
    filter    words of the Bloom filter (u64)           )

All little endian. A block is verified each time it is read, so a damaged one is noticed by the very lookup
that needs it and by every merge. The file is written under another name, synced, and only then renamed to
`<start>-<end>.run`: a file of that name is whole, unless the disk damaged it later.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from merklelog.errors import DamagedError

from .fingerprint_filter import WORDS, Filter, FilterWriter, Words, empty_words, filter_words

Offsets = NDArray[np.uint32]
Step = Callable[[str], None]

OFFSETS: Final = np.dtype("<u4")
MAX_SPAN: Final = 1 << 32  # indexes of one run, so that an offset fits
# 160 entries are 1,920 bytes: blake3 keeps the GIL below 2,048, and getting it back can take 5 ms.
BLOCK_ENTRIES: Final = 160

_ENTRY_BYTES = WORDS.itemsize + OFFSETS.itemsize
_BLOCK_BYTES = BLOCK_ENTRIES * _ENTRY_BYTES
_BLOCK_CUT = BLOCK_ENTRIES * WORDS.itemsize  # fingerprints before it, offsets behind
_CHECK_BYTES = 8
_MAGIC = b"mlogrun\x01"
_HEADER = struct.Struct("<8sIIQQQQ32s16s32s")
_HEADER_BYTES = _HEADER.size + 32
_numbers = itertools.count()  # a freeze and a merge may be under way for one range
_sync_data = getattr(os, "fdatasync", os.fsync)
_READ_BYTES = 1 << 20
_SYNC_EVERY = 8 << 20  # small portions: one large fsync would stall the log's own


class RunDamagedError(DamagedError):
    """A run's file is not what was written; `run` is the open one, when that is where it was noticed."""

    def __init__(self, message: str, run: Run | None = None) -> None:
        super().__init__(message)
        self.run = run


def run_name(start: int, end: int) -> str:
    """The file name of the run over [start, end); names sort by start."""
    return f"{start:020d}-{end:020d}.run"


@dataclass(frozen=True, slots=True)
class _Header:
    """The fixed part of a file, and where its sections are."""

    start: int
    end: int
    count: int
    words: int
    last_key: bytes
    seed: bytes
    section_check: bytes = b""

    @property
    def blocks(self) -> int:
        return -(-self.count // BLOCK_ENTRIES)

    @property
    def sections_at(self) -> int:
        return _HEADER_BYTES + self.count * _ENTRY_BYTES

    @property
    def filter_at(self) -> int:
        return self.sections_at + self.blocks * (WORDS.itemsize + _CHECK_BYTES)

    @property
    def file_bytes(self) -> int:
        return self.filter_at + self.words * WORDS.itemsize

    def pack(self) -> bytes:
        numbers = (BLOCK_ENTRIES, 0, self.start, self.end, self.count, self.words)
        packed = _HEADER.pack(_MAGIC, *numbers, self.last_key, self.seed, self.section_check)
        return packed + blake3(packed).digest()


class Run:
    """An open run over the indexes [start, end). Any thread may read it, also when its file was deleted."""

    def __init__(
        self, path: Path, handle: int, header: _Header, samples: Words, checks: bytes, words: Words
    ) -> None:
        self.path = path
        self.start, self.end, self.count = header.start, header.end, header.count
        self.last_key, self.seed = header.last_key, header.seed
        self.filter = Filter(words)
        self._samples = samples
        self._checks = checks
        self._handle = handle
        weakref.finalize(self, os.close, handle)  # not earlier: a lookup in another thread may still read

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self._samples)

    @property
    def resident_bytes(self) -> int:
        """Bytes held in memory."""
        return self.filter.words.nbytes + self._samples.nbytes + len(self._checks)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the file."""
        return _HEADER_BYTES + self.count * _ENTRY_BYTES + self.resident_bytes

    def sample(self, block: int) -> int:
        """The first fingerprint of a block."""
        return int(self._samples[block])

    def blocks_within(self, low: int, high: int | None) -> tuple[int, int]:
        """The half-open range of blocks that may hold fingerprints of [low, high); None means to the end."""
        first = max(0, int(self._samples.searchsorted(np.uint64(low))) - 1)
        if high is None:
            return first, self.blocks
        return first, max(first, int(self._samples.searchsorted(np.uint64(high))))

    def find(self, fingerprint: int) -> list[int]:
        """Indexes of the entries with this fingerprint, in increasing order.

        Raises RunDamagedError.
        """
        wanted = np.uint64(fingerprint)
        last = int(self._samples.searchsorted(wanted, "right"))
        if not last:
            return []
        first = last - 1
        if self._samples.item(first) == fingerprint:  # then it may also end the blocks before
            first = max(0, int(self._samples.searchsorted(wanted)) - 1)
        bytes_wanted = fingerprint.to_bytes(WORDS.itemsize, "little")
        found: list[int] = []
        for block in range(first, last):
            data, count = self._verified(block, block + 1)
            if data.find(bytes_wanted, 0, count * WORDS.itemsize) < 0:
                continue  # the usual end of a false positive, and a third faster than to search with numpy
            offsets = np.frombuffer(data, OFFSETS, count, count * WORDS.itemsize)
            found += find_sorted(np.frombuffer(data, WORDS, count), offsets, wanted, self.start)
        return sorted(set(found))  # an entry's two identities may share their 8 bytes

    def read(self, first: int, last: int) -> tuple[Words, Offsets]:
        """Fingerprints and offsets of the blocks [first, last), verified, as fresh arrays.

        Raises RunDamagedError.
        """
        return _unpack(*self._verified(first, last))

    def _verified(self, first: int, last: int) -> tuple[bytes, int]:
        """The bytes of the blocks [first, last), and how many entries they hold."""
        count = min(last * BLOCK_ENTRIES, self.count) - first * BLOCK_ENTRIES
        want = count * _ENTRY_BYTES
        try:
            data = os.pread(self._handle, want, _HEADER_BYTES + first * _BLOCK_BYTES)
        except OSError as error:
            raise RunDamagedError(f"{self.path}: blocks {first} to {last}: {error.strerror}", self) from error
        if len(data) != want:
            raise RunDamagedError(f"{self.path}: {len(data)} bytes at block {first}, want {want}", self)
        for block, check in enumerate(_checks_of(data), first):
            if check != self._checks[block * _CHECK_BYTES : (block + 1) * _CHECK_BYTES]:
                raise RunDamagedError(f"{self.path}: block {block} does not match its checksum", self)
        return data, count


def open_run(path: Path) -> Run:
    """Open a run and verify all of it but the blocks.

    Raises RunDamagedError for a file that is not a whole run, OSError when it can not be opened or read.
    """
    return _open(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _open(path: Path, handle: int) -> Run:
    """The same of an open file, which is closed where it can not be believed."""
    try:
        header = _read_header(path, handle)
        size = os.fstat(handle).st_size
        if size != header.file_bytes:  # also what bounds the allocation below
            raise RunDamagedError(f"{path}: {size} bytes, want {header.file_bytes}")
        words = empty_words((size - header.sections_at) // WORDS.itemsize)
        sections = words.data.cast("B")
        if os.preadv(handle, [sections], header.sections_at) != len(sections):
            raise RunDamagedError(f"{path}: the sections behind its blocks can not be read whole")
        if blake3(sections).digest() != header.section_check:
            raise RunDamagedError(f"{path}: samples, checksums and filter do not match their checksum")
    except BaseException:
        os.close(handle)
        raise
    blocks = header.blocks
    checks = words[blocks : 2 * blocks].tobytes()
    return Run(path, handle, header, words[:blocks], checks, words[2 * blocks :])


def _read_header(path: Path, handle: int) -> _Header:
    data = os.pread(handle, _HEADER_BYTES, 0)
    if len(data) != _HEADER_BYTES or blake3(data[: _HEADER.size]).digest() != data[_HEADER.size :]:
        raise RunDamagedError(f"{path}: no header of a run")
    magic, block, _, start, end, count, words, last_key, seed, check = _HEADER.unpack(data[: _HEADER.size])
    if magic != _MAGIC or block != BLOCK_ENTRIES or words != filter_words(count):
        raise RunDamagedError(f"{path}: a run of another format")
    if path.name != run_name(start, end):
        raise RunDamagedError(f"{path}: its header says {run_name(start, end)}")
    return _Header(start, end, count, words, last_key, seed, check)


class RunWriter:
    """Writes a run of `count` entries over [start, end), given in fingerprint order, front to back.

    Its memory is the portions it is given, a portion of the filter, and 16 bytes a block: the filters that the new
    one replaces are needed until it is there, and those of a large log are most of what the index takes. A context
    manager: what was not finished is deleted. Every method raises OSError.
    """

    def __init__(self, folder: Path, start: int, end: int, count: int, last_key: bytes, seed: bytes) -> None:
        self.path = folder / run_name(start, end)
        self._temporary = self.path.with_suffix(f".{next(_numbers)}.tmp")
        self._header = _Header(start, end, count, filter_words(count), last_key, seed)
        self._filter = FilterWriter(self._header.words, self._write_filter)
        self._filtered = blake3()
        self._filter_end = 0
        self._samples: list[Words] = []
        self._checks = bytearray()
        self._rest: tuple[Words, Offsets] = (np.empty(0, WORDS), np.empty(0, OFFSETS))
        self._unsynced = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._handle = os.open(self._temporary, flags, 0o600)
        os.lseek(self._handle, _HEADER_BYTES, os.SEEK_SET)
        self._finished = False

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            os.close(self._handle)
            self._temporary.unlink(missing_ok=True)

    def add(self, fingerprints: Words, offsets: Offsets) -> None:
        """The next entries: sorted, none below what was given before; offsets count from `start`."""
        self._filter.add(fingerprints)
        if len(self._rest[0]):
            fingerprints = np.concatenate((self._rest[0], fingerprints))
            offsets = np.concatenate((self._rest[1], offsets))
        whole = len(fingerprints) // BLOCK_ENTRIES * BLOCK_ENTRIES
        self._rest = fingerprints[whole:].copy(), offsets[whole:].copy()
        if whole:
            self._write_blocks(fingerprints[:whole], offsets[:whole])

    def _write_blocks(self, fingerprints: Words, offsets: Offsets) -> None:
        data = _pack(fingerprints, offsets)
        self._samples.append(fingerprints[::BLOCK_ENTRIES].copy())
        for check in _checks_of(data):
            self._checks += check
        self._write(data)

    def _write_filter(self, at: int, words: Words) -> None:
        """Put these words where the finished file has them."""
        self._filtered.update(bytes((at - self._filter_end) * WORDS.itemsize))
        self._filtered.update(words.data.cast("B"))
        self._filter_end = at + len(words)
        view, place = words.data.cast("B"), self._header.filter_at + at * WORDS.itemsize
        while view:
            written = os.pwrite(self._handle, view, place)
            view, place = view[written:], place + written
            self._unsynced += written

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._handle, view)
            view = view[written:]
            self._unsynced += written
        if self._unsynced >= _SYNC_EVERY:
            _sync_data(self._handle)
            self._unsynced = 0

    def finish(self, step: Step) -> Run:
        """Make the run durable under its name and open it; `step` hears of each step."""
        if len(self._rest[0]):
            self._write_blocks(*self._rest)
        self._filter.finish()
        os.ftruncate(self._handle, self._header.file_bytes)
        samples = np.concatenate(self._samples)
        hasher = blake3()
        for section in (samples.data.cast("B"), memoryview(self._checks)):
            hasher.update(section)
            self._write(section)
        self._read_filter_back(hasher)
        header = replace(self._header, section_check=hasher.digest())
        os.pwrite(self._handle, header.pack(), 0)
        step("run written")
        os.fsync(self._handle)
        step("run synced")
        self._temporary.rename(self.path)
        step("run renamed")
        sync_directory(self.path.parent)
        step("folder synced")
        self._finished = True
        return _open(self.path, self._handle)

    def _read_filter_back(self, hasher: Any) -> None:
        """Hash the filter as the file has it, which must be what was put there."""
        missing = self._header.words - self._filter_end
        self._filtered.update(bytes(missing * WORDS.itemsize))
        read, place, end = blake3(), self._header.filter_at, self._header.file_bytes
        while place < end:
            data = os.pread(self._handle, min(_READ_BYTES, end - place), place)
            if not data:
                break
            place += len(data)
            read.update(data)
            hasher.update(data)
        if read.digest() != self._filtered.digest():
            raise OSError(
                errno.EIO, "its filter reads back as other bytes than written", str(self._temporary)
            )


def find_sorted(fingerprints: Words, offsets: Offsets, wanted: np.uint64, start: int) -> list[int]:
    """`start` plus the offsets of the fingerprints that equal `wanted`."""
    at = int(fingerprints.searchsorted(wanted))
    if at == len(fingerprints) or fingerprints[at] != wanted:
        return []
    end = int(fingerprints.searchsorted(wanted, "right"))
    return [start + offset for offset in offsets[at:end].tolist()]


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checks_of(data: bytes | memoryview) -> list[bytes]:
    view = memoryview(data)
    starts = range(0, len(data), _BLOCK_BYTES)
    return [blake3(view[at : at + _BLOCK_BYTES]).digest(_CHECK_BYTES) for at in starts]


def _pack(fingerprints: Words, offsets: Offsets) -> memoryview:
    """Whole blocks, or one that is not full."""
    width = min(BLOCK_ENTRIES, len(fingerprints))
    blocks = len(fingerprints) // width
    cut = width * WORDS.itemsize
    data = np.empty((blocks, width * _ENTRY_BYTES), dtype=np.uint8)
    data[:, :cut] = np.ascontiguousarray(fingerprints).view(np.uint8).reshape(blocks, -1)
    data[:, cut:] = np.ascontiguousarray(offsets).view(np.uint8).reshape(blocks, -1)
    return data.data.cast("B")


def _unpack(data: bytes, count: int) -> tuple[Words, Offsets]:
    """Fresh arrays from blocks, the last of which may not be full."""
    blocks, rest = divmod(count, BLOCK_ENTRIES)
    fingerprints, offsets = np.empty(count, WORDS), np.empty(count, OFFSETS)
    if blocks:
        body = np.frombuffer(data, np.uint8, blocks * _BLOCK_BYTES).reshape(blocks, _BLOCK_BYTES)
        whole = blocks * BLOCK_ENTRIES
        fingerprints[:whole].view(np.uint8).reshape(blocks, -1)[:] = body[:, :_BLOCK_CUT]
        offsets[:whole].view(np.uint8).reshape(blocks, -1)[:] = body[:, _BLOCK_CUT:]
    if rest:
        at = blocks * _BLOCK_BYTES
        fingerprints[-rest:] = np.frombuffer(data, WORDS, rest, at)
        offsets[-rest:] = np.frombuffer(data, OFFSETS, rest, at + rest * WORDS.itemsize)
    return fingerprints, offsets
