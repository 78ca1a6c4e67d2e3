"""Judges a published copy by its files alone, the slow and plain way: nothing of merklelog.publish is used.

Whoever sees a checkpoint can fetch everything under it: each bundle, each tile, partial or cut from the full one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from merklelog.formats import VerifierKey, parse_checkpoint, verify_note
from merklelog.tree import tile_path


def files(root: Path) -> dict[str, bytes]:
    """Every file of a copy that a web server would serve."""
    paths = (path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".")}


def shown_size(root: Path) -> int | None:
    """The size of the checkpoint that the copy shows."""
    path = root / "checkpoint"
    return parse_checkpoint(path.read_bytes()).checkpoint.size if path.exists() else None


def complete(root: Path, keys: Sequence[VerifierKey], entries: Sequence[bytes]) -> list[int]:
    """Check every checkpoint of the copy; their sizes. `entries` are the log's, as many as there may be."""
    sizes = []
    notes = sorted((root / "checkpoints").glob("*")) if (root / "checkpoints").exists() else []
    for path in [*notes, *([root / "checkpoint"] if (root / "checkpoint").exists() else [])]:
        signed = parse_checkpoint(path.read_bytes())
        verify_note(signed.note, keys)
        if path.name != "checkpoint":
            assert path.name == str(signed.checkpoint.size)
        _complete_at(root, signed.checkpoint.size, signed.checkpoint.root, entries)
        sizes.append(signed.checkpoint.size)
    return sizes


def _complete_at(root: Path, size: int, root_hash: bytes, entries: Sequence[bytes]) -> None:
    compressed = json.loads((root / "merklelog.json").read_text())["bundles"] == "gzip"
    found: list[bytes] = []
    for start in range(0, size, 256):
        width = min(256, size - start)
        data = _read(root, -1, start // 256, width)
        found += _entries(gzip.decompress(data) if compressed else data)[:width]
    assert found == list(entries[:size]), f"the entries under size {size}"
    row = [hashlib.sha256(b"\0" + data).digest() for data in found]
    assert _mth(row) == root_hash
    level = 0
    while row:
        for start in range(0, len(row), 256):
            want = b"".join(row[start : start + 256])
            got = _read(root, level, start // 256, len(want) // 32)
            assert got[: len(want)] == want, f"tile {level}/{start // 256} under size {size}"
        row = [_mth(row[start : start + 256]) for start in range(0, len(row) - 255, 256)]
        level += 1


def _read(root: Path, level: int, index: int, width: int) -> bytes:
    try:
        return (root / tile_path(level, index, width)).read_bytes()
    except FileNotFoundError:
        return (root / tile_path(level, index)).read_bytes()


def _entries(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        found.append(data[2:end])
        data = data[end:]
    return found


def _mth(row: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written."""
    if len(row) <= 1:
        return row[0] if row else hashlib.sha256().digest()
    split = 1 << (len(row) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _mth(row[:split]) + _mth(row[split:])).digest()
