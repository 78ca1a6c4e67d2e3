"""How a client gets to a server: its token, the certificates, and how long it goes on trying."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from merklelog.client.retry import Retry
from merklelog.errors import UsageError

if TYPE_CHECKING:
    import ssl  # takes its time, which a command for a directory has no use for

    from merklelog.publish.s3_options import S3Options

# RFC 6750, section 2.1: what a bearer token is made of.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Access:
    """What a server or a bucket asks of a client, and what the client asks of itself.

    `token` is a bearer token; `ca` the path of the certificates (PEM) that may vouch for the server, None: those
    of the system; `cert` the path of the client's own certificate and `key` that of its key, None: in the same
    file. A token is not sent in the clear beyond this machine unless `token_in_clear` says so. `s3` is how to get
    to a bucket, None: as the environment says. Raises UsageError.
    """

    token: str | None = field(default=None, repr=False)
    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    token_in_clear: bool = False
    retry: Retry = field(default_factory=Retry)
    s3: S3Options | None = None

    def __post_init__(self) -> None:
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise UsageError(
                "token: want letters, digits and . _ ~ + / - (what `merklelog token add` prints)"
            )
        if self.key is not None and self.cert is None:
            raise UsageError("key: it belongs to a certificate, and none is given")

    @property
    def authorization(self) -> str | None:
        """The value of the `authorization` header (RFC 6750), None without a token."""
        return None if self.token is None else f"Bearer {self.token}"

    def check_clear(self, target: str, host: str) -> None:
        """Refuse what only makes sense with TLS, for a connection without. Raises UsageError."""
        if self.ca is not None or self.cert is not None:
            raise UsageError(f"target {target}: certificates are for https:// and grpcs://")
        if self.token is not None and not self.token_in_clear and not _is_loopback(host):
            raise UsageError(f"target {target}: a token would go over the network in the clear: want TLS")

    def tls(self) -> ssl.SSLContext:
        """For HTTPS: the server is checked against its host name. Raises UsageError naming the file."""
        import ssl

        context = ssl.create_default_context()
        if self.ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ValueError) as error:
                raise UsageError(f"ca {os.fspath(self.ca)}: {_reason(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None:
            try:
                # An encrypted key would have OpenSSL ask at the terminal: an empty password fails instead.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as error:
                raise UsageError(f"cert {os.fspath(self.cert)}: {_reason(error)}") from error
        return context


def _reason(error: Exception) -> str:
    import ssl

    if isinstance(error, ssl.SSLError):
        return "no PEM file of the kind wanted, or its parts do not match"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may mean any host


def split_url(target: str, schemes: tuple[str, ...], *, prefix: bool) -> SplitResult:
    """A target with a scheme, its host there, nothing in it that has no meaning. Raises UsageError.

    With `prefix` it may have a path.
    """
    want = " or ".join(f"{scheme}://host[:port]{'/prefix' if prefix else ''}" for scheme in schemes)
    shown = ascii(target[:_SHOWN])
    if not target.isprintable() or " " in target:
        raise UsageError(f"target {shown}: want {want}")
    try:
        url = urlsplit(target)
        port = url.port
        (url.hostname or "").encode("idna")
    except ValueError as error:
        raise UsageError(f"target {shown}: {error}; want {want}") from None
    if url.username is not None or url.password is not None:
        raise UsageError("target: a name or password in it would end in logs; a token is given apart")
    if url.scheme not in schemes or not url.hostname or port == 0:
        raise UsageError(f"target {shown}: want {want}")
    if not url.path.isascii():
        raise UsageError(f"target {shown}: its path has letters that a URL writes as %XX")
    if url.query or url.fragment or "?" in target or "#" in target or (url.path.strip("/") and not prefix):
        raise UsageError(f"target {shown}: want {want} and nothing behind it")
    return url
