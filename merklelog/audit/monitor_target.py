"""What a monitor looks at: a log's targets, and the checkpoints that witnesses show of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from merklelog.client.access import Access
from merklelog.client.http_source import HttpObjects
from merklelog.client.source import Pointing, TileSource
from merklelog.client.targets import GRPC_SCHEMES, open_target, scheme_of
from merklelog.errors import (
    DamagedError,
    FormatError,
    MerklelogError,
    PolicyUnmetError,
    SignatureError,
    UsageError,
)
from merklelog.formats import Policy, parse_checkpoint, verify_note
from merklelog.formats.checkpoint import SignedCheckpoint
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.formats.policy import QUORUM_NONE, PolicyWitness
from merklelog.formats.witness import checkpoint_path
from merklelog.log import LogReader
from merklelog.protocol import evaluate_policy, is_quorum
from merklelog.publish.layout import UNWITNESSED_KEY, WITNESSED_KEY
from merklelog.tree import EMPTY_ROOT

# How many stored checkpoints are looked at for one that meets the policy when the newest does not.
_TRIED: Final = 64


@dataclass(frozen=True, slots=True)
class Met:
    """The newest checkpoint that meets the whole policy: its size, and how new a quorum's newest signatures are.

    `signed_at` is None where the policy's quorum is none, which dates nothing.
    """

    size: int
    signed_at: int | None


@dataclass(frozen=True, slots=True)
class Beside:
    """Another checkpoint that a target showed: the newest one without a quorum of the log's, or with it."""

    key: str
    note: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Shown:
    """What a target showed: its checkpoint, signed by the log; `met`, or why nothing met the policy; others."""

    note: bytes
    signed: SignedCheckpoint
    met: Met | None
    refused: str
    beside: tuple[Beside, ...] = ()

    @property
    def size(self) -> int:
        """The largest tree of which it showed a checkpoint."""
        return max(each.checkpoint.size for each in (self.signed, *(other.signed for other in self.beside)))


def logs_alone(policy: Policy) -> Policy:
    """The policy's logs with no quorum: what a log signed is evidence, whoever else did not."""
    return Policy(policy.logs, (), (), QUORUM_NONE)


def read_signed(policy: Policy, note: bytes, where: str) -> SignedCheckpoint:
    """A checkpoint that a log of the policy signed, whatever its witnesses say.

    Raises FormatError, SignatureError and DamagedError with `where` in front.
    """
    try:
        signed = parse_checkpoint(note)
        evaluate_policy(logs_alone(policy), signed)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
    except (SignatureError, PolicyUnmetError) as error:
        raise SignatureError(f"{where}: {error}") from error
    checkpoint = signed.checkpoint
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise DamagedError(f"{where}: size 0 with root {checkpoint.root.hex()}")
    return signed


def quorum_time(policy: Policy, signed: SignedCheckpoint) -> int | None:
    """The newest time since which a quorum signed this; None with `quorum none`. The policy is met."""
    if policy.quorum == QUORUM_NONE:
        return None
    names = {witness.key: witness.name for witness in policy.witnesses}
    latest: dict[bytes, int] = {}
    for each in verify_note(signed.note, names):
        if each.timestamp:
            name = names[each.key]
            latest[name] = max(latest.get(name, 0), each.timestamp)
    for time in sorted(set(latest.values()), reverse=True):
        if is_quorum(policy, [name for name, at in latest.items() if at >= time]):
            return time
    return None


class MonitoredTarget:
    """One target. Opened when it is first looked at, and anew after it failed; for one thread at a time."""

    def __init__(self, name: str, access: Access, origin: str = "") -> None:
        """Opens it, to tell what can not be meant from what does not answer now. Raises UsageError.

        `origin` is which log of a server over gRPC is meant; empty: the only one it has.
        """
        self.name = name
        self._origin = origin
        self.origin: str | None = None
        self._access = access
        self._source: TileSource | None = None
        self._lock = threading.Lock()
        try:
            self._source = self._open()
        except UsageError:
            raise
        except MerklelogError:
            return  # looked at again in each round, and told then

    @property
    def source(self) -> TileSource:
        """The open source. Raises what opening it does."""
        with self._lock:
            if self._source is None:
                self._source = self._open()
            return self._source

    def _open(self) -> TileSource:
        if scheme_of(self.name) in GRPC_SCHEMES:
            from merklelog.audit.monitor_grpc import GrpcTiles  # brings gRPC

            return GrpcTiles(self.name, self._access, self._origin)
        return open_target(self.name, self._access)

    def look(self, policy: Policy) -> Shown:
        """What it shows now. Raises FormatError, SignatureError, DamagedError, and what reading it may end in."""
        source = self.source
        if isinstance(source, LogReader):
            source.refresh()
        note = source.checkpoint()
        signed = read_signed(policy, note, f"{self.name}: checkpoint")
        self.origin = signed.checkpoint.origin
        beside = tuple(self._beside(policy, source))
        try:
            evaluate_policy(policy, signed)
        except PolicyUnmetError as error:
            older = self._older(policy, signed.checkpoint.size, beside)
            return Shown(note, signed, older, str(error), beside)
        except SignatureError as error:
            raise SignatureError(f"{self.name}: checkpoint: {error}") from error
        met = Met(signed.checkpoint.size, quorum_time(policy, signed))
        return Shown(note, signed, met, "", beside)

    def _beside(self, policy: Policy, source: TileSource) -> Iterator[Beside]:
        for key, note in _pointed(source):
            signed = read_signed(policy, note, f"{self.name}: {key}")
            if signed.checkpoint.origin != self.origin:
                raise SignatureError(
                    f"{self.name}: {key}: it is a checkpoint of {signed.checkpoint.origin!r}"
                )
            yield Beside(key, note, signed)

    def _older(self, policy: Policy, size: int, beside: tuple[Beside, ...]) -> Met | None:
        """The newest checkpoint that meets the policy, of those that the target shows beside and of the kept."""
        shown = [each.signed for each in beside if each.key == WITNESSED_KEY]
        for signed in chain(shown, self._kept()):
            if signed.checkpoint.size > size:
                continue
            try:
                evaluate_policy(policy, signed)
            except (PolicyUnmetError, SignatureError):
                continue  # its turn to be told came when it was the newest
            return Met(signed.checkpoint.size, quorum_time(policy, signed))
        return None

    def _kept(self) -> Iterator[SignedCheckpoint]:
        for size in islice(self.source.stored_sizes(), _TRIED):
            try:
                yield parse_checkpoint(self.source.checkpoint(size))
            except FormatError as error:
                raise DamagedError(f"{self.name}: checkpoints/{size}: {error}") from error

    def reopen(self) -> None:
        """Let go of the source after it failed."""
        with self._lock:
            source, self._source = self._source, None
        if source is not None:
            source.close()

    def close(self) -> None:
        """Let go of everything."""
        self.reopen()


def _pointed(source: TileSource) -> Iterator[tuple[str, bytes]]:
    if isinstance(source, Pointing):
        for key in (UNWITNESSED_KEY, WITNESSED_KEY):
            if (note := source.pointer(key)) is not None:
                yield key, note


class WitnessView:
    """What a witness of the policy shows at its monitoring prefix (tlog-witness)."""

    def __init__(self, witness: PolicyWitness, url: str, access: Access) -> None:
        """Nothing is asked yet; a token of the log's server is not a witness' to see. Raises UsageError."""
        self.name = witness.name.decode("utf-8", "backslashreplace")
        self.source = f"witness {self.name} ({url})"
        self._key = witness.key
        tls = url.lower().startswith("https:")
        self._objects = HttpObjects(
            url, Access(ca=access.ca if tls else None, retry=access.retry), retry=False
        )

    def look(self, policy: Policy, origin: str) -> tuple[bytes, SignedCheckpoint]:
        """Its newest checkpoint of a log, signed by the log and by the witness.

        Raises NotFoundError for a log that it knows nothing of, FormatError, SignatureError, DamagedError,
        UnreachableError and kin.
        """
        note = self._objects.get(checkpoint_path(origin).lstrip("/"), limit=MAX_NOTE_BYTES).data
        signed = read_signed(policy, note, self.source)
        if signed.checkpoint.origin != origin:
            raise SignatureError(f"{self.source}: it shows a checkpoint of {signed.checkpoint.origin!r}")
        try:
            verify_note(signed.note, [self._key])
        except SignatureError as error:
            raise SignatureError(f"{self.source}: {error}") from error
        return note, signed

    def close(self) -> None:
        """Close the connections."""
        self._objects.close()


__all__ = [
    "Beside",
    "Met",
    "MonitoredTarget",
    "Shown",
    "WitnessView",
    "logs_alone",
    "quorum_time",
    "read_signed",
]
