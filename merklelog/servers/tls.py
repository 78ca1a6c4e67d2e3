"""The certificate a server shows, its key, and the CA its clients' certificates must come from.

Everything is checked when it is read, at the start and at each reload, so that a mistake is a sentence there and
not a failed handshake later. With a client CA every client must show a certificate: grpcio knows no other way.

gRPC on grpcio takes new certificates without a restart: each new connection is given the newest. h2corn reads its
files once; a second server on the same listening socket takes over (`fd://`), and the first drains. In both,
connections that are open go on with what they were opened with.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from merklelog.errors import ConfigError, KeyFileError

from .peer import alternatives

MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What one load found, in PEM, and what it says: names, times and the leaf's SHA-256 fingerprint in hex."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_ca: bytes | None = field(repr=False)
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str

    def details(self) -> dict[str, str | int | bool | list[str] | None]:
        """As a line of admin.jsonl tells it."""
        return {
            "fingerprint": self.fingerprint,
            "names": list(self.names),
            "not_after": self.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "client_ca": None if self.client_ca is None else _fingerprint_of(self.client_ca),
        }


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a server's certificate chain, its key and, for mutual TLS, its clients' CA are: PEM files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self, now: datetime | None = None) -> TlsMaterial:
        """Read and check the files. Raises ConfigError, and KeyFileError for the key, naming the file."""
        at = datetime.now(UTC) if now is None else now
        chain, key = _read(self.certificate), _read(self.key, private=True)
        ca = None if self.client_ca is None else _read(self.client_ca)
        leaf = _check_chain(self.certificate, _certificates(self.certificate, chain), at)
        _check_key(self.key, key, self.certificate, leaf)
        if ca is not None and self.client_ca is not None:
            _check_ca(self.client_ca, _certificates(self.client_ca, ca), at)
        return TlsMaterial(
            chain,
            key,
            ca,
            _server_names(leaf),
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
            leaf.fingerprint(hashes.SHA256()).hex(),
        )


def authorities(material: TlsMaterial) -> list[x509.Certificate]:
    """The certificates that clients' must come from; none where clients show none."""
    return [] if material.client_ca is None else x509.load_pem_x509_certificates(material.client_ca)


def h2corn_settings(files: TlsFiles | None) -> dict[str, Any]:
    """The TLS settings of h2corn's Config: it reads the files itself, once."""
    if files is None:
        return {}
    settings: dict[str, Any] = {"certfile": files.certificate, "keyfile": files.key}
    if files.client_ca is not None:
        settings |= {"ca_certs": files.client_ca, "cert_reqs": "required"}
    return settings


def grpc_credentials(current: Callable[[], TlsMaterial]) -> grpc.ServerCredentials:
    """Credentials for grpcio: `current` is asked at each new connection, from grpcio's threads.

    Whether clients must show a certificate is settled now, and does not change later.
    """
    first = current()

    def configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
        pair = (material.key, material.certificate)
        return grpc.ssl_server_certificate_configuration([pair], material.client_ca)

    shown = first

    def newest() -> Any:
        nonlocal shown
        material = current()
        if material is shown:
            return None  # grpcio goes on with what it has; its type stubs know nothing of that
        shown = material
        return configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        configuration(first), newest, require_client_authentication=first.client_ca is not None
    )


# --- reading and checking ----------------------------------------------------------------------------------------


def _read(path: Path, *, private: bool = False) -> bytes:
    """A file's bytes. Raises ConfigError, or KeyFileError for a private one."""
    failure = KeyFileError if private else ConfigError
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise failure(f"{path}: not a file")
            if private:
                _check_mode(path, handle, status)
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise failure(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise failure(f"{path}: over {MAX_BYTES:,} bytes")
    return data


def _check_mode(path: Path, handle: int, status: os.stat_result) -> None:
    ours = status.st_uid == os.geteuid() and not os.fstatvfs(handle).f_flag & os.ST_RDONLY
    # A group may read it, as that of the certificates does on Debian; a read-only mount is its mounter's.
    if ours and status.st_mode & 0o027:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(f"{path}: its mode is {mode:04o}, others can use it; want 0600")


def _certificates(path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigError(f"{path}: no certificate in PEM: {error}") from error


def _check_chain(path: Path, chain: list[x509.Certificate], now: datetime) -> x509.Certificate:
    """The server's own certificate, the first. Raises ConfigError for what no client would accept."""
    leaf = chain[0]
    for i, (below, above) in enumerate(pairwise(chain)):
        if below.issuer != above.subject:
            raise ConfigError(
                f"{path}: certificate {i + 2} of {len(chain)} did not issue the one before it: the server's own "
                f"comes first, then its issuer, and so on"
            )
    for certificate in chain:
        _check_times(path, certificate, now)
    usage = _usage(leaf)
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, _ANY_USAGE} & set(usage):
        raise ConfigError(f"{path}: a certificate that is not for servers (extended key usage)")
    if not _server_names(leaf):
        raise ConfigError(f"{path}: no DNS name and no IP address in it (subject alternative name)")
    return leaf


_ANY_USAGE: Final = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


def _usage(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _check_times(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    name = certificate.subject.rfc4514_string()
    if now >= certificate.not_valid_after_utc:
        raise ConfigError(f"{path}: the certificate of {name} expired at {certificate.not_valid_after_utc}")
    if now < certificate.not_valid_before_utc:
        raise ConfigError(
            f"{path}: the certificate of {name} counts from {certificate.not_valid_before_utc} on"
        )


def _check_key(path: Path, data: bytes, certificate: Path, leaf: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyFileError(f"{path}: the key is encrypted; want it in clear, mode 0600") from None
    except ValueError:  # its text might repeat the key's
        raise KeyFileError(f"{path}: no private key in PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise KeyFileError(f"{path}: not the key of the certificate in {certificate}")


def _check_ca(path: Path, authorities: list[x509.Certificate], now: datetime) -> None:
    for certificate in authorities:
        _check_times(path, certificate, now)
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            name = certificate.subject.rfc4514_string()
            raise ConfigError(f"{path}: the certificate of {name} is no CA's (basic constraints)")


def _server_names(certificate: x509.Certificate) -> tuple[str, ...]:
    found = alternatives(certificate)
    if found is None:
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *map(str, addresses))


def _fingerprint_of(pem: bytes) -> str:
    """One fingerprint for all certificates of a bundle."""
    digest = hashes.Hash(hashes.SHA256())
    for certificate in x509.load_pem_x509_certificates(pem):
        digest.update(certificate.fingerprint(hashes.SHA256()))
    return digest.finalize().hex()
