"""From the name of a log, and whom to believe, to a producer for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypedDict, Unpack

from merklelog.client.access import Access
from merklelog.client.believed import ReceiptKeys, Trusted, believed
from merklelog.client.state import StateFile
from merklelog.client.targets import GRPC_SCHEMES, scheme_of
from merklelog.client.trust import Trust
from merklelog.errors import UsageError

from .producer import Producer
from .producer_buffer import ProducerOptions
from .producer_transport import Sender

_DEFAULTS: Final = ProducerOptions()


class Connection(TypedDict, total=False):
    """How to get to a server, and where to remember its log: the arguments of `connect` by these names."""

    receipt_key: ReceiptKeys | None
    state: str | os.PathLike[str] | None
    token: str | None
    ca: str | os.PathLike[str] | None
    cert: str | os.PathLike[str] | None
    key: str | os.PathLike[str] | None
    token_in_clear: bool
    origin: str | None


def open_producer(
    target: str, trust: Trusted, options: ProducerOptions = _DEFAULTS, **connection: Unpack[Connection]
) -> Producer:
    """A producer for the log at grpc(s)://host:port; `trust` and the rest are as for `connect`.

    The policy must be met by the log's own signature: what a log has just signed, no witness has cosigned yet. A
    token needs the scope `append`, and `read` too unless nobody else appends to a log without publish targets.
    Nothing is asked of the server yet.
    Raises UsageError, KeyFormatError and PolicyError for what can not be meant, and what a state file does that
    can not be believed.
    """
    return producer_maker(target, trust, options, **connection)()


def producer_maker(
    target: str,
    trust: Trusted,
    options: ProducerOptions,
    *,
    close_at_exit: bool = True,
    **connection: Unpack[Connection],
) -> Callable[[], Producer]:
    """What `open_producer` does, in two steps: raises now what it would, and makes a producer when called."""
    if scheme_of(target) not in GRPC_SCHEMES:
        raise UsageError(f"target {target[:200]!a}: a producer takes grpc://host:port or grpcs://host:port")
    from merklelog.client.grpc_wire import place_of
    from merklelog.client.producer_stream import GrpcStream

    state, origin = connection.get("state"), connection.get("origin")
    access = Access(
        connection.get("token"),
        connection.get("ca"),
        connection.get("cert"),
        connection.get("key"),
        connection.get("token_in_clear", False),
    )
    place = place_of(target, access)
    whom = believed(trust, connection.get("receipt_key"))

    def make() -> Producer:
        trusted = Trust(whom.policy, None if state is None else StateFile(state), whom.receipt_keys)
        name = origin if origin is not None else trusted.origin or ""

        def connect() -> Sender:
            return GrpcStream(place, name)

        return Producer(connect, trusted, options, close_at_exit=close_at_exit)

    return make
