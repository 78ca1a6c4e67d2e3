"""`merklelog.connect`: from the name of a log and whom to believe to a client of it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from merklelog.client.access import Access
from merklelog.client.believed import Believed, ReceiptKeys, Trusted, believed
from merklelog.client.cached import CachedSource
from merklelog.client.drive import drive
from merklelog.client.local import local_transport
from merklelog.client.remote import AsyncClient, Client
from merklelog.client.retry import Retry
from merklelog.client.state import StateFile
from merklelog.client.steps import unverified
from merklelog.client.targets import GRPC_SCHEMES, HTTP_SCHEMES, S3_SCHEMES, open_target, scheme_of
from merklelog.client.tile_transport import TileTransport
from merklelog.client.transport import Transport
from merklelog.client.trust import Trust
from merklelog.errors import UsageError
from merklelog.formats.policy import Policy
from merklelog.log import LogReader

if TYPE_CHECKING:
    from merklelog.publish.s3_options import S3Options

_WANT: Final = "give its verifier keys (what `merklelog vkey` prints, got in a way you trust), or a policy"


class Connecting(TypedDict, total=False):
    """What `connect` and `connect_async` take by name; each may be left out.

    receipt_key    the log's receipt key, for who trusts a policy, which has none
    state          a file in which the newest verified checkpoint is kept, so that the log is held to it for ever
    token, ca, cert, key, token_in_clear, s3    how to get to a server or a bucket: see Access
    origin         the log on a server of several; without it the only one of the policy is meant
    retry          how long to go on when a server can not answer
    poll           how many seconds apart to look for what is new where a target can not tell (0.2)
    cache          a directory for the tiles of this one log that come over a network, beside those kept in memory
    """

    receipt_key: ReceiptKeys | None
    state: str | os.PathLike[str] | None
    token: str | None
    ca: str | os.PathLike[str] | None
    cert: str | os.PathLike[str] | None
    key: str | os.PathLike[str] | None
    token_in_clear: bool
    s3: S3Options | None
    origin: str | None
    retry: Retry | None
    poll: float
    cache: str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A target, whom to believe about it, and the rest of what `connect` was told."""

    target: str
    believed: Believed | None
    access: Access
    state: str | os.PathLike[str] | None = None
    origin: str | None = None
    poll: float = 0.2
    cache: str | os.PathLike[str] | None = None

    @property
    def scheme(self) -> str | None:
        """See `scheme_of`."""
        return scheme_of(self.target)

    def trust(self, own: Believed | None = None) -> Trust:
        """What to hold answers against; `own` is what a target says that is believed itself. Raises UsageError."""
        found = self.believed or own
        if found is None:
            raise UsageError(f"{self.target}: who signs this log? {_WANT}")
        state = None if self.state is None else StateFile(self.state)
        return Trust(found.policy, state, found.receipt_keys)

    def origin_of(self, trust: Trust) -> str:
        """The log's name for a server; empty where nobody knows it."""
        return self.origin if self.origin is not None else trust.origin or ""


def connect(
    target: str | os.PathLike[str], trust: Trusted | None = None, **options: Unpack[Connecting]
) -> Client:
    """A client of the log at `target`.

    A target is grpc(s)://host:port, http(s)://host/prefix, s3://bucket/prefix, a data directory or dir:PATH.
    `trust` is whom to believe: verifier keys of the log (any one is enough), a policy, or the path of a file with
    either; a data directory alone needs none, it has its own. The `options` are those of Connecting.

    Nothing is asked of a server yet. Raises UsageError, KeyFormatError and PolicyError for what can not be meant,
    what opening a directory or a bucket raises, and what a state file does that can not be believed.
    """
    connection = _connection(target, trust, options)
    transport, trusted = _open(connection)
    return Client(transport, trusted, connection.access.retry, connection.target)


async def connect_async(
    target: str | os.PathLike[str], trust: Trusted | None = None, **options: Unpack[Connecting]
) -> AsyncClient:
    """The same for tasks: see `connect`. The client is for the running event loop."""
    connection = _connection(target, trust, options)
    retry = connection.access.retry
    if connection.scheme in GRPC_SCHEMES:
        from merklelog.client.grpc_aio import GrpcAioTransport
        from merklelog.client.grpc_wire import place_of

        place = place_of(connection.target, connection.access)
        trusted = connection.trust()
        channel = GrpcAioTransport(place, connection.origin_of(trusted))
        return AsyncClient(channel, trusted, retry, connection.target)
    from merklelog.client.threaded import ThreadedTransport

    transport, trusted = _open(connection)
    return AsyncClient(ThreadedTransport(transport), trusted, retry, connection.target)


def connect_with(
    target: str,
    trust: Believed | Policy | None,
    access: Access,
    *,
    state: str | os.PathLike[str] | None = None,
    poll: float = 0.2,
) -> Client:
    """`connect` for who has the access together already."""
    found = Believed(trust) if isinstance(trust, Policy) else trust
    transport, trusted = _open(Connection(target, found, access, state, poll=poll))
    return Client(transport, trusted, access.retry, target)


def _connection(target: str | os.PathLike[str], trust: Trusted | None, options: Connecting) -> Connection:
    if unknown := options.keys() - Connecting.__annotations__.keys():
        raise TypeError(f"connect() got an unexpected keyword argument {min(unknown)!r}")
    access = Access(
        options.get("token"),
        options.get("ca"),
        options.get("cert"),
        options.get("key"),
        options.get("token_in_clear", False),
        options.get("retry") or Retry(),
        options.get("s3"),
    )
    return Connection(
        os.fspath(target),
        None if trust is None else believed(trust, options.get("receipt_key")),
        access,
        options.get("state"),
        options.get("origin"),
        options.get("poll", 0.2),
        options.get("cache"),
    )


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


def _open(connection: Connection) -> tuple[Transport, Trust]:
    target, access = connection.target, connection.access
    if connection.scheme in GRPC_SCHEMES:
        from merklelog.client.grpc_transport import GrpcTransport
        from merklelog.client.grpc_wire import place_of

        place = place_of(target, access)
        trusted = connection.trust()
        return GrpcTransport(place, connection.origin_of(trusted)), trusted
    if connection.scheme in HTTP_SCHEMES:
        from merklelog.client.http_source import HttpObjects, HttpSource
        from merklelog.client.posting import post_to

        objects = HttpObjects(target, access, retry=False)
        trusted = connection.trust()
        tiles = CachedSource(HttpSource(objects), directory=connection.cache)
        return TileTransport(tiles, append=post_to(objects), cache=tiles, poll=connection.poll), trusted
    if connection.scheme in S3_SCHEMES:
        trusted = connection.trust()
        bucket = CachedSource(open_target(target, access), directory=connection.cache)
        return TileTransport(bucket, cache=bucket, poll=connection.poll), trusted
    source = open_target(target)
    try:
        own = believed(source.vkeys, source.receipt_vkey) if isinstance(source, LogReader) else None
        return local_transport(source, connection.poll), connection.trust(own)
    except BaseException:
        source.close()
        raise
