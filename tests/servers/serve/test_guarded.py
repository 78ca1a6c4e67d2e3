"""Tokens and certificates of a server that runs: what a reload puts into force, and what it leaves as it was."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import merklelog
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token, revoked

Serve = Callable[..., Any]
MakeLog = Callable[..., Path]
RELOADED = "SIGHUP: reloaded"


def add_token(log: Path, name: str, *scopes: Scope) -> str:
    kept, shown = make_token(name, scopes, int(time.time()))
    change_tokens(log, lambda tokens: (*tokens, kept), lambda tokens: None)
    assert shown is not None
    return shown


def revoke_all(log: Path) -> None:
    now = int(time.time())
    change_tokens(log, lambda tokens: tuple(revoked(each, now) for each in tokens), lambda tokens: None)


def reload(server: Any, count: int = 1) -> int:
    server.send(signal.SIGHUP)
    return int(server.wait_for(RELOADED, count)["failures"])


def test_tokens_count_from_the_reload_on(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("guarded")
    server = serve(log).ready()
    assert server.ask("POST", "/add", b"open")[0] == 200
    token = add_token(log, "writer", Scope.APPEND)
    assert server.ask("POST", "/add", b"open still")[0] == 200
    assert reload(server) == 0
    assert server.ask("POST", "/add", b"closed")[0] == 401
    with pytest.raises(grpc.RpcError) as caught:
        server.append(b"closed")
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert server.ask("POST", "/add", b"mine", Authorization=f"Bearer {token}")[0] == 200
    assert server.ask("GET", "/checkpoint", Authorization=f"Bearer {token}")[0] == 403
    revoke_all(log)
    assert reload(server, 2) == 0
    assert server.ask("POST", "/add", b"gone", Authorization=f"Bearer {token}")[0] == 401
    assert server.stop() == 0


def test_who_may_read_is_read_again(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("read")
    add_token(log, "writer", Scope.APPEND)
    server = serve(log).ready()
    assert server.ask("GET", "/checkpoint")[0] == 401
    file = log / "merklelog.toml"
    file.write_text(file.read_text().replace('# read = "auto"', 'read = "public"'))
    assert reload(server) == 0
    assert server.ask("GET", "/checkpoint")[0] == 200
    assert server.ask("POST", "/add", b"x")[0] == 401
    assert server.stop() == 0


def test_tokens_that_can_not_be_read_change_nothing(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("kept")
    token = add_token(log, "writer", Scope.APPEND)
    server = serve(log).ready()
    (log / "tokens.json").write_text("{")
    assert reload(server) == 1
    assert str(log / "tokens.json") in server.wait_for("reload:")["message"]
    assert server.ask("POST", "/add", b"x", Authorization=f"Bearer {token}")[0] == 200
    assert server.ask("POST", "/add", b"x")[0] == 401
    assert server.stop() == 0


def test_configuration_is_noted_once_and_when_it_changed(serve: Serve, make_log: MakeLog) -> None:
    log = make_log("noted")

    def noted() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (log / "admin.jsonl").read_text().splitlines()]
        return [each["details"] for each in lines if each["what"] == "configuration"]

    for _ in range(2):
        assert serve(log).ready().stop() == 0
    assert len(noted()) == 1
    assert noted()[0]["server.http"] == "127.0.0.1:0"
    assert noted()[0]["origin"] == "example.com/noted"
    assert serve("--log-format", "json", log, MERKLELOG_LIMITS__CALLS="9").ready().stop() == 0
    assert len(noted()) == 2
    assert noted()[1]["limits.calls"] == 9


# --- certificates ------------------------------------------------------------------------------------------------


def issue(folder: Path, days: int = 30) -> bytes:
    """A self-signed certificate for this machine in folder/c.pem and k.pem; gives its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=60))
    builder = builder.not_valid_after(now + timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName(local), critical=False)
    made = builder.sign(key, hashes.SHA256())
    (folder / "k.pem").touch(0o600)
    (folder / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "c.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return made.fingerprint(hashes.SHA256())


def shown(server: Any, door: str) -> bytes:
    """The fingerprint of the certificate that a new connection is shown."""
    host, _, port = server.addresses[door].rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return hashlib.sha256(der).digest()


@pytest.mark.parametrize("front", ["grpcio", "native"])
def test_a_new_certificate_is_shown_from_the_reload_on(
    serve: Serve, make_log: MakeLog, tmp_path: Path, front: str
) -> None:
    log = make_log("tls")
    first = issue(tmp_path)
    (tmp_path / "server.toml").write_text(
        f"[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\n[server]\ngrpc_front = '{front}'\n"
    )
    server = serve(log, "--config", tmp_path / "server.toml").ready()
    assert shown(server, "http") == shown(server, "grpc") == first
    context = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
    answered, wrong = 0, []
    done = threading.Event()
    host, _, port = server.addresses["http"].rpartition(":")

    def load() -> None:
        """Appends all the while, on a connection that is made anew when the server ends it."""
        nonlocal answered
        while not done.is_set() and not wrong:
            with closing(http.client.HTTPSConnection(host, int(port), context=context)) as connection:
                try:
                    while not done.is_set():
                        connection.request("POST", "/add", b"x")
                        answer = connection.getresponse()
                        answer.read()
                        if answer.status != 200:
                            wrong.append(answer.status)
                        answered += 1
                except ssl.SSLCertVerificationError:
                    return  # the new certificate is not the one this client trusts
                except (OSError, http.client.HTTPException):
                    continue  # it was ended between two requests

    worker = threading.Thread(target=load)
    worker.start()
    while answered < 3:
        assert worker.is_alive()
    second = issue(tmp_path)
    assert reload(server) == 0
    assert shown(server, "http") == shown(server, "grpc") == second
    done.set()
    worker.join(120)
    assert not worker.is_alive(), "an append was neither answered nor cut off"
    assert wrong == []
    issue(tmp_path, days=-1)
    assert reload(server, 2) == 1
    assert "expired" in server.wait_for("reload:")["message"]
    assert shown(server, "http") == shown(server, "grpc") == second
    lines = [json.loads(line) for line in (log / "admin.jsonl").read_text().splitlines()]
    noted = [each["details"]["fingerprint"] for each in lines if each["what"] == "certificate"]
    assert noted == [first.hex(), second.hex()]
    assert server.stop() == 0
    with merklelog.open_reader(log) as reader:
        assert reader.size == answered, "stored, and its answer never came"


def test_metrics_tell_when_certificates_end(serve: Serve, make_log: MakeLog, tmp_path: Path) -> None:
    issue(tmp_path)
    made = x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    (tmp_path / "server.toml").write_text("[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\n")
    words = ["--admin", "127.0.0.1:0", "--config", tmp_path / "server.toml"]
    server = serve(*words, make_log("ends")).ready()
    text = server.ask("GET", "/metrics", door="admin")[1].decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    ends = float(lines['merklelog_certificate_expiry_timestamp_seconds{certificate="server"}'])
    assert ends == made.not_valid_after_utc.timestamp()
    assert server.stop() == 0


def test_a_certificate_that_can_not_be_used_keeps_it_from_starting(
    serve: Serve, make_log: MakeLog, tmp_path: Path
) -> None:
    issue(tmp_path, days=-1)
    (tmp_path / "server.toml").write_text("[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\n")
    server = serve(make_log("tls"), "--config", tmp_path / "server.toml")
    assert server.wait() == 2
    assert f"{tmp_path}/c.pem: " in "".join(server.raw)


@pytest.mark.parametrize("names", ["", "log.example.com"])
def test_on_loopback_it_answers_to_its_own_names(serve: Serve, make_log: MakeLog, names: str) -> None:
    """A name that someone lets lead here makes their page one of this server; it is told that it is not."""
    words = (make_log("named"), "--admin", "127.0.0.1:0")
    server = serve(*words, MERKLELOG_SERVER__NAMES=names).ready()
    for door, path in (("http", "/checkpoint"), ("admin", "/metrics"), ("admin", "/readyz")):
        assert server.ask("GET", path, door=door)[0] == 200
        assert server.ask("GET", path, door=door, Host="localhost:1")[0] == 200
        status, body = server.ask("GET", path, door=door, Host="evil.example")
        assert (status, json.loads(body)["reason"]) == (403, "FORBIDDEN")
        expected = 200 if names else 403
        assert server.ask("GET", path, door=door, Host="log.example.com")[0] == expected
    assert server.ask("POST", "/add", b"x", Host="evil.example")[0] == 403
    assert server.ask("POST", "/add", b"x") == (200, b"0\n")
    assert server.stop() == 0
