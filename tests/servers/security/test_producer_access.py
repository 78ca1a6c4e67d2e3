"""A producer at a server that asks for TLS, certificates and tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import merklelog
from merklelog.client import Producer, ProducerOptions, open_producer
from merklelog.errors import ForbiddenError, MerklelogError, UnauthenticatedError, UnreachableError
from merklelog.servers.caller import Scope
from tests.servers.security.secure import Running

SECONDS = 60


def producer(
    server: Running, token: str | None, options: ProducerOptions | None = None, **more: Any
) -> Producer:
    """For the log "closed", as the holder of a token; over TLS the server's own authority is trusted."""
    place = server.place
    with merklelog.open_reader(place.folder / "logs" / "closed") as log:
        trust = log.vkeys
    scheme = "grpc"
    if place.mode != "plain":
        scheme, more = "grpcs", {"ca": place.ca, **more}
    if place.mode == "mutual":
        pair = place.pairs["stranger"]
        more = {"cert": pair.pem, "key": pair.key, **more}
    shown = None if token is None else place.tokens[token]
    target = f"{scheme}://127.0.0.1:{server.ports['grpc']}"
    return open_producer(target, trust, options or ProducerOptions(), token=shown, **more)


def outcome(made: Producer) -> MerklelogError | None:
    """What comes of one entry."""
    error = made.send(b"an entry").exception(SECONDS)
    with suppress(MerklelogError):  # the same one
        made.close()
    return error


@pytest.mark.parametrize(("mode", "front"), [("plain", "grpcio"), ("tls", "native"), ("mutual", "grpcio")])
def test_a_producer_shows_its_token_and_certificate(
    start: Callable[[str, str], Running], mode: str, front: str
) -> None:
    server = start(mode, front)
    assert isinstance(outcome(producer(server, None)), UnauthenticatedError)
    assert isinstance(outcome(producer(server, "wrong")), UnauthenticatedError)
    assert isinstance(outcome(producer(server, "closed-read")), ForbiddenError)
    assert isinstance(outcome(producer(server, "public-append")), ForbiddenError)
    # Alone with the log from its beginning, nothing needs to be read.
    assert outcome(producer(server, "closed-append")) is None
    # Behind what others appended, it does.
    assert isinstance(outcome(producer(server, "closed-append")), ForbiddenError)
    server.place.tokens["both"] = server.place.grant("closed", Scope.APPEND, Scope.READ)
    server.reload()
    assert outcome(producer(server, "both")) is None


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_server_that_another_authority_vouches_for_gets_nothing(
    start: Callable[[str, str], Running], front: str
) -> None:
    server = start("tls", front)
    foreign = server.place.pairs["foreign"].pem  # no authority of this server
    made = producer(server, "closed-append", ProducerOptions(deadline_seconds=2), ca=foreign)
    assert isinstance(outcome(made), UnreachableError)
    with merklelog.open_reader(server.place.folder / "logs" / "closed") as log:
        assert log.size == 0
