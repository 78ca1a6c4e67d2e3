"""Every error this project raises on purpose.

One tree, so that `except MerklelogError` is enough for a caller, and a fuzz test can say "garbage raises only
this".
Each class carries the exit status the command line ends with:
1 disproven or refused for safety, 2 usage or configuration, 3 could not tell, 4 failed for a local reason.

A class says *whose* fault it is; the message says *what* was wrong with *which* value.
"""

from __future__ import annotations

from typing import ClassVar


class MerklelogError(Exception):
    """The root of the tree; never raised itself."""

    exit_status: ClassVar[int] = 4


# --- what the caller asked for can not be done: exit 2 ---------------------------------------------------------


class UsageError(MerklelogError):
    """The call itself is wrong; nothing was changed."""

    exit_status = 2


class EntryError(UsageError):
    """An entry (or its identity or idempotency key) is not one the log takes, for example over 65,535 bytes."""


class OriginError(UsageError):
    """An origin or key name that the design refuses."""


class ConfigError(UsageError):
    """A configuration that can not be used; names the file, the line and the key."""


class RangeError(UsageError):
    """An index or a tree size outside the tree."""


class NotALogError(UsageError):
    """The path is not a log's data directory (or not a published copy)."""


class FormatVersionError(UsageError):
    """The data was written by a newer version of this project; names both versions."""


class ConflictError(UsageError):
    """An idempotency key was used before with other bytes."""


class FrozenError(UsageError):
    """The log has ended: it takes no appends, here or after any restart. The message names its successor."""


class FieldError(UsageError):
    """A field of a request that can not be taken; `field` names it and the message says what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class LevelError(UsageError):
    """A level of waiting that the log has not configured."""


class ForbiddenError(UsageError):
    """Who asks is known and may not do this."""


class UnauthenticatedError(UsageError):
    """Who asks did not say who they are, or said it wrongly."""


# --- bytes from outside are not what they claim: exit 1 --------------------------------------------------------


class FormatError(MerklelogError):
    """Bytes from outside break the format they claim to have."""

    exit_status = 1


class KeyFormatError(FormatError):
    """A verifier or signing key that can not be read, or of a type that has no place there."""

    exit_status = 2


class PolicyError(FormatError):
    """A trust policy that can not be read or can never be met; names the line."""

    exit_status = 2


class VerificationError(MerklelogError):
    """Disproven: what was shown is not what it claims to be."""

    exit_status = 1


class ProofError(VerificationError):
    """An inclusion, range or consistency proof that does not lead to the root."""


class SignatureError(VerificationError):
    """No trusted key signed this, or a trusted key's signature is wrong."""


class PolicyUnmetError(VerificationError):
    """The signatures are genuine but the policy asks for others."""


class ForkError(VerificationError):
    """Two signed checkpoints of one log that can not both be true.

    `first` and `second` are the two signed notes, byte for byte: the evidence.
    """

    def __init__(self, message: str, first: bytes = b"", second: bytes = b"") -> None:
        super().__init__(message)
        self.first = first
        self.second = second


class ImmutableError(VerificationError):
    """A published object that must never change is there with other bytes."""


class BehindError(VerificationError):
    """A log holds less than was published of it: a backup that was brought back, or a lost disk.

    Refused for safety: going on would fork what others have seen.
    """


class FencedError(VerificationError):
    """Another writer moved the publish target's `head`: this one stops, having signed and locked nothing since.

    Fatal to the open log. Two processes have one log's keys, or a copy of its disk was started beside it.
    """


class LostError(VerificationError):
    """A receipt of an epoch that is over, whose entry is not in the tree: a disk was lost before it was published.

    No fork: the log never called it a checkpoint. Send the entry again. `note` is the receipt.
    """

    def __init__(self, message: str, note: bytes = b"") -> None:
        super().__init__(message)
        self.note = note


class DamagedError(VerificationError):
    """Stored or published data is not what was written: names the index or the file."""


# --- could not tell: exit 3 -----------------------------------------------------------------------------------


class UnknownError(MerklelogError):
    """Neither proven nor disproven."""

    exit_status = 3


class NotFoundError(UnknownError):
    """The log has no such thing now (an entry, a stored checkpoint, a head that meets the policy)."""


class UnknownLogError(NotFoundError):
    """The server serves no log of that origin, or several and the request names none."""


class UnreachableError(UnknownError):
    """A target did not answer, or refused to.

    `refused`: it did answer, that it will not do this for this caller, however often it is asked.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class CertificateError(UnreachableError):
    """TLS with a server can not be: its certificate is not to be believed, or it does not take the client's.

    Trying again does not help.
    """


class UnavailableError(UnreachableError):
    """A server can not answer now and may in a while; `retry_after` is in seconds, None where it did not say.

    Of an append: it may have been stored. The same idempotency key again stores nothing twice.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StaleError(UnknownError):
    """An older head than the one already trusted."""


class OverloadedError(UnknownError):
    """More is waiting than the log takes; `retry_after` is in seconds. Nothing of this call was stored."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# --- a local reason: exit 4 -----------------------------------------------------------------------------------


class LocalError(MerklelogError):
    """Something of this machine is in the way: its disk, its memory or another process."""


class LockedError(LocalError):
    """Another process writes to this log; `pid` is its process id where it is known."""

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class StorageFullError(LocalError):
    """No room on the disk; appends come back by themselves when there is room again."""

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageError(LocalError):
    """The disk or the database refused: nothing that was not acknowledged counts as stored."""


class StoppedError(LocalError):
    """The log stopped taking appends after a failure that only a new open can clear; the cause is chained."""


class ClosedError(LocalError):
    """The log was closed."""


class KeyFileError(LocalError):
    """A private key file is missing, unreadable or readable by others."""

    exit_status = 2
