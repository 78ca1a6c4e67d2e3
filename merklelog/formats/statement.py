"""Statements: what a log says of itself in an entry of its own, such as that it ends here.

A statement entry is a signed note. Its text is `merklelog/statement/v1`, the log's origin, the index at which it
stands, and what it states:

    merklelog/statement/v1          merklelog/statement/v1
    example.com/trail               example.com/trail-2
    1042                            0
    frozen                          follows
    successor example.com/trail-2   predecessor example.com/trail
                                    size 1043
                                    root n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=

A log that is `frozen` takes no entry after this one; a successor may be named. A log that `follows` another one
says so in its first entry, with the size and the root that the other one ended with.

It is signed by both keys of the log. The Ed25519 key signs the text as it signs a checkpoint: no text is both,
since no origin is the first line of a statement. The ML-DSA-44 key of type 0x06 signs checkpoints in a form of
their own (tlog-cosignature), so for statements it goes by another key ID, that of the type 0xff followed by
`merklelog/statement/v1`, and signs the text itself. No caller can append bytes that begin with that line: what
stands in a log and is signed so is the log's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from merklelog.errors import EntryError, FormatError, SignatureError
from merklelog.formats.algorithms import SignatureType
from merklelog.formats.checkpoint_text import parse_hash
from merklelog.formats.keys import KEY_ID_SIZE, SigningKey, VerifierKey
from merklelog.formats.names import STATEMENT_LINE
from merklelog.formats.note import Note, NoteSignature, format_note, parse_note
from merklelog.formats.wire import (
    decode_text,
    encode_base64,
    encode_text,
    format_decimal,
    parse_decimal,
    quote,
    split_lines,
)
from merklelog.tree.hashing import HASH_SIZE, Hash, TreeSize

RESERVED: Final = STATEMENT_LINE.encode("ascii")
_LABEL: Final = b"\xff" + RESERVED
_LOG_TYPES: Final = (SignatureType.ED25519, SignatureType.COSIGNATURE_MLDSA44)
_SUCCESSOR: Final = b"successor "
_PREDECESSOR: Final = b"predecessor "
_SIZE: Final = b"size "
_ROOT: Final = b"root "


@dataclass(frozen=True, slots=True)
class Freeze:
    """The log `origin` ends with this entry, which stands at index `size`; `successor` is the log that goes on."""

    origin: str
    size: TreeSize
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class Follows:
    """The log `origin`, whose first entry this is, goes on where `predecessor` ended: at `last_size`, `root`."""

    origin: str
    predecessor: str
    last_size: TreeSize
    root: Hash

    @property
    def size(self) -> TreeSize:
        """The index at which it stands."""
        return TreeSize(0)


Statement = Freeze | Follows


def is_statement(entry: bytes) -> bool:
    """Whether an entry's first line is that of a statement; nothing is parsed or verified."""
    return entry.startswith(RESERVED) and entry[len(RESERVED) : len(RESERVED) + 1] in (b"", b"\n")


def refuse_statement(entry: bytes, what: str) -> None:
    """Raises EntryError, naming `what`, for an entry that only the log itself may append."""
    if is_statement(entry):
        raise EntryError(
            f"{what} begins with the line {STATEMENT_LINE}, which is kept for what the log says of itself"
        )


def parse_statement(entry: bytes) -> tuple[Statement, Note]:
    """Reads a statement entry; `format_note` of its note gives the same bytes back. Nothing is verified.

    Raises FormatError.
    """
    note = parse_note(entry)
    return parse_statement_text(note.text), note


def parse_statement_text(text: bytes) -> Statement:
    """Reads the note text of a statement. Raises FormatError."""
    decode_text(text, "statement")
    lines = split_lines(text, "statement")
    if len(lines) < 4 or lines[0] != RESERVED or b"" in lines:
        raise FormatError(f"statement: got {quote(text)}, want 4 lines or more, the first {STATEMENT_LINE!r}")
    origin, size = lines[1].decode("utf-8"), TreeSize(parse_decimal(lines[2], "statement size"))
    what, rest = lines[3], lines[4:]
    if what == b"frozen" and len(rest) <= 1:
        return Freeze(origin, size, _name(rest[0], _SUCCESSOR) if rest else None)
    if what == b"follows" and len(rest) == 3:
        if size != 0:
            raise FormatError(f"statement of a log that follows another: got size {size}, want 0")
        return Follows(
            origin,
            _name(rest[0], _PREDECESSOR),
            TreeSize(parse_decimal(_after(rest[1], _SIZE), "the predecessor's size")),
            parse_hash(_after(rest[2], _ROOT), "the predecessor's root"),
        )
    raise FormatError(f"statement: got {quote(what)} and {len(rest)} lines more, want 'frozen' or 'follows'")


def _after(line: bytes, word: bytes) -> bytes:
    if not line.startswith(word):
        raise FormatError(f"statement: got the line {quote(line)}, want {quote(word)} first")
    return line[len(word) :]


def _name(line: bytes, word: bytes) -> str:
    name = _after(line, word)
    if not name:
        raise FormatError(f"statement: got the line {quote(line)}, want a name behind it")
    return name.decode("utf-8")


def format_statement_text(statement: Statement) -> bytes:
    """The note text, its last newline included. Raises FormatError for what can not be read back."""
    rows = [STATEMENT_LINE, statement.origin, format_decimal(statement.size, "statement size").decode()]
    if isinstance(statement, Freeze):
        rows += ["frozen"] if statement.successor is None else ["frozen", f"successor {statement.successor}"]
    else:
        if len(statement.root) != HASH_SIZE:
            raise FormatError(f"the predecessor's root: got {len(statement.root)} bytes, want {HASH_SIZE}")
        last = format_decimal(statement.last_size, "the predecessor's size").decode()
        root = encode_base64(statement.root).decode()
        rows += ["follows", f"predecessor {statement.predecessor}", f"size {last}", f"root {root}"]
    text = encode_text("".join(f"{row}\n" for row in rows), "statement")
    if parse_statement_text(text) != statement:
        raise FormatError(f"statement of {quote(statement.origin)}: a name in it is empty or holds a newline")
    return text


def statement_key_id(key: VerifierKey) -> bytes:
    """The key ID under which a log's key signs statements: its own for Ed25519, one of their own for ML-DSA-44."""
    if not key.type.is_mldsa:
        return key.key_id
    material = b"%s\n%s%s" % (key.name.encode("utf-8"), _LABEL, key.public)
    return hashlib.sha256(material).digest()[:KEY_ID_SIZE]


def sign_statement(statement: Statement, keys: Iterable[SigningKey]) -> bytes:
    """The statement entry, signed by each of the log's keys. Raises FormatError for another type or log's key."""
    text = format_statement_text(statement)
    lines = []
    for key in keys:
        if key.type not in _LOG_TYPES or key.name != statement.origin:
            raise FormatError(
                f"statement of {quote(statement.origin)}: got the key {quote(key.name)} of type "
                f"0x{key.type.value:02x}, want the log's own of type 0x01 or 0x06"
            )
        lines.append(NoteSignature(key.name, statement_key_id(key.verifier), key.sign(text)))
    return format_note(Note(text, tuple(lines)))


def verify_statement(entry: bytes, keys: Iterable[VerifierKey]) -> Statement:
    """A statement that its log signed, by any one of `keys`; keys of other names and types are passed over.

    Raises FormatError for what is no statement, SignatureError for a wrong signature by one of these keys or none.
    Whether it stands where it says is for the caller to see.
    """
    statement, note = parse_statement(entry)
    known = {
        (key.name, statement_key_id(key)): key
        for key in keys
        if key.type in _LOG_TYPES and key.name == statement.origin
    }
    signed = False
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if not key.is_signature(line.blob, note.text):
            raise SignatureError(f"statement of {quote(statement.origin)}: a wrong signature by its key")
        signed = True
    if not signed:
        raise SignatureError(f"statement of {quote(statement.origin)}: no key of that log signed it")
    return statement
