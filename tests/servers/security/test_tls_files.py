"""A server's certificate, key and client CA: what is wrong with them is said when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from merklelog.errors import ConfigError, KeyFileError
from merklelog.servers.peer import asgi_client_name, client_name, grpc_client_name
from merklelog.servers.tls import TlsFiles, h2corn_settings


def test_what_a_good_pair_says(authority: Any) -> None:
    pair = authority.server()
    found = TlsFiles(pair.pem, pair.key).load()
    assert found.names == ("localhost", "127.0.0.1")
    assert found.not_before < datetime.now(UTC) < found.not_after
    assert found.certificate == pair.pem.read_bytes()
    assert found.key == pair.key.read_bytes()
    assert found.client_ca is None
    assert "PRIVATE" not in repr(found)
    told = found.details()
    assert told["fingerprint"] == found.fingerprint
    assert len(found.fingerprint) == 64
    assert told["client_ca"] is None


def test_a_chain_and_a_client_ca(authority: Any, tmp_path: Path) -> None:
    between = authority.issue("between", ca=True)
    pair = authority.server(issuer=between)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pair.pem.read_bytes() + between.pem.read_bytes())
    found = TlsFiles(chain, pair.key, authority.root.pem).load()
    assert found.client_ca == authority.root.pem.read_bytes()
    assert len(str(found.details()["client_ca"])) == 64
    chain.write_bytes(between.pem.read_bytes() + pair.pem.read_bytes())
    with pytest.raises(ConfigError, match="certificate 2 of 2 did not issue the one before it"):
        TlsFiles(chain, between.key).load()


def test_a_key_of_another_certificate(authority: Any) -> None:
    pair, other = authority.server(), authority.server()
    with pytest.raises(KeyFileError, match=f"{other.key}: not the key of the certificate in {pair.pem}"):
        TlsFiles(pair.pem, other.key).load()


def test_times(authority: Any) -> None:
    pair = authority.server(days=(1, 2))
    files = TlsFiles(pair.pem, pair.key)
    with pytest.raises(ConfigError, match=r"CN=server counts from .* on"):
        files.load()
    ending = pair.certificate.not_valid_after_utc
    assert files.load(ending - timedelta(seconds=1)).not_after == ending
    with pytest.raises(ConfigError, match="expired at"):
        files.load(ending)


def test_a_ca_that_expired(authority: Any) -> None:
    pair = authority.server()
    old = authority.issue("old", ca=True, days=(-2, -1))
    with pytest.raises(ConfigError, match=f"{old.pem}: the certificate of CN=old expired"):
        TlsFiles(pair.pem, pair.key, old.pem).load()


@pytest.mark.parametrize("ca", [False, None])
def test_a_client_ca_that_is_none(authority: Any, ca: bool | None) -> None:
    pair = authority.server()
    other = authority.issue("no-ca", ca=ca)
    with pytest.raises(ConfigError, match="CN=no-ca is no CA's"):
        TlsFiles(pair.pem, pair.key, other.pem).load()


def test_a_certificate_without_a_name_or_for_clients(authority: Any) -> None:
    nameless = authority.issue("server")
    with pytest.raises(ConfigError, match="no DNS name and no IP address"):
        TlsFiles(nameless.pem, nameless.key).load()
    client = authority.issue("c", x509.DNSName("c"), usage=[ExtendedKeyUsageOID.CLIENT_AUTH])
    with pytest.raises(ConfigError, match="not for servers"):
        TlsFiles(client.pem, client.key).load()
    either = authority.issue("c", x509.DNSName("c"), usage=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    assert TlsFiles(either.pem, either.key).load().names == ("c",)


def test_files_that_are_not_there_or_not_pem(authority: Any, tmp_path: Path) -> None:
    pair = authority.server()
    missing, empty, large = tmp_path / "missing", tmp_path / "empty", tmp_path / "large"
    empty.touch(0o600)
    large.touch(0o600)
    large.write_bytes(b"x" * (1 << 20 | 1))
    for bad in (missing, empty, large, tmp_path):
        with pytest.raises(ConfigError, match=str(bad)):
            TlsFiles(bad, pair.key).load()
        with pytest.raises(KeyFileError, match=str(bad)):
            TlsFiles(pair.pem, bad).load()
        with pytest.raises(ConfigError, match=str(bad)):
            TlsFiles(pair.pem, pair.key, bad).load()


def test_a_key_that_others_can_use(authority: Any) -> None:
    pair = authority.server()
    for mode in (0o604, 0o620, 0o602):
        pair.key.chmod(mode)
        with pytest.raises(KeyFileError, match=f"mode is {mode:04o}"):
            TlsFiles(pair.pem, pair.key).load()
    pair.key.chmod(0o640)
    TlsFiles(pair.pem, pair.key).load()


def test_a_key_with_a_passphrase(authority: Any) -> None:
    pair = authority.server()
    locked = pair.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    pair.key.write_bytes(locked)
    with pytest.raises(KeyFileError, match="encrypted"):
        TlsFiles(pair.pem, pair.key).load()


def test_a_pipe_is_not_waited_for(authority: Any, tmp_path: Path) -> None:
    pair = authority.server()
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError):
        TlsFiles(pair.pem, tmp_path / "pipe").load()
    with pytest.raises(ConfigError):
        TlsFiles(tmp_path / "pipe", pair.key).load()


def test_what_h2corn_is_told(authority: Any) -> None:
    pair = authority.server()
    assert h2corn_settings(None) == {}
    assert h2corn_settings(TlsFiles(pair.pem, pair.key)) == {"certfile": pair.pem, "keyfile": pair.key}
    mutual = h2corn_settings(TlsFiles(pair.pem, pair.key, authority.root.pem))
    assert mutual["cert_reqs"] == "required"
    assert mutual["ca_certs"] == authority.root.pem


URI, DNS = x509.UniformResourceIdentifier("spiffe://example.com/a"), x509.DNSName("a.example.com")
EMAIL = x509.RFC822Name("a@example.com")


@pytest.mark.parametrize(
    ("common", "alternatives", "want"),
    [
        ("a", (), "CN:a"),
        ("a", (DNS,), "DNS:a.example.com"),
        ("a", (DNS, URI, EMAIL), "URI:spiffe://example.com/a"),
        ("a", (EMAIL, DNS), "DNS:a.example.com"),
        ("a", (EMAIL,), "email:a@example.com"),
        ("", (), None),
        ("a\nb", (), None),
        ("URI:spiffe://example.com/a", (), "CN:URI:spiffe://example.com/a"),
    ],
)
def test_the_name_of_a_client(
    authority: Any, common: str, alternatives: tuple[x509.GeneralName, ...], want: str | None
) -> None:
    pem = authority.issue(common, *alternatives).pem.read_bytes()
    assert client_name(pem) == want
    chain = (pem.decode(), authority.root.pem.read_text())
    assert asgi_client_name({"extensions": {"tls": {"client_cert_chain": chain}}}) == want
    assert grpc_client_name({"x509_pem_cert": [pem]}) == want


def test_no_certificate_no_name() -> None:
    assert asgi_client_name({}) is None
    assert asgi_client_name({"extensions": {"tls": {"client_cert_chain": ()}}}) is None
    assert grpc_client_name({}) is None
    assert client_name("no PEM") is None


def test_two_authorities_are_two(make_authority: Callable[[str], Any], authority: Any) -> None:
    other = make_authority("other")
    pair = authority.server()
    one = TlsFiles(pair.pem, pair.key, authority.root.pem).load().details()
    two = TlsFiles(pair.pem, pair.key, other.root.pem).load().details()
    assert one["fingerprint"] == two["fingerprint"]
    assert one["client_ca"] != two["client_ca"]
