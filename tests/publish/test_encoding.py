"""gzip of bundles: stable, bounded, checked; and whatever is not gzip is FormatError and nothing else."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ConfigError, FormatError
from merklelog.publish import BundleEncoding
from merklelog.publish.encoding import compress, decompress, parse_bundle_encoding, same_content


@given(st.binary(max_size=4000))
def test_what_was_compressed_comes_back_exactly(data: bytes) -> None:
    stored = compress(data)
    assert stored == compress(data)
    assert gzip.decompress(stored) == data
    assert decompress(stored, len(data)) == data
    assert decompress(gzip.compress(data), len(data)) == data
    assert same_content(stored, compress(data))
    assert same_content(gzip.compress(data, 1), stored)
    assert not same_content(compress(data + b"x"), stored)
    assert not same_content(data, stored)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    stored = bytearray(compress(data))
    at = draw.draw(st.integers(0, len(stored) * 8 - 1))
    stored[at // 8] ^= 1 << at % 8
    with suppress(FormatError):
        assert decompress(bytes(stored), len(data)) == data


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: b"\x1f\x8b\x08" + rest)))
def test_garbage_is_a_format_error(data: bytes) -> None:
    try:
        content = decompress(data, 1 << 20)
    except FormatError:
        return
    assert content == gzip.decompress(data)


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_never_more_than_asked_for(size: int) -> None:
    stored = compress(bytes(size))
    assert decompress(stored, size) == bytes(size)
    if size:
        with pytest.raises(FormatError, match=f"more than {size - 1} bytes"):
            decompress(stored, size - 1)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="more than 1000 bytes"):
            decompress(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda z: z[:-1], "ends before"),
        (lambda z: z[:-8], "ends before"),
        (lambda z: z[:5], "ends before"),
        (lambda z: b"", "got nothing"),
        (lambda z: z + b"\x00", "1 bytes follow"),
        (lambda z: z + z, "bytes follow"),
        (lambda z: z[:-5] + bytes([z[-5] ^ 1]) + z[-4:], "gzip: "),
        (lambda z: zlib.compress(b"x"), "got 789c"),
    ],
)
def test_what_is_not_one_whole_member(spoil: object, words: str) -> None:
    assert callable(spoil)
    with pytest.raises(FormatError, match=words):
        decompress(spoil(compress(b"some bytes" * 30)), 1 << 20)


def test_encodings_have_names() -> None:
    assert parse_bundle_encoding("gzip") is BundleEncoding.GZIP
    assert parse_bundle_encoding("identity") is BundleEncoding.IDENTITY
    for name in ("", "GZIP", "br", "x" * 1000):
        with pytest.raises(ConfigError, match="want identity or gzip"):
            parse_bundle_encoding(name)
