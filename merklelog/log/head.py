"""The newest heads of a log, and the keys that sign them.

A log without publish targets has one: the newest commit's, signed as a checkpoint. A log with targets has two. The
*integrated* head is the newest commit's, signed as a receipt; the *published* one is a checkpoint that the target
shows, and readers with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from merklelog.errors import DamagedError, FormatError, RangeError, SignatureError
from merklelog.formats import (
    Checkpoint,
    Note,
    ReceiptNote,
    SigningKey,
    VerifierKey,
    format_checkpoint_text,
    format_note,
    is_receipt,
    parse_checkpoint,
    sign_checkpoint,
    sign_receipt,
    verify_note,
    verify_receipt,
)
from merklelog.store import StoreReader
from merklelog.tree import (
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    Hash,
    Tile,
    TileHashes,
    TreeSize,
    root_hash,
)

Sign = Callable[[TreeSize, Hash], bytes]
_EPOCH_ROW: Final = 8 + 8 + HASH_SIZE


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head: size, root, the signed note, and the tree's right edge at that size.

    The note is a checkpoint and `epoch` None, or it is a receipt of that epoch. Of a published head that is not
    the newest, `partials` is empty: its tiles are those of the integrated head, cut.
    """

    size: TreeSize
    root: Hash
    note: bytes
    partials: tuple[bytes, ...]
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """The public half: the log's name, its verifier keys (Ed25519 first), and its receipt key where it has one."""

    origin: str
    verifiers: tuple[VerifierKey, ...]
    receipt: VerifierKey | None = None


@dataclass(frozen=True, slots=True)
class Signers:
    """The log's private keys: Ed25519 for every checkpoint, ML-DSA-44 as well for what is kept and published.

    `receipt` is None in a log that was made before there were receipts and never had a publish target.
    """

    origin: str
    ed25519: SigningKey
    mldsa44: SigningKey
    receipt: SigningKey | None = None

    def sign(self, size: int, root: Hash, *, both: bool) -> bytes:
        """A signed checkpoint note, Ed25519 first."""
        checkpoint = Checkpoint(self.origin, TreeSize(size), root)
        keys = (self.ed25519, self.mldsa44) if both else (self.ed25519,)
        text = format_checkpoint_text(checkpoint)
        return format_note(Note(text, tuple(sign_checkpoint(checkpoint, key) for key in keys)))

    def sign_quickly(self, size: TreeSize, root: Hash) -> bytes:
        """A checkpoint note with one signature: what each commit of a log without publish targets signs."""
        return self.sign(size, root, both=False)

    def receipts(self, epoch: int, seconds: Callable[[], int]) -> Sign:
        """What each commit of a log with publish targets signs: a receipt of this epoch."""
        key, origin = self.receipt, self.origin
        if key is None:
            raise DamagedError(f"{origin}: an epoch can not begin without a receipt key")

        def sign(size: TreeSize, root: Hash) -> bytes:
            return sign_receipt(ReceiptNote(origin, epoch, size, root, seconds()), key)

        return sign


@dataclass(frozen=True, slots=True)
class Epoch:
    """The start of a writer: its number in the publish target, and the head that was published by then.

    `places` are the locations of all targets that a start of this log ever took the epoch of.
    """

    number: int
    size: TreeSize
    root: Hash
    places: tuple[str, ...] = ()

    def row(self) -> bytes:
        """As the store keeps it."""
        start = self.number.to_bytes(8, "big") + self.size.to_bytes(8, "big") + self.root
        return start + b"".join(place.encode("utf-8", "surrogateescape") + b"\0" for place in self.places)


def read_epoch(store: StoreReader, where: str) -> Epoch | None:
    """The newest epoch that this log began; None when it never had a target. Raises DamagedError."""
    row = store.epoch()
    if row is None:
        return None
    *places, rest = row[_EPOCH_ROW:].split(b"\0")
    if len(row) < _EPOCH_ROW or rest:
        raise DamagedError(
            f"{where}: the row of the log's epoch has {len(row)} bytes, want {_EPOCH_ROW} and locations that end "
            "in a zero byte"
        )
    size = TreeSize(int.from_bytes(row[8:16], "big"))
    names = tuple(place.decode("utf-8", "surrogateescape") for place in places)
    return Epoch(int.from_bytes(row[:8], "big"), size, Hash(row[16:_EPOCH_ROW]), names)


def read_head(
    store: StoreReader,
    origin: str,
    keys: tuple[VerifierKey, ...],
    where: str,
    receipt_key: VerifierKey | None = None,
) -> tuple[Head, Frontier]:
    """The store's newest head, proven: signed by the log's own keys, and the root of the stored right edge.

    Raises DamagedError naming `where` when the signature, the edge and the root do not belong together.
    """
    note = store.newest()
    if note is None:
        raise DamagedError(
            f"{where}: the database holds no checkpoint, and one was signed when the log was made"
        )
    signed = _read_note(note, Keys(origin, keys, receipt_key), f"{where}: the newest")
    frontier = load_frontier(store, signed.size, where)
    root = frontier.root()
    if root != signed.root:
        raise DamagedError(
            f"{where}: the stored tree of size {signed.size} has root {root.hex()}, "
            f"its checkpoint says {signed.root.hex()}"
        )
    epoch = signed.epoch if isinstance(signed, ReceiptNote) else None
    return Head(signed.size, signed.root, note, frontier.partials(), epoch), frontier


def _read_note(note: bytes, keys: Keys, what: str) -> Checkpoint | ReceiptNote:
    """What a stored note says, checkpoint or receipt, signed by this log. Raises DamagedError."""
    said: Checkpoint | ReceiptNote
    kind = "receipt" if is_receipt(note) else "checkpoint"
    try:
        if not is_receipt(note):
            parsed = parse_checkpoint(note)
            verify_note(parsed.note, keys.verifiers)
            said = parsed.checkpoint
        elif keys.receipt is None:
            raise SignatureError("the database names no receipt key")
        else:
            said = verify_receipt(note, keys.receipt)
    except (FormatError, SignatureError) as error:
        raise DamagedError(f"{what} {kind} is not signed by this log: {error}") from error
    if said.origin != keys.origin:
        raise DamagedError(f"{what} {kind} is of {said.origin!r}, want {keys.origin!r}")
    return said


def read_tile(store: StoreReader, head: Head, level: int, index: int, width: int, where: str) -> bytes:
    """The first `width` hashes of a tile of the tree of `head`, a newest head. Raises DamagedError."""
    if index == head.size >> (TILE_HEIGHT * (level + 1)):
        return head.partials[level][: width * HASH_SIZE]
    hashes = store.tile(level, index)
    if hashes is None or len(hashes) != TILE_WIDTH * HASH_SIZE:
        got = "missing" if hashes is None else f"{len(hashes)} bytes long"
        raise DamagedError(f"{where}: full tile {level}/{index} is {got}")
    return hashes[: width * HASH_SIZE]


def read_published(store: StoreReader, head: Head, keys: Keys, where: str) -> Head:
    """The head that readers are shown: the newest one if that is a checkpoint, else what was published, proven.

    `head` is the newest one. Raises DamagedError when the published checkpoint is not signed by this log or not of
    its tree. A log that has receipts and published nothing yet shows the checkpoint from before its first receipt;
    one without targets that waits for witnesses, the newest that a quorum cosigned.
    """
    if head.epoch is None and store.held() != b"1":
        return head
    note = store.published()
    if note is None:
        raise DamagedError(f"{where}: the newest head is a receipt, and no checkpoint is there to be shown")
    said = _read_note(note, keys, f"{where}: the published")
    if isinstance(said, ReceiptNote) or said.size > head.size:
        raise DamagedError(
            f"{where}: a checkpoint of size {said.size} was published, the tree has {head.size} entries"
        )

    def fetch(tile: Tile) -> bytes:
        return read_tile(store, head, tile.level, tile.index, tile.width, where)

    root = root_hash(said.size, TileHashes(said.size, fetch, nodes=store.nodes))
    if root != said.root:
        raise DamagedError(
            f"{where}: the stored tree has root {root.hex()} at size {said.size}, "
            f"the published checkpoint says {said.root.hex()}"
        )
    return Head(said.size, said.root, note, ())


def read_witnessed(store: StoreReader, where: str) -> Head | None:
    """The newest checkpoint that a quorum cosigned, as it was stored; None when there is none.

    Raises DamagedError. Its signatures were verified before it was stored; who is shown it verifies them again.
    """
    note = store.witnessed()
    if note is None:
        return None
    try:
        said = parse_checkpoint(note).checkpoint
    except FormatError as error:
        raise DamagedError(f"{where}: the newest cosigned checkpoint: {error}") from error
    return Head(said.size, said.root, note, ())


def load_frontier(store: StoreReader, size: int, where: str) -> Frontier:
    """The right edge at the store's newest size."""
    levels = (max(size, 1).bit_length() - 1) // TILE_HEIGHT + 1
    partials = [store.edge(level, size >> (TILE_HEIGHT * (level + 1))) for level in range(levels)]
    try:
        return Frontier(size, partials)
    except ValueError as error:
        raise DamagedError(f"{where}: the right edge of the stored tree is damaged: {error}") from error


def check_size(size: int | None, head: Head, newest: Head | None = None) -> int:
    """A tree size to prove in: that of `head` for None, else one up to `newest`. Raises RangeError."""
    if size is None:
        return head.size
    head = newest or head
    if not 0 <= size <= head.size:
        raise RangeError(f"size {size}: the tree has {head.size} entries")
    return size


__all__ = [
    "Epoch",
    "Head",
    "Keys",
    "Sign",
    "Signers",
    "check_size",
    "load_frontier",
    "read_epoch",
    "read_head",
    "read_published",
    "read_tile",
    "read_witnessed",
]
