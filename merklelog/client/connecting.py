"""`merklelog.connect`: from the name of a log and whom to believe to a client of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from merklelog.client.access import Access
from merklelog.client.cached import CachedSource
from merklelog.client.drive import drive
from merklelog.client.remote import AsyncClient, Client
from merklelog.client.retry import Retry
from merklelog.client.source import TileSource
from merklelog.client.state import StateFile
from merklelog.client.steps import unverified
from merklelog.client.targets import GRPC_SCHEMES, HTTP_SCHEMES, open_target, scheme_of
from merklelog.client.tile_transport import TileTransport
from merklelog.client.transport import Appended, Batch, Transport
from merklelog.client.trust import Trust, Trusted, policy_of
from merklelog.errors import DamagedError, FormatError, UsageError
from merklelog.formats.policy import Policy, single_log_policy
from merklelog.formats.wire import parse_decimal
from merklelog.log import Log, LogReader, open_log

if TYPE_CHECKING:
    from merklelog.client.http_source import HttpObjects

_WANT: Final = "give its verifier keys (what `merklelog vkey` prints, got in a way you trust), or a policy"
_KEY: Final = "idempotency-key"
_INDEX_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Connection:
    """What `connect` was told, apart from the target."""

    access: Access
    origin: str | None = None
    poll: float = 0.2
    cache: str | os.PathLike[str] | None = None


def connect(
    target: str | os.PathLike[str],
    trust: Trusted | None = None,
    *,
    state: str | os.PathLike[str] | None = None,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    token_in_clear: bool = False,
    origin: str | None = None,
    retry: Retry | None = None,
    poll: float = 0.2,
    cache: str | os.PathLike[str] | None = None,
) -> Client:
    """A client of the log at `target`: grpc(s)://host:port, http(s)://host/prefix, a data directory, dir:PATH.

    `trust` is whom to believe: verifier keys of the log (any one is enough), a policy, or the path of a file with
    either; a data directory alone needs none, it has its own. `state` is a file in which the newest verified
    checkpoint is kept, so that the log is held to it for ever. `token`, `ca`, `cert` and `key` are those of
    Access. `origin` names the log on a server of several; without it the only one of the policy is meant. `retry`
    is how long to go on when a server can not answer. `poll` is how many seconds apart to look for what is new
    where a target can not tell. `cache` is a directory for the tiles of this one log that come over HTTP, beside
    those kept in memory.

    Nothing is asked of a server yet. Raises UsageError, KeyFormatError and PolicyError for what can not be meant,
    what opening a directory raises, and what a state file does that can not be believed.
    """
    access = Access(token, ca, cert, key, token_in_clear, retry or Retry())
    name = os.fspath(target)
    transport, trusted = _open(name, trust, state, Connection(access, origin, poll, cache))
    return Client(transport, trusted, access.retry, name)


def connect_with(
    target: str,
    trust: Trusted | None,
    access: Access,
    *,
    state: str | os.PathLike[str] | None = None,
    poll: float = 0.2,
) -> Client:
    """`connect` for who has the access together already."""
    transport, trusted = _open(target, trust, state, Connection(access, poll=poll))
    return Client(transport, trusted, access.retry, target)


async def connect_async(
    target: str | os.PathLike[str],
    trust: Trusted | None = None,
    *,
    state: str | os.PathLike[str] | None = None,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    token_in_clear: bool = False,
    origin: str | None = None,
    retry: Retry | None = None,
    poll: float = 0.2,
    cache: str | os.PathLike[str] | None = None,
) -> AsyncClient:
    """The same for tasks: see `connect`. The client is for the running event loop."""
    access = Access(token, ca, cert, key, token_in_clear, retry or Retry())
    name = os.fspath(target)
    if scheme_of(name) in GRPC_SCHEMES:
        from merklelog.client.grpc_aio import GrpcAioTransport
        from merklelog.client.grpc_wire import place_of

        place = place_of(name, access)
        trusted = _trust(name, _policy(trust), state)
        return AsyncClient(GrpcAioTransport(place, _origin(origin, trusted)), trusted, access.retry, name)
    from merklelog.client.threaded import ThreadedTransport

    transport, trusted = _open(name, trust, state, Connection(access, origin, poll, cache))
    return AsyncClient(ThreadedTransport(transport), trusted, access.retry, name)


def unverified_checkpoint(target: str, size: int | None = None, access: Access | None = None) -> bytes:
    """A checkpoint of a server as it comes, believed by nobody. Raises as `Client.checkpoint`, but for proofs."""
    found = access or Access()
    if scheme_of(target) in GRPC_SCHEMES:
        from merklelog.client.grpc_transport import GrpcTransport
        from merklelog.client.grpc_wire import place_of

        transport: Transport = GrpcTransport(place_of(target, found), "")
    else:
        from merklelog.client.http_source import HttpObjects, HttpSource

        transport = TileTransport(HttpSource(HttpObjects(target, found, retry=False)))
    with contextlib.closing(transport):
        return drive(unverified(found.retry, size), transport)


def _open(
    target: str,
    trust: Trusted | None,
    state: str | os.PathLike[str] | None,
    connection: Connection,
) -> tuple[Transport, Trust]:
    scheme = scheme_of(target)
    policy = _policy(trust)
    if scheme in GRPC_SCHEMES:
        from merklelog.client.grpc_transport import GrpcTransport
        from merklelog.client.grpc_wire import place_of

        place = place_of(target, connection.access)
        trusted = _trust(target, policy, state)
        return GrpcTransport(place, _origin(connection.origin, trusted)), trusted
    if scheme in HTTP_SCHEMES:
        from merklelog.client.http_source import HttpObjects, HttpSource

        objects = HttpObjects(target, connection.access, retry=False)
        trusted = _trust(target, policy, state)
        source = CachedSource(HttpSource(objects), directory=connection.cache)
        return TileTransport(source, append=_post(objects), cache=source, poll=connection.poll), trusted
    local = open_target(target)
    try:
        if policy is None and isinstance(local, LogReader):
            policy = single_log_policy(local.vkeys)
        trusted = _trust(target, policy, state)
    except BaseException:
        local.close()
        raise
    return _local(local, connection.poll), trusted


def _policy(trust: Trusted | None) -> Policy | None:
    return None if trust is None else policy_of(trust)


def _trust(target: str, policy: Policy | None, state: str | os.PathLike[str] | None) -> Trust:
    if policy is None:
        raise UsageError(f"{target}: who signs this log? {_WANT}")
    return Trust(policy, None if state is None else StateFile(state))


def _origin(given: str | None, trust: Trust) -> str:
    return given if given is not None else trust.origin or ""


# --- HTTP --------------------------------------------------------------------------------------------------------


def _post(objects: HttpObjects) -> Callable[[Batch, float], Appended]:
    """How an entry is appended over HTTP: its bytes posted, its index answered."""

    def append(batch: Batch, seconds: float) -> Appended:
        if len(batch.entries) != 1 or batch.keys is not None:
            raise UsageError(f"{objects.location}: HTTP appends one entry at a time; batches take grpc://")
        if batch.identities is not None:
            raise UsageError(f"{objects.location}: an identity of its own takes grpc://")
        key = batch.key or b""
        if not key.isascii() or not key.decode("ascii").isprintable():
            raise UsageError("idempotency key: over HTTP it is a header, so want printable ASCII")
        headers = {_KEY: key.decode("ascii"), "Content-Type": "application/octet-stream"}
        answer = objects.ask(
            "POST", "add", headers=headers, body=batch.entries[0], limit=1 << 16, seconds=seconds
        )
        try:
            return Appended((parse_decimal(answer.body[:_INDEX_BYTES].removesuffix(b"\n"), "index"),))
        except FormatError as error:
            raise DamagedError(f"{objects.location}/add: {error}") from error

    return append


# --- files -------------------------------------------------------------------------------------------------------


def _local(source: TileSource, poll: float) -> Transport:
    if not isinstance(source, LogReader):
        return TileTransport(source, poll=poll)
    writable = _Directory(source.path, source)
    return TileTransport(writable, append=writable.append, refresh=writable.refresh, poll=poll)


class _Directory:
    """A data directory: a reader beside whoever writes, until something is appended; then the writer itself."""

    def __init__(self, path: Path, reader: LogReader) -> None:
        self._path = path
        self._reader = reader
        self._log: Log | None = None
        self.checkpoint = reader.checkpoint
        self.stored_sizes = reader.stored_sizes
        self.tile = reader.tile
        self.bundle = reader.bundle

    def refresh(self) -> None:
        """See what another process appended."""
        if self._log is None:
            self._reader.refresh()

    def append(self, batch: Batch, seconds: float) -> Appended:  # noqa: ARG002  a log has no deadline
        """Append as the directory's writer. Raises LockedError when there is another."""
        if self._log is None:
            log = self._log = open_log(self._path)
            self.checkpoint, self.stored_sizes = log.checkpoint, log.stored_sizes
            self.tile, self.bundle = log.tile, log.bundle
        receipt = self._log.append_batch(
            batch.entries,
            identities=batch.identities,
            idempotency_key=batch.key,
            idempotency_keys=batch.keys,
        )
        proof = tuple(receipt[0].proof) if len(receipt) == 1 else None
        return Appended(receipt.indexes, receipt.checkpoint, proof)

    def close(self) -> None:
        """Close the reader, and the writer where there is one."""
        self._reader.close()
        if self._log is not None:
            self._log.close()
