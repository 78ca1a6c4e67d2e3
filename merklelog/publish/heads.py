"""The two checkpoints a publication is between: what the copy shows, and what the log has signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from merklelog.errors import DamagedError, ForkError, FormatError, NotFoundError, SignatureError
from merklelog.formats.checkpoint import SignedCheckpoint, parse_checkpoint
from merklelog.formats.keys import VerifierKey
from merklelog.formats.note import MAX_NOTE_BYTES, verify_note
from merklelog.formats.wire import quote
from merklelog.publish.layout import CHECKPOINT_KEY
from merklelog.publish.objects import ObjectStore
from merklelog.publish.source import TileSource
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree.hashing import Hash
from merklelog.tree.prove import root_hash

# How many stored checkpoints are looked at for one that every key signed. A log signs with all its keys about
# once a second and stores only such ones, so the second one looked at has them all; without a limit a key
# that never signed would make every publication read the whole history.
_HEADS_TRIED: Final = 64


@dataclass(frozen=True, slots=True)
class Head:
    """A verified checkpoint by this log: its note byte for byte, and how many of the log's keys signed it."""

    size: int
    root: Hash
    origin: str
    note: bytes = field(repr=False)
    signers: int
    version: str | None = None  # of the object it was read from


def verify_head(note: bytes, verifiers: Sequence[VerifierKey], name: str, version: str | None = None) -> Head:
    """Reads a checkpoint of the log with these keys.

    Raises DamagedError for a note that is none, SignatureError for one this log did not sign; both name it.
    """
    try:
        signed: SignedCheckpoint = parse_checkpoint(note)
    except FormatError as error:
        raise DamagedError(f"{name}: {error}") from error
    checkpoint = signed.checkpoint
    # A key speaks only for the log of its name (tlog-checkpoint, "Signatures").
    keys = [key for key in verifiers if key.name == checkpoint.origin]
    if not keys:
        names = ", ".join(sorted({quote(key.name) for key in verifiers})) or "no key"
        raise SignatureError(f"{name}: it is a checkpoint of {quote(checkpoint.origin)}, want one of {names}")
    try:
        verified = verify_note(signed.note, keys)
    except SignatureError as error:
        raise SignatureError(f"{name}: {error}") from error
    signers = len({signature.key for signature in verified})
    return Head(checkpoint.size, checkpoint.root, checkpoint.origin, note, signers, version)


def read_copy_head(
    store: ObjectStore, verifiers: Sequence[VerifierKey], key: str = CHECKPOINT_KEY
) -> Head | None:
    """What the copy shows, or another of its pointers; None when it shows nothing yet. Raises as `verify_head`."""
    try:
        found = store.get(key, limit=MAX_NOTE_BYTES)
    except NotFoundError:
        return None
    return verify_head(found.data, verifiers, f"{store.location}/{key}", found.version)


def newest_head(source: TileSource, verifiers: Sequence[VerifierKey]) -> Head:
    """The newest checkpoint of the log, whichever of its keys signed it. Raises as `verify_head` does."""
    return verify_head(source.checkpoint(), verifiers, "the log's checkpoint")


def head_to_publish(source: TileSource, verifiers: Sequence[VerifierKey], newest: Head, least: int) -> Head:
    """The newest stored checkpoint of at least size `least` that every key signed, else the newest one.

    What is published should convince whoever trusts any one of the keys (design, "Formats").
    """
    if newest.signers == len(verifiers):
        return newest
    for size in islice(source.stored_sizes(), _HEADS_TRIED):
        if size < least:
            break
        head = verify_head(source.checkpoint(size), verifiers, f"the log's checkpoint of size {size}")
        if head.signers == len(verifiers):
            return head
    return newest


def check_same_history(tiles: VerifiedTiles, newer: Head, older: Head) -> None:
    """Check that the tree under `newer`, whose tiles these are, began with the tree of `older`.

    Raises ForkError with both notes: every hash it is made of leads to the root of `newer`, so they can not
    both be true.
    """
    root = root_hash(older.size, tiles.read)
    if root != older.root:
        raise ForkError(
            f"two histories of {quote(newer.origin)}: its checkpoint of size {older.size} has root "
            f"{older.root.hex()}, and under its checkpoint of size {newer.size} the root at that size "
            f"is {root.hex()}",
            older.note,
            newer.note,
        )
