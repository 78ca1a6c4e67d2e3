"""Clients with tokens and certificates before `merklelog serve`, over both doors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import merklelog
from merklelog.client import Client
from merklelog.client.producer_buffer import ProducerOptions
from merklelog.client.producer_targets import open_producer
from merklelog.client.retry import Retry
from merklelog.errors import (
    CertificateError,
    ForbiddenError,
    MerklelogError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)
from tests.servers.security.conftest import Authority
from tests.servers.security.secure import Place, Running

ONCE = Retry(total=60, attempt=30, first=200, most=200)
MODES = (("plain", "grpcio"), ("tls", "native"), ("mutual", "grpcio"), ("mutual", "native"))


@pytest.fixture(scope="module", params=MODES, ids="-".join)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    mode, front = request.param
    folder = tmp_path_factory.mktemp("secure")
    authorities = []
    for name in ("ca", "foreign"):
        (folder / name).mkdir()
        authorities.append(Authority(folder / name, name))
    running = Running(Place(folder, *authorities, mode, front))
    yield running
    running.close()


class Way:
    """How to get to one log of a server by one door."""

    def __init__(self, server: Running, door: str, log: str) -> None:
        self.place = server.place
        safe = "" if self.place.mode == "plain" else "s"
        prefix = f"/{log}/" if door == "http" else ""
        self.target = f"{door}{safe}://127.0.0.1:{server.ports[door]}{prefix}"
        with merklelog.open_reader(self.place.folder / "logs" / log) as reader:
            self.keys = reader.vkeys
        self.words: dict[str, Any] = {"retry": ONCE}
        if self.place.mode != "plain":
            self.words["ca"] = self.place.ca
        if self.place.mode == "mutual":
            self.show("stranger")

    def show(self, name: str) -> None:
        pair = self.place.pairs[name]
        self.words |= {"cert": pair.pem, "key": pair.key}

    def client(self, **more: Any) -> Client:
        return merklelog.connect(self.target, self.keys, **{**self.words, **more})


@pytest.fixture(params=["grpc", "http"])
def way(request: pytest.FixtureRequest, server: Running) -> Way:
    return Way(server, request.param, "closed")


def test_a_token_opens_what_it_is_for(way: Way) -> None:
    tokens = way.place.tokens
    with way.client(token=tokens["closed-read"]) as client:
        size = client.checkpoint().checkpoint.size
        with pytest.raises(ForbiddenError):
            client.append(b"x")
    with way.client() as client, pytest.raises(UnauthenticatedError):
        client.checkpoint()
    for token in ("public-read", "wrong"):
        with way.client(token=tokens[token]) as client, pytest.raises((UnauthenticatedError, ForbiddenError)):
            client.checkpoint()
    with way.client(token=tokens["closed-append"]) as client:
        with pytest.raises(ForbiddenError):
            client.checkpoint()
        with pytest.raises(ForbiddenError, match=rf"stored from index {size} on and not proven.*scope read"):
            client.append_each([b"one", b"two"])


def test_tasks_show_the_same(way: Way) -> None:
    async def ask() -> None:
        words = {**way.words, "token": way.place.tokens["closed-read"]}
        async with await merklelog.connect_async(way.target, way.keys, **words) as client:
            await client.checkpoint()
            with pytest.raises(ForbiddenError):
                await client.append(b"x")

    asyncio.run(ask())


def test_an_append_where_appends_and_reads_are_allowed(server: Running) -> None:
    for door in ("grpc", "http"):
        way = Way(server, door, "public")  # anyone reads it
        with way.client(token=way.place.tokens["public-append"]) as client:
            receipt = client.append(f"by {door}".encode())
            assert receipt.proof is not None
            assert client.entry(receipt.index) == f"by {door}".encode()


def test_a_server_that_nobody_vouches_for(way: Way) -> None:
    if way.place.mode == "plain":
        return  # there are no certificates
    foreign = way.place.folder / "foreign"
    roots = [path for path in foreign.glob("*.pem") if b"CERTIFICATE" in path.read_bytes()]
    for more in ({"ca": None}, {"ca": min(roots)}):
        with way.client(**more) as client, pytest.raises(CertificateError, match="certificate") as error:
            client.checkpoint()
        assert not isinstance(error.value, UnavailableError)
    if not way.target.startswith("grpc"):
        return
    # A producer, which waits for a server that is away, does not wait for one it can not believe.
    words = {name: value for name, value in way.words.items() if name != "retry"}
    patient = ProducerOptions(deadline_seconds=3_600)
    to = open_producer(way.target, way.keys, patient, **{**words, "ca": min(roots)})
    with pytest.raises(CertificateError):
        to.send(b"x").result(60)
    with pytest.raises(CertificateError):
        to.close()


def test_a_certificate_of_ones_own(server: Running) -> None:
    if server.place.mode != "mutual":
        return  # nobody is asked for one
    for door in ("grpc", "http"):
        way = Way(server, door, "closed")
        for name, error in (
            (None, MerklelogError),
            ("foreign", MerklelogError),
            ("stranger", UnauthenticatedError),
        ):
            shown: dict[str, Any] = {"cert": None, "key": None}
            if name is not None:
                shown = {"cert": way.place.pairs[name].pem, "key": way.place.pairs[name].key}
            with way.client(**shown) as client, pytest.raises(error):
                client.checkpoint()
        way.show("known")  # its name is the token
        with way.client() as client:
            client.checkpoint()


def test_tls_where_there_is_none_and_none_where_there_is(server: Running) -> None:
    for door in ("grpc", "http"):
        way = Way(server, door, "closed")
        plain = server.place.mode == "plain"
        target = way.target.replace(door, f"{door}s") if plain else way.target.replace(f"{door}s", door)
        words: dict[str, Any] = {} if not plain else {"ca": server.place.ca}
        with contextlib.closing(merklelog.connect(target, way.keys, retry=ONCE, **words)) as client:
            with pytest.raises(MerklelogError) as error:
                client.checkpoint()
            assert error.value.exit_status in {1, 3}


def test_certificates_that_can_not_be_read(way: Way) -> None:
    if way.place.mode == "plain":
        return  # there are no certificates
    for name in ("ca", "cert"):
        with pytest.raises(UsageError, match=f"{name} .*none"):
            way.client(**{"key": None, name: way.place.folder / "none"})
    if way.place.mode == "mutual":
        with pytest.raises(UsageError, match=r"cert .*do not match"):
            way.client(key=way.place.pairs["known"].key)
