"""What a client asks of a log, whatever is between them: the seam behind which gRPC, HTTP and files stand.

Nothing that comes back is believed: `steps` holds it against a checkpoint that meets the caller's policy. A method
makes one try and takes no longer than `seconds`, so far as it can tell; trying again is its caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from merklelog.tree.hashing import Hash


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries to append together. Either `key` or each entry's of `keys` is the idempotency key.

    `wait` is what the answer is to wait for: "integrated"; "published", until they are under a published
    checkpoint; "witnessed", until they are under one that meets the log's own policy.
    """

    entries: tuple[bytes, ...] = field(repr=False)
    key: bytes | None = None
    keys: tuple[bytes | None, ...] | None = None
    identities: tuple[bytes | None, ...] | None = None
    wait: str = "integrated"

    @property
    def published(self) -> bool:
        """Whether the answer is to lead to a checkpoint, and not to a receipt."""
        return self.wait != "integrated"


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a log says that a batch stands, an index an entry, under the signed `note`: a checkpoint or a receipt.

    An empty note: the log did not say, and a later checkpoint has to. `proof` is there for a single entry only.
    """

    indexes: Sequence[int]
    note: bytes = field(default=b"", repr=False)
    proof: tuple[Hash, ...] | None = None


@dataclass(frozen=True, slots=True)
class Included:
    """An entry's leaf hash and the inclusion proof of it."""

    leaf: Hash
    proof: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The first entries of a range, at least one, and the range proof of them (tree.prove_range)."""

    entries: list[bytes] = field(repr=False)
    proof: tuple[Hash, ...]


class Epoch(NamedTuple):
    """What a log says of its writer, unsigned: the epoch, None without targets; and how many entries it has.

    `size` is None where only the published ones can be known.
    """

    number: int | None
    size: int | None = None


class Transport(Protocol):
    """A log to ask, by blocking calls. Safe for threads.

    `size` and `root` name the tree that an answer is to be proven in. Raises UnavailableError and OverloadedError
    for what may come right by itself, and what the log says: RangeError, NotFoundError, ConflictError and so on.
    """

    def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """The newest signed checkpoint, or the stored one of that size."""

    def witnessed(self, seconds: float) -> bytes:
        """The newest checkpoint that bears cosignatures which the log asks for, where the log shows it apart.

        Raises NotFoundError or LevelError where there is none.
        """

    def grown(self, size: int, seconds: float) -> bytes:
        """The newest checkpoint, as soon as it is larger than `size`, else after `seconds`."""

    def inclusions(self, indexes: Sequence[int], size: int, root: Hash, seconds: float) -> list[Included]:
        """A proof for each index, in that order."""

    def range_proof(self, start: int, end: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """The range proof of [start, end)."""

    def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """The proof that the tree of `old` begins this one."""

    def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """The first entries of [start, end), as many as one answer holds."""

    def append(self, batch: Batch, seconds: float) -> Appended:
        """Append a batch, all or none."""

    def epoch(self, seconds: float) -> Epoch:
        """The epoch that the log is in now, so far as it says: what tells a lost receipt from a fork."""

    def close(self) -> None:
        """Give back what is held; safe to call twice."""


class AsyncTransport(Protocol):
    """The same for tasks: see Transport."""

    async def checkpoint(self, size: int | None, seconds: float) -> bytes:
        """See Transport."""

    async def witnessed(self, seconds: float) -> bytes:
        """See Transport."""

    async def grown(self, size: int, seconds: float) -> bytes:
        """See Transport."""

    async def inclusions(
        self, indexes: Sequence[int], size: int, root: Hash, seconds: float
    ) -> list[Included]:
        """See Transport."""

    async def range_proof(
        self, start: int, end: int, size: int, root: Hash, seconds: float
    ) -> tuple[Hash, ...]:
        """See Transport."""

    async def consistency(self, old: int, size: int, root: Hash, seconds: float) -> tuple[Hash, ...]:
        """See Transport."""

    async def entries(self, start: int, end: int, size: int, root: Hash, seconds: float) -> Stretch:
        """See Transport."""

    async def append(self, batch: Batch, seconds: float) -> Appended:
        """See Transport."""

    async def epoch(self, seconds: float) -> Epoch:
        """See Transport."""

    async def close(self) -> None:
        """See Transport."""
