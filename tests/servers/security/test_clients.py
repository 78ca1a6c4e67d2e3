"""This project's own clients against a server that asks for certificates and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import merklelog
from merklelog.client import Retry
from merklelog.errors import (
    ForbiddenError,
    MerklelogError,
    UnauthenticatedError,
    UnreachableError,
)
from merklelog.formats import format_vkey
from merklelog.servers.caller import Scope
from tests.servers.security.secure import Running

QUICK = Retry(total=2.0)


class Visitor:
    """Clients of the log "closed" on one server."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.token = server.place.grant("closed", Scope.APPEND, Scope.READ)
        server.reload()
        with merklelog.open_reader(server.place.folder / "logs" / "closed") as reader:
            self.vkeys = [format_vkey(key) for key in reader.vkeys]

    def target(self, door: str) -> str:
        if door == "grpc":
            return f"grpcs://localhost:{self.server.ports['grpc']}"
        return f"https://localhost:{self.server.ports['http']}/closed"

    def options(self, **changed: Any) -> dict[str, Any]:
        pair = self.server.place.pairs["stranger"]
        given = {
            "token": self.token,
            "ca": self.server.place.ca,
            "cert": pair.pem,
            "key": pair.key,
            **changed,
        }
        return {"trust": self.vkeys, **{k: v for k, v in given.items() if v is not None}}


@pytest.fixture(scope="module", params=["grpcio", "native"])
def visitor(request: pytest.FixtureRequest, start: Callable[[str, str], Running]) -> Visitor:
    return Visitor(start("mutual", request.param))


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_a_client_that_shows_all_it_should(visitor: Visitor, door: str) -> None:
    with merklelog.connect(visitor.target(door), **visitor.options()) as log:
        receipt = log.append(b"over TLS")
        assert log.entry(receipt.index) == b"over TLS"

    async def later() -> bytes:
        async with await merklelog.connect_async(visitor.target(door), **visitor.options()) as twin:
            return bytes(await twin.entry(receipt.index))

    assert asyncio.run(later()) == b"over TLS"


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_a_certificate_stands_for_a_token(visitor: Visitor, door: str) -> None:
    pair = visitor.server.place.pairs["known"]
    given = visitor.options(token=None, cert=pair.pem, key=pair.key)
    with merklelog.connect(visitor.target(door), **given) as log:
        assert log.checkpoint()
        with pytest.raises(ForbiddenError):
            log.append(b"x")


@pytest.mark.parametrize("door", ["grpc", "http"])
@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"token": None}, UnauthenticatedError),
        ({"token": "mlt_0123456789abcdef_" + "A" * 43}, UnauthenticatedError),
        ({"cert": None, "key": None}, UnreachableError),
        ({"ca": "foreign"}, UnreachableError),
        ({"ca": None}, UnreachableError),
        ({"cert": "foreign"}, UnreachableError),
        ({"cert": "expired"}, UnreachableError),
    ],
)
def test_a_client_that_shows_less(
    visitor: Visitor, foreign: Any, door: str, changed: dict[str, Any], error: type[MerklelogError]
) -> None:
    if changed.get("ca") == "foreign":
        changed = {"ca": foreign.root.pem}
    if changed.get("cert"):
        pair = visitor.server.place.pairs[changed["cert"]]
        changed = {"cert": pair.pem, "key": pair.key}
    if error is UnreachableError:
        changed = {**changed, "retry": QUICK}
    given = {k: v for k, v in {**visitor.options(), **changed}.items() if v is not None}
    with merklelog.connect(visitor.target(door), **given) as log, pytest.raises(error):
        log.checkpoint()
