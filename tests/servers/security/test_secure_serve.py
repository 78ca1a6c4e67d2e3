"""A server takes in new tokens and certificates while it serves, and does not start where it should not."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import merklelog
from merklelog.servers.caller import Scope
from merklelog.servers.exposure import WITHOUT_TLS, WITHOUT_TOKENS
from merklelog.servers.tokens import change_tokens
from merklelog.servers.tokens import revoked as as_revoked
from merklelog.v1 import log_pb2 as pb
from tests.servers.security.secure import ROOT, SECONDS, SERVICE, Place, Running, Shown

NOBODY = Shown()
FRONTS = ("grpcio", "native")


def admin_lines(server: Running, log: str, what: str) -> list[dict[str, Any]]:
    text = (server.place.folder / "logs" / log / "admin.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["what"] == what]


def shown_by(server: Running, door: str) -> str:
    """The common name of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(server.place.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", server.ports[door]), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        peer = wrapped.getpeercert()
        assert peer is not None
        return str(dict(part[0] for part in peer["subject"])["commonName"])  # type: ignore[misc]


def wait_for_certificate(server: Running, name: str) -> None:
    """Until both doors show it: for a moment the server before takes connections too."""
    end = time.monotonic() + SECONDS
    while [shown_by(server, door) for door in ("grpc", "http")] != [name, name]:
        assert time.monotonic() < end, f"{name} is never shown"


@pytest.mark.parametrize("front", FRONTS)
def test_tokens_come_and_go_at_sighup(start: Callable[[str, str], Running], front: str) -> None:
    server = start("plain", front)
    doors = ("grpc", "http")
    fresh = Shown(server.place.grant("closed", Scope.APPEND))
    old = Shown("closed-append")
    for door in doors:
        assert server.ask(door, fresh, "closed", "append") == "unauthenticated"
        assert server.ask(door, old, "closed", "append") == "ok"
    # One is revoked, and a log that was open gets its first token.
    first = Shown(server.place.grant("open", Scope.READ))
    revoke(server, "closed", "closed-append")
    for door in doors:
        assert server.ask(door, fresh, "closed", "append") == "ok"
        assert server.ask(door, old, "closed", "append") == "unauthenticated"
        assert server.ask(door, NOBODY, "open", "append") == "unauthenticated"
        assert server.ask(door, first, "open", "append") == "forbidden"
        assert server.ask(door, first, "open", "read") == "ok"


def revoke(server: Running, log: str, token: str) -> None:
    """Take that token back, and have the server see it."""
    shown = server.place.tokens.get(token, token)
    change_tokens(
        server.place.folder / "logs" / log,
        lambda tokens: tuple(as_revoked(each, 1) if each.is_shown_by(shown) else each for each in tokens),
        lambda _tokens: None,
    )
    server.reload()


@pytest.mark.parametrize("front", FRONTS)
def test_what_a_token_began_ends_when_it_is_revoked(start: Callable[[str, str], Running], front: str) -> None:
    server = start("plain", front)
    origin = "example.com/closed"
    reader, writer, other = (
        server.place.grant("closed", scope) for scope in (Scope.READ, Scope.APPEND, Scope.APPEND)
    )
    server.reload()
    channel = server.channel(NOBODY)

    def call(name: str, request: Any, token: str) -> Any:
        metadata = list(server.bearer(token).items())
        kind = channel.stream_stream if name == "AppendStream" else channel.unary_stream
        sent = request if name == "AppendStream" else request.SerializeToString()
        return kind(SERVICE + name)(sent, timeout=SECONDS, metadata=metadata)

    asked: queue.SimpleQueue[pb.AppendStreamRequest | None] = queue.SimpleQueue()
    one = pb.AppendStreamRequest(origin=origin, entries=[pb.NewEntry(data=b"x")])
    requests = (each.SerializeToString() for each in iter(asked.get, None))
    appending = call("AppendStream", requests, writer)
    entries = call("WatchEntries", pb.WatchEntriesRequest(origin=origin), reader)
    checkpoints = call("WatchCheckpoints", pb.WatchCheckpointsRequest(origin=origin), reader)
    events = server.connect(NOBODY)
    events.request("GET", "/closed/events/entries?start=0", headers=server.bearer(reader))
    answer = events.getresponse()
    asked.put(one)
    for stream in (appending, entries, checkpoints):
        assert next(stream)
    while b"event: entry" not in answer.readline():
        pass
    for token in (reader, writer):
        revoke(server, "closed", token)
    asked.put(one)
    assert server.ask("grpc", Shown(other), "closed", "append") == "ok"
    for stream in (appending, entries, checkpoints):
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert answer.read().count(b"event: entry") == 0
    asked.put(None)
    channel.close()
    events.close()


def test_a_file_that_can_not_be_read_changes_nothing(start: Callable[[str, str], Running]) -> None:
    server = start("plain", "grpcio")
    fresh = Shown(server.place.grant("public", Scope.APPEND))
    path = server.place.folder / "logs" / "closed" / "tokens.json"
    kept = path.read_bytes()
    path.write_text("{")
    server.reload()
    server.wait_for(str(path))
    assert server.ask("http", Shown("closed-append"), "closed", "append") == "ok"
    assert server.ask("http", fresh, "public", "append") == "unauthenticated"
    path.write_bytes(kept)
    server.reload()
    assert server.ask("http", fresh, "public", "append") == "ok"


@pytest.mark.parametrize("front", FRONTS)
def test_a_new_certificate_at_sighup(start: Callable[[str, str], Running], front: str) -> None:
    server = start("tls", front)
    assert [shown_by(server, door) for door in ("grpc", "http")] == ["first", "first"]
    channel = server.channel(NOBODY)
    request = pb.WatchEntriesRequest(origin="example.com/open", start=0)
    watch = channel.unary_stream(SERVICE + "WatchEntries")(request.SerializeToString(), timeout=SECONDS)
    assert server.ask("grpc", NOBODY, "open", "append") == "ok"
    assert pb.WatchEntriesResponse.FromString(next(watch)).start == 0

    server.place.show(server.place.authority.server("second"))
    server.reload()
    wait_for_certificate(server, "second")
    for door in ("grpc", "http"):
        assert server.ask(door, NOBODY, "open", "append") == "ok"
    # What was under way goes on.
    assert pb.WatchEntriesResponse.FromString(next(watch)).start == 1
    watch.cancel()
    channel.close()
    told = [line["details"] for line in admin_lines(server, "open", "certificate")]
    assert len(told) == 2
    assert told[0]["fingerprint"] != told[1]["fingerprint"]


@pytest.mark.parametrize("front", FRONTS)
def test_a_new_client_ca_at_sighup(start: Callable[[str, str], Running], front: str, foreign: Any) -> None:
    server = start("mutual", front)
    ca = server.place.folder / "ca.pem"
    own, other = Shown(None, "known"), Shown(None, "foreign")

    def asked() -> list[str]:
        return [
            server.ask(door, each, "closed", "read") for door in ("grpc", "http") for each in (own, other)
        ]

    def come_to(want: list[str]) -> None:
        end = time.monotonic() + SECONDS
        while (got := asked()) != want:  # for a moment the server before takes connections too
            assert time.monotonic() < end, got

    assert asked() == ["ok", "no connection"] * 2
    old = ca.read_bytes()
    ca.write_bytes(foreign.root.pem.read_bytes())
    server.reload()
    come_to(["no connection", "ok"] * 2)
    ca.write_bytes(old + foreign.root.pem.read_bytes())
    server.reload()
    come_to(["ok", "ok"] * 2)
    told = [line["details"]["client_ca"] for line in admin_lines(server, "closed", "certificate")]
    assert len(set(told)) == 3
    # Whether clients must show one at all is settled at the start.
    config = server.place.folder / "server.toml"
    config.write_text(config.read_text().replace("client_ca", "# client_ca"))
    server.reload()
    assert asked() == ["ok", "ok"] * 2
    assert server.ask("http", Shown(None, None), "public", "read") == "no connection"


def test_nothing_is_lost_while_certificates_change(start: Callable[[str, str], Running]) -> None:
    """A connection that has asked nothing yet may be closed; what is stored is what was answered."""
    server = start("tls", "native")
    got: list[str] = []
    ended = threading.Event()

    def ask(door: str) -> None:
        while not ended.is_set():
            got.append(server.ask(door, NOBODY, "open", "append"))

    asking = [threading.Thread(target=ask, args=(door,)) for door in ("grpc", "http", "http")]
    for thread in asking:
        thread.start()
    names = ("second", "third", "fourth")
    for name in names:
        server.place.show(server.place.authority.server(name))
        server.reload()
        wait_for_certificate(server, name)
    ended.set()
    for thread in asking:
        thread.join()
    assert set(got) <= {"ok", "no connection"}
    assert got.count("no connection") <= len(names) * len(asking)
    server.close()
    with merklelog.open_reader(server.place.folder / "logs" / "open") as reader:
        assert reader.size == got.count("ok") > 0


def test_a_certificate_that_can_not_be_leaves_the_old_one(start: Callable[[str, str], Running]) -> None:
    server = start("tls", "grpcio")
    other = server.place.authority.server("other")
    (server.place.folder / "server.key").write_bytes(other.key.read_bytes())
    server.reload()
    server.wait_for("not the key of the certificate")
    assert [shown_by(server, door) for door in ("grpc", "http")] == ["first", "first"]
    expired = server.place.authority.server("expired", days=(-2, -1))
    server.place.show(expired)
    server.reload()
    server.wait_for("expired at")
    assert [shown_by(server, door) for door in ("grpc", "http")] == ["first", "first"]
    assert server.ask("http", NOBODY, "open", "append") == "ok"


def test_what_is_no_handshake_gets_nothing(start: Callable[[str, str], Running]) -> None:
    server = start("tls", "native")
    for port in server.ports.values():
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain:
            plain.sendall(b"GET /open/checkpoint HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                answer = plain.recv(1 << 16)
            except ConnectionError:
                answer = b""
        assert b"example.com" not in answer
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(str(server.place.ca))
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(plain, server_hostname="localhost")
    assert server.ask("http", NOBODY, "open", "append") == "ok"
    assert server.ask("grpc", NOBODY, "open", "append") == "ok"


# --- where it does not start ---


@pytest.fixture
def place(tmp_path: Path, authority: Any, make_authority: Callable[[str], Any]) -> Place:
    made = Place(tmp_path, authority, make_authority("foreign"), "tls", "grpcio")
    shutil.rmtree(tmp_path / "logs" / "open")
    return made


def refusal(place: Place, *words: str, config: bool = True) -> str:
    """What a server says that ends before it serves, with status 2."""
    given = ["--config", str(place.folder / "server.toml")] if config else []
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", "serve", "--root", str(place.folder / "logs"), *given, *words],
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize("door", ["--grpc", "--http"])
def test_beyond_loopback_in_the_clear(place: Place, door: str) -> None:
    said = refusal(place, door, "0.0.0.0:0", "--admin", "", config=False)
    assert "there is no TLS" in said
    assert f'server.without_tls = "{WITHOUT_TLS}"' in said


def test_beyond_loopback_with_a_log_without_tokens(place: Place) -> None:
    open_log = place.folder / "logs" / "open"
    merklelog.create_log(open_log, "example.com/open", settings={"store.min_free_bytes": 0})
    said = refusal(place, "--http", "0.0.0.0:0")
    assert f"{open_log} asks for no token" in said
    assert f'server.without_tokens = "{WITHOUT_TOKENS}"' in said


def test_words_that_are_not_the_words(place: Place) -> None:
    config = place.folder / "server.toml"
    config.write_text(config.read_text().replace("[server]", '[server]\nwithout_tls = "yes"'))
    assert "to the letter" in refusal(place)


def test_files_that_can_not_be(place: Place) -> None:
    place.show(place.authority.server("expired", days=(-2, -1)))
    assert "expired at" in refusal(place)
    place.show(place.authority.server("good"))
    (place.folder / "server.key").chmod(0o644)
    assert "others can use it" in refusal(place)
    (place.folder / "server.key").unlink()
    assert "server.key: No such file" in refusal(place)


def test_beyond_loopback_with_tls_and_tokens(place: Place) -> None:
    config = place.folder / "server.toml"
    config.write_text(config.read_text().replace('"127.0.0.1:0"', '"0.0.0.0:0"'))
    server = Running(place)
    try:
        for door in ("grpc", "http"):
            assert server.ask(door, Shown("closed-append"), "closed", "append") == "ok"
            assert server.ask(door, NOBODY, "closed", "append") == "unauthenticated"
            assert server.ask(door, NOBODY, "public", "read") == "ok"
        # A log below the root that asks for no token is not taken in while it serves either.
        merklelog.create_log(
            place.folder / "logs" / "open", "example.com/open", settings={"store.min_free_bytes": 0}
        )
        server.reload()
        server.wait_for("asks for no token")
        assert server.ask("grpc", NOBODY, "open", "read") == "not_found"
        assert server.ask("http", NOBODY, "open", "read") == "404"
    finally:
        server.close()
