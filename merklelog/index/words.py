"""What a word is, and how a value is folded, the same for who writes the index and for who asks it.

A word is a run of letters and digits, in lower case; everything else, the underscore included, divides words. A
field's value is kept whole, in lower case.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_DIVIDERS: Final = re.compile(r"[\W_]+")
# The same for text of ASCII alone, which a table of bytes translates much quicker.
_ASCII: Final = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 32 for code in range(128)) + bytes(
    128
)
# What of a long value stands in the index as it is; prefixes are looked for in it.
PREFIX_CHARS: Final = 128
VALUE_CHARS: Final = 256
SEPARATOR: Final = "\0"


def spaced(text: str) -> str:
    """The words of a text, with spaces between them."""
    if text.isascii():
        return text.encode("ascii").translate(_ASCII).decode("ascii")
    return _DIVIDERS.sub(" ", text.casefold())


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in order."""
    return tuple(spaced(text).split())


def fold(value: str) -> str:
    """A field's value as the index holds it; of one over 256 characters the first 128, and a hash of the whole."""
    folded = value.lower() if value.isascii() else value.casefold()
    if len(folded) <= VALUE_CHARS:
        return folded
    digest = hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{folded[:PREFIX_CHARS]}{SEPARATOR}{digest}"


def term(name: str, value: str) -> str:
    """A field and its value as one term of the index."""
    return f"{fold(name)}{SEPARATOR}{fold(value)}"


__all__ = ["PREFIX_CHARS", "SEPARATOR", "VALUE_CHARS", "fold", "spaced", "term", "words_of"]
