"""The statements among a log's entries: what the log says of itself, such as that it ends, or goes on another
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from merklelog.errors import FormatError, SignatureError
from merklelog.formats import VerifierKey
from merklelog.formats.statement import RESERVED, Freeze, is_statement, verify_statement


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement entry at `index`, in words; `genuine`: the log signed it for this place. `frozen`: it ends
    there.
    """

    index: int
    words: str
    genuine: bool
    frozen: bool


def statements_in(
    entries: Sequence[bytes], start: int, origin: str, keys: Sequence[VerifierKey]
) -> list[Stated]:
    """The statements among entries that begin at index `start`, judged with the log's keys."""
    return [
        _judge(start + at, entry, origin, keys)
        for at, entry in enumerate(entries)
        if entry.startswith(RESERVED) and is_statement(entry)  # the first alone is half as dear
    ]


def _judge(index: int, entry: bytes, origin: str, keys: Sequence[VerifierKey]) -> Stated:
    try:
        found = verify_statement(entry, keys)
    except (FormatError, SignatureError) as error:
        return Stated(index, f"a statement that the log did not sign: {error}", genuine=False, frozen=False)
    if (found.origin, found.size) != (origin, index):
        words = f"a statement of {found.origin!r} at index {found.size}, which stands at {index}"
        return Stated(index, words, genuine=False, frozen=False)
    if isinstance(found, Freeze):
        after = "no successor is named" if found.successor is None else f"it goes on as {found.successor!r}"
        return Stated(index, f"the log ends with entry {index}; {after}", genuine=True, frozen=True)
    end = f"size {found.last_size}, root {found.root.hex()}"
    words = f"the log goes on where {found.predecessor!r} ended, at {end}"
    return Stated(index, words, genuine=True, frozen=False)


__all__ = ["Stated", "statements_in"]
