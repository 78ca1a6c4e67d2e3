"""What certificates say: a server's own, which are checked when they are read, and the one name of a client's.

Apart from `tls` and `peer`, which import this where there is a certificate: a server without one need not wait for
what reads them.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from merklelog.errors import ConfigError, KeyFileError

_GENERAL_NAMES: Final = (
    ("URI:", x509.UniformResourceIdentifier),
    ("DNS:", x509.DNSName),
    ("email:", x509.RFC822Name),
)


def check_server(path: Path, pem: bytes, key_path: Path, key: bytes, now: datetime) -> x509.Certificate:
    """The server's own certificate of that chain. Raises ConfigError, and KeyFileError for the key."""
    leaf = _check_chain(path, _certificates(path, pem), now)
    _check_key(key_path, key, path, leaf)
    return leaf


def check_client_ca(path: Path, pem: bytes, now: datetime) -> None:
    """Raises ConfigError when clients' certificates can not come from these."""
    _check_ca(path, _certificates(path, pem), now)


def authorities(pem: bytes | None) -> list[x509.Certificate]:
    """The certificates that clients' must come from; none where clients show none."""
    return [] if pem is None else x509.load_pem_x509_certificates(pem)


def server_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses that it is for."""
    found = alternatives(certificate)
    if found is None:
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *map(str, addresses))


def fingerprint(certificate: x509.Certificate) -> str:
    """Its SHA-256, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def fingerprint_of(pem: bytes) -> str:
    """One fingerprint for all certificates of a bundle."""
    digest = hashes.Hash(hashes.SHA256())
    for certificate in x509.load_pem_x509_certificates(pem):
        digest.update(certificate.fingerprint(hashes.SHA256()))
    return digest.finalize().hex()


def name_in(pem: bytes) -> str | None:
    """The one name of a client's certificate, as `peer.client_name` has it. Raises ValueError."""
    certificate = x509.load_pem_x509_certificate(pem)
    others = alternatives(certificate)
    for prefix, kind in _GENERAL_NAMES:
        for name in others.get_values_for_type(kind) if others is not None else ():
            return _printable(prefix, name)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _printable("CN:", common[0].value) if common else None


def _printable(prefix: str, name: str | bytes) -> str | None:
    return prefix + name if isinstance(name, str) and name and name.isprintable() else None


def alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """A certificate's alternative names; None when it has none. Raises ValueError."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


# --- checking ---------------------------------------------------------------------------------------------------


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
    if not server_names(leaf):
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
