"""`proof.txt`: which entries a pack holds, and the hashes beside them.

    merklelog/pack/v1
    entries 100 1100
    policy BASE64                  SHA-256 of policy.txt
    left BASE64                    a line for each set bit of 100, lowest first
    right BASE64                   a line for each right sibling on the path of entry 1099, lowest first

The size and the root are those of checkpoint.txt, so they stand nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from merklelog.errors import FormatError
from merklelog.formats.wire import decode_base64, encode_base64, parse_decimal, quote, split_lines
from merklelog.pack.fold import Beside
from merklelog.pack.layout import PROOF
from merklelog.tree import HASH_SIZE, Hash

FIRST_LINE: Final = b"merklelog/pack/v1"
MAX_STATEMENT_BYTES: Final = 16384  # at most 126 hashes, of 51 bytes a line
_FORMS: Final = "want 'entries START END', 'policy HASH', then 'left HASH' and 'right HASH' lines"


@dataclass(frozen=True, slots=True)
class Statement:
    """The range [start, end), the SHA-256 of the policy file, and the hashes beside the range."""

    start: int
    end: int
    policy: Hash
    beside: Beside


def format_statement(statement: Statement) -> bytes:
    """The file that `parse_statement` reads back."""
    lines = [FIRST_LINE, b"entries %d %d" % (statement.start, statement.end)]
    lines.append(b"policy " + encode_base64(statement.policy))
    lines += [b"left " + encode_base64(digest) for digest in statement.beside.left]
    lines += [b"right " + encode_base64(digest) for digest in statement.beside.right]
    return b"\n".join(lines) + b"\n"


def parse_statement(data: bytes) -> Statement:
    """Reads the file, whatever the number of its hashes. Raises FormatError."""
    if len(data) > MAX_STATEMENT_BYTES:
        raise FormatError(f"{PROOF}: got {len(data)} bytes, want at most {MAX_STATEMENT_BYTES}")
    lines = split_lines(data, PROOF)
    if lines[0] != FIRST_LINE:
        raise FormatError(f"{PROOF}: got {quote(lines[0])}, want {FIRST_LINE.decode()!r} as its first line")
    words = [line.split(b" ") for line in lines[1:]]
    if len(words) < 2 or words[0][0] != b"entries" or len(words[0]) != 3 or words[1][0] != b"policy":
        raise FormatError(f"{PROOF}: got {quote(b' / '.join(lines[1:3]))}, {_FORMS}")
    start, end = (parse_decimal(word, f"{PROOF}: index") for word in words[0][1:])
    left: list[Hash] = []
    right: list[Hash] = []
    for line in words[2:]:
        if line[0] == b"right":
            right.append(_hash(line))
        elif line[0] == b"left" and not right:
            left.append(_hash(line))
        else:
            raise FormatError(f"{PROOF}: got {quote(b' '.join(line))}, {_FORMS}")
    return Statement(start, end, _hash(words[1]), Beside(tuple(left), tuple(right)))


def _hash(words: list[bytes]) -> Hash:
    if len(words) == 2:
        digest = decode_base64(words[1], f"{PROOF}: hash")
        if len(digest) == HASH_SIZE:
            return Hash(digest)
    raise FormatError(f"{PROOF}: got {quote(b' '.join(words))}, want one hash of {HASH_SIZE} bytes")
