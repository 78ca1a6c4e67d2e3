"""Whose certificate a client showed: one name, the same whichever front the call came through.

The front has verified the certificate against the client CA before; here it is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_GENERAL_NAMES: Final = (
    ("URI:", x509.UniformResourceIdentifier),
    ("DNS:", x509.DNSName),
    ("email:", x509.RFC822Name),
)


@lru_cache(maxsize=4_096)
def client_name(pem: str | bytes) -> str | None:
    """The one name of a client's certificate: "URI:spiffe://...", "DNS:...", "email:..." or "CN:...".

    The first alternative name counts, URIs before DNS names before addresses; the common name only where there is
    none of these. None for a certificate without a name, or with one that can not be printed.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
        others = alternatives(certificate)
        for prefix, kind in _GENERAL_NAMES:
            for name in others.get_values_for_type(kind) if others is not None else ():
                return _printable(prefix, name)
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return _printable("CN:", common[0].value) if common else None
    except ValueError:  # it came through the handshake, and still can not be read here: nobody
        return None


def _printable(prefix: str, name: str | bytes) -> str | None:
    return prefix + name if isinstance(name, str) and name and name.isprintable() else None


def asgi_client_name(scope: Mapping[str, Any]) -> str | None:
    """The same from an ASGI scope (ASGI, "TLS Extension"); None without a certificate."""
    extensions = scope.get("extensions")
    if not extensions or (tls := extensions.get("tls")) is None:
        return None
    chain = tls["client_cert_chain"]
    return client_name(chain[0]) if chain else None


def grpc_client_name(context: Mapping[str, Sequence[bytes]]) -> str | None:
    """The same from grpcio's `auth_context()`."""
    found = context.get("x509_pem_cert")
    return client_name(found[0]) if found else None


def alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """A certificate's alternative names; None when it has none. Raises ValueError."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
