"""What a statement entry means where it stands: whether a log has ended, and which log it follows.

An entry that only looks like a statement means nothing: it may stand in a log from before such bytes were
reserved, or be a copy of another log's. What counts is signed by the log itself and says the index at which it
is found.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from merklelog.errors import FormatError, SignatureError
from merklelog.formats.keys import VerifierKey
from merklelog.formats.statement import Follows, Freeze, Statement, is_statement, verify_statement


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a log stands among others: which one it follows, and whether it has ended, and what follows it."""

    follows: Follows | None = None
    freeze: Freeze | None = None


def statement_at(entry: bytes, index: int, origin: str, keys: Collection[VerifierKey]) -> Statement | None:
    """The statement that the log `origin`, known by `keys`, makes with the entry at `index`; None for others."""
    if not is_statement(entry):
        return None
    try:
        statement = verify_statement(entry, keys)
    except (FormatError, SignatureError):
        return None
    return statement if (statement.origin, statement.size) == (origin, index) else None


def freeze_at(entry: bytes, index: int, origin: str, keys: Collection[VerifierKey]) -> Freeze | None:
    """The statement by which the log ends with the entry at `index`; no entry may come after it."""
    statement = statement_at(entry, index, origin, keys)
    return statement if isinstance(statement, Freeze) else None


def follows_at_start(first: bytes, origin: str, keys: Collection[VerifierKey]) -> Follows | None:
    """The statement by which the log, whose first entry this is, follows another one."""
    statement = statement_at(first, 0, origin, keys)
    return statement if isinstance(statement, Follows) else None
