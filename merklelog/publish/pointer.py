"""`head`: the one object of a target that two writers can not both replace.

One JSON line, spelled in one way only:

    {"format":1,"epoch":3,"start":1000,"size":1256,"root":"<64 hex>","writer":"<32 hex>"}

`epoch` counts the starts of the log, `start` is the size with which this one began; `size` and `root` are what
was published or is being published. It is not signed: it says nothing to a reader, who looks at `checkpoint`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from merklelog.errors import DamagedError, FormatError, FormatVersionError, NotFoundError
from merklelog.protocol.publication import EpochHead
from merklelog.publish.layout import HEAD_KEY
from merklelog.publish.objects import ObjectReads
from merklelog.tree.hashing import SIZE_LIMIT, Hash

MAX_HEAD_BYTES: Final = 4096
HEAD_FORMAT: Final = 1

_ROOT: Final = re.compile(r"[0-9a-f]{64}")
_WRITER: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A target's `head` as it was read, its bytes, and its version for the next compare-and-swap."""

    head: EpochHead
    version: str
    data: bytes


def format_head(head: EpochHead) -> bytes:
    """The object's bytes. Raises FormatError for what `parse_head` would not read back."""
    data = (
        f'{{"format":{HEAD_FORMAT},"epoch":{head.epoch},"start":{head.start},"size":{head.size},'
        f'"root":"{head.root.hex()}","writer":"{head.writer}"}}\n'
    ).encode()
    parse_head(data)
    return data


def parse_head(data: bytes) -> EpochHead:
    """Reads the object; only the one spelling that `format_head` writes is taken.

    Raises FormatVersionError for a newer format, naming both versions; else FormatError.
    """
    if len(data) > MAX_HEAD_BYTES:
        raise FormatError(f"head: got {len(data)} bytes, want at most {MAX_HEAD_BYTES}")
    try:
        fields = msgspec.json.decode(data.decode("utf-8"), type=dict[str, object])
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"head: not a JSON object: {error}") from None
    version = _number(fields, "format", 1)
    if version > HEAD_FORMAT:
        raise FormatVersionError(
            f"head: format version {version} is newer than this version reads, {HEAD_FORMAT}"
        )
    epoch, start, size = _number(fields, "epoch", 1), _number(fields, "start", 0), _number(fields, "size", 0)
    if start > size:
        raise FormatError(f"head: start {start} is larger than size {size}")
    root, writer = _text(fields, "root", _ROOT), _text(fields, "writer", _WRITER)
    head = EpochHead(epoch, start, size, Hash(bytes.fromhex(root)), writer)
    names = ("format", "epoch", "start", "size", "root", "writer")
    if data != _spelled(fields, names):
        raise FormatError(f"head: got another spelling than one line of {', '.join(names)} without spaces")
    return head


def read_head(store: ObjectReads) -> StoredHead | None:
    """The target's head, None when it has none.

    Raises FormatVersionError for one by a newer version, DamagedError for one that can not be read, naming the
    object.
    """
    name = f"{store.location}/{HEAD_KEY}"
    try:
        found = store.get(HEAD_KEY, limit=MAX_HEAD_BYTES)
        return StoredHead(parse_head(found.data), found.version, found.data)
    except NotFoundError:
        return None
    except FormatVersionError as error:
        raise FormatVersionError(f"{name}: {error}") from None
    except FormatError as error:
        raise DamagedError(f"{name}: {error}") from error


def _spelled(fields: dict[str, object], names: tuple[str, ...]) -> bytes:
    return (
        msgspec.json.encode({name: fields[name] for name in names}) + b"\n"
        if len(fields) == len(names)
        else b""
    )


def _number(fields: dict[str, object], name: str, least: int) -> int:
    value = fields.get(name)
    # A bool is an int in Python, and `true` is no number.
    if type(value) is not int or not least <= value < SIZE_LIMIT:
        raise FormatError(
            f"head: {name}: got {ascii(value)[:60]}, want a number from {least} on, below 2**63"
        )
    return value


def _text(fields: dict[str, object], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise FormatError(f"head: {name}: got {ascii(value)[:60]}, want {pattern.pattern}")
    return value
