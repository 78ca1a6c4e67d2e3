"""gRPC as the client speaks it: what is asked and read in each message, the same for threads and for tasks.

Lengths and places in an answer are looked at here; whether it is true is for `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import SplitResult

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from merklelog.client.access import Access, split_url
from merklelog.client.statuses import GRPC, REASONS, error_for
from merklelog.client.transport import Appended, Batch, Epoch, Included
from merklelog.errors import (
    CertificateError,
    DamagedError,
    MerklelogError,
    ProofError,
    UnavailableError,
    UnreachableError,
    UsageError,
)
from merklelog.tree.hashing import Hash
from merklelog.v1 import log_pb2 as pb

Found = TypeVar("Found")
SCHEMES: Final = ("grpc", "grpcs")
SERVICE: Final = "/merklelog.v1.LogService/"
PORT: Final = 7070
# The largest honest answer: proofs of 10,000 entries.
MAX_ANSWER: Final = 32 << 20
STRETCH_ENTRIES: Final = 4_096
STRETCH_BYTES: Final = 4 << 20

_LEVELS: Final = {
    "integrated": pb.LEVEL_INTEGRATED,
    "published": pb.LEVEL_PUBLISHED,
    "witnessed": pb.LEVEL_WITNESSED,
}
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # ours keep to a deadline and to idempotency keys
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
_DETAILS: Final = "grpc-status-details-bin"
_TOO_LONG: Final = "larger than max"
# Ends of a connection that gRPC has no better code for.
_BROKEN: Final = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed", "Connection reset")


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and how to get to it: what a channel is made of."""

    target: str
    address: str
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...]

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The channel's arguments."""
        return list(_OPTIONS)


def place_of(target: str, access: Access) -> Place:
    """The server that a grpc(s):// target names. Raises UsageError."""
    url = split_url(target, SCHEMES, prefix=False)
    host = url.hostname or ""
    if url.scheme == "grpc":
        access.check_clear(target, host)
    credentials = _credentials(access) if url.scheme == "grpcs" else None
    sent = () if access.authorization is None else (("authorization", access.authorization),)
    return Place(target.rstrip("/"), _address(url, host), credentials, sent)


def _address(url: SplitResult, host: str) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{url.port or PORT}"


def _credentials(access: Access) -> grpc.ChannelCredentials:
    access.tls()  # says what is wrong with a file, which gRPC does not
    roots = None if access.ca is None else Path(access.ca).read_bytes()
    if access.cert is None:
        return grpc.ssl_channel_credentials(roots)
    key = access.cert if access.key is None else access.key
    return grpc.ssl_channel_credentials(roots, Path(key).read_bytes(), Path(access.cert).read_bytes())


# --- messages ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question(Generic[Found]):
    """One call of the service: its name, what is sent, what comes back and how it is read."""

    name: str
    request: Any
    answer: Any
    read: Callable[[Any], Found]


class Questions:
    """What is asked about one log, the same for threads and for tasks. No origin: the only log of the server."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def checkpoint(self, size: int | None) -> Question[bytes]:
        """The newest one that readers see, or a stored one."""
        request = pb.GetCheckpointRequest(origin=self._origin)
        if size is None:
            request.level = pb.LEVEL_INTEGRATED
        else:
            request.tree_size = size
        return Question("GetCheckpoint", request, pb.GetCheckpointResponse, _checkpoint)

    def witnessed(self) -> Question[bytes]:
        """The newest one that bears the cosignatures which the log asks for."""
        request = pb.GetCheckpointRequest(origin=self._origin, level=pb.LEVEL_WITNESSED)
        return Question("GetCheckpoint", request, pb.GetCheckpointResponse, _checkpoint)

    def checkpoints(self) -> Question[bytes]:
        """A stream: the newest, then each later one."""
        request = pb.WatchCheckpointsRequest(origin=self._origin, level=pb.LEVEL_INTEGRATED)
        return Question("WatchCheckpoints", request, pb.WatchCheckpointsResponse, _checkpoint)

    def inclusions(self, indexes: Sequence[int], size: int) -> Question[list[Included]]:
        """Proofs in the order asked; reading raises ProofError for those of other entries."""
        request = pb.GetInclusionProofsRequest(origin=self._origin, indexes=indexes, tree_size=size)
        return Question(
            "GetInclusionProofs",
            request,
            pb.GetInclusionProofsResponse,
            lambda answer: _included(answer, indexes),
        )

    def range_proof(self, start: int, end: int, size: int) -> Question[tuple[Hash, ...]]:
        """The range proof of [start, end)."""
        request = pb.GetInclusionProofsRequest(
            origin=self._origin, range_start=start, range_end=end, tree_size=size
        )
        return Question(
            "GetInclusionProofs",
            request,
            pb.GetInclusionProofsResponse,
            lambda answer: _hashes(answer.range_proof),
        )

    def consistency(self, old: int, size: int) -> Question[tuple[Hash, ...]]:
        """The proof that the smaller tree begins the larger one."""
        request = pb.GetConsistencyProofRequest(origin=self._origin, old_size=old, new_size=size)
        return Question(
            "GetConsistencyProof",
            request,
            pb.GetConsistencyProofResponse,
            lambda answer: _hashes(answer.proof),
        )

    def entries(self, start: int, end: int) -> Question[pb.GetEntriesResponse]:
        """A stream of the first entries of a range: see Collected."""
        request = pb.GetEntriesRequest(
            origin=self._origin, start=start, end=min(end, start + STRETCH_ENTRIES)
        )
        return Question("GetEntries", request, pb.GetEntriesResponse, lambda answer: answer)

    def append(self, batch: Batch) -> Question[Appended]:
        """One entry with its proof, or many with their note; reading raises ProofError when none came."""
        wait = _LEVELS[batch.wait]
        identities, keys = batch.identities, batch.keys
        if len(batch.entries) == 1 and keys is None:
            identity = identities[0] if identities else None
            entry = pb.NewEntry(data=batch.entries[0], identity=identity, idempotency_key=batch.key)
            one = pb.AppendRequest(origin=self._origin, entry=entry, wait=wait, detail=pb.DETAIL_PROOF)
            return Question("Append", one, pb.AppendResponse, _reaching(wait, _appended_one))
        nothing: Sequence[None] = (None,) * len(batch.entries)
        rows = zip(batch.entries, identities or nothing, keys or nothing, strict=True)
        many = pb.AppendBatchRequest(
            origin=self._origin,
            entries=[pb.NewEntry(data=data, identity=name, idempotency_key=key) for data, name, key in rows],
            idempotency_key=batch.key,
            wait=wait,
            detail=pb.DETAIL_CHECKPOINT,
        )
        count = len(batch.entries)
        read = _reaching(wait, lambda answer: _appended_batch(answer, count))
        return Question("AppendBatch", many, pb.AppendBatchResponse, read)

    def epoch(self) -> Question[Epoch]:
        """What the server says of the log's writer."""
        return Question("GetLog", pb.GetLogRequest(origin=self._origin), pb.GetLogResponse, _epoch)


def _checkpoint(answer: Any) -> bytes:
    return bytes(answer.checkpoint)


def _reaching(wait: pb.Level, read: Callable[[Any], Appended]) -> Callable[[Any], Appended]:
    """Reads an answer; one that was to be witnessed and is not yet is asked for again, under the same key."""

    def reading(answer: Any) -> Appended:
        if wait == pb.LEVEL_WITNESSED and answer.level != wait:
            raise UnavailableError("appended, and no quorum of the log's witnesses has cosigned it yet")
        return read(answer)

    return reading


def _appended_one(answer: pb.AppendResponse) -> Appended:
    if not answer.signed_note:
        raise ProofError("append: the answer has no signed note")
    return Appended((answer.entry.index,), answer.signed_note, _hashes(answer.entry.proof))


def _appended_batch(answer: pb.AppendBatchResponse, count: int) -> Appended:
    if not answer.signed_note:
        raise ProofError("append: the answer has no signed note")
    if answer.entries:
        return Appended([entry.index for entry in answer.entries], answer.signed_note)
    return Appended(range(answer.first_index, answer.first_index + count), answer.signed_note)


def _included(answer: pb.GetInclusionProofsResponse, indexes: Sequence[int]) -> list[Included]:
    if [entry.index for entry in answer.entries] != list(indexes):
        raise ProofError("inclusion proofs: the answer is about other entries than were asked for")
    return [Included(Hash(entry.leaf_hash), _hashes(entry.proof)) for entry in answer.entries]


def _hashes(values: Iterable[bytes]) -> tuple[Hash, ...]:
    """Hashes of a proof, whose lengths are for who verifies it."""
    return tuple(Hash(value) for value in values)


def _epoch(answer: pb.GetLogResponse) -> Epoch:
    sizes = [each.tree_size for each in answer.sizes if each.level == pb.LEVEL_INTEGRATED]
    return Epoch(answer.epoch or None, sizes[0] if sizes else None)


class Collected:
    """The answers of one GetEntries, until there is enough of them."""

    def __init__(self, start: int, end: int) -> None:
        self.entries: list[bytes] = []
        self._start = start
        self._want = min(end - start, STRETCH_ENTRIES)
        self._bytes = 0

    @property
    def end(self) -> int:
        """The index after the last one."""
        return self._start + len(self.entries)

    def take(self, answer: pb.GetEntriesResponse) -> bool:
        """Whether that is enough. Raises ProofError for entries from elsewhere or none."""
        if answer.start != self.end or not answer.entries:
            raise ProofError(
                f"entries: got {len(answer.entries)} from index {answer.start}, want those from {self.end} on"
            )
        self.entries.extend(answer.entries)
        self._bytes += sum(map(len, answer.entries))
        del self.entries[self._want :]
        return len(self.entries) >= self._want or self._bytes >= STRETCH_BYTES


# --- errors -----------------------------------------------------------------------------------------------


def error_of(where: str, error: Any) -> MerklelogError:
    """What a failed call means: `error` is a grpc.RpcError that is a call, or an AioRpcError."""
    code, details = error.code(), error.details() or ""
    number = code.value[0]
    reason, wait = _rich(error.trailing_metadata())
    if reason is not None:
        return error_for(REASONS[reason], where, details, wait)
    if number == 8 and _TOO_LONG in details:
        if "SERVER" in details:
            return UsageError(f"{where}: the request is longer than the server takes")
        return DamagedError(f"{where}: the answer is longer than {MAX_ANSWER} bytes")
    if "deserializing" in details:
        return no_message(where)
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        return error_for(CertificateError, f"{where}: certificate", details, None)
    if "SSL_ERROR_SSL" in details:
        return error_for(CertificateError, f"{where}: TLS", details, None)
    if number in (1, 2, 13) and any(word in details for word in _BROKEN):
        return error_for(UnavailableError, where, details, wait)
    kind = GRPC.get(number, UnreachableError)
    return error_for(kind, where, f"{code.name}: {details}" if details else code.name, wait)


def no_message(where: str) -> DamagedError:
    """An answer that can not be read at all."""
    return DamagedError(f"{where}: the answer is no message of this protocol")


def _rich(metadata: Any) -> tuple[str | None, float | None]:
    """The reason and the wait in a google.rpc.Status; None for what is not there or is nonsense."""
    raw = next((value for key, value in metadata or () if key == _DETAILS), None)
    info, retry = ErrorInfo(), RetryInfo()
    wait: Duration | None = None
    try:
        for detail in Status.FromString(raw).details if isinstance(raw, bytes) else ():
            detail.Unpack(info)
            if detail.Unpack(retry):
                wait = retry.retry_delay
    except DecodeError:
        return None, None  # whatever it is, the status itself still counts
    reason = info.reason if info.reason in REASONS else None
    return reason, None if wait is None else min(3_600.0, max(0.0, wait.seconds + wait.nanos / 1e9))
