"""Whose certificate a client showed: one name, the same whichever front the call came through.

The front has verified the certificate against the client CA before; here it is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4_096)
def client_name(pem: str | bytes) -> str | None:
    """The one name of a client's certificate: "URI:spiffe://...", "DNS:...", "email:..." or "CN:...".

    The first alternative name counts, URIs before DNS names before addresses; the common name only where there is
    none of these. None for a certificate without a name, or with one that can not be printed.
    """
    from .certificates import name_in

    try:
        return name_in(pem.encode() if isinstance(pem, str) else pem)
    except ValueError:  # it came through the handshake, and still can not be read here: nobody
        return None


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
