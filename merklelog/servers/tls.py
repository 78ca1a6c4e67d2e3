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
from pathlib import Path
from typing import Any, Final

import grpc

from merklelog.errors import ConfigError, KeyFileError

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
        from .certificates import fingerprint_of

        return {
            "fingerprint": self.fingerprint,
            "names": list(self.names),
            "not_after": self.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "client_ca": None if self.client_ca is None else fingerprint_of(self.client_ca),
        }


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a server's certificate chain, its key and, for mutual TLS, its clients' CA are: PEM files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self, now: datetime | None = None) -> TlsMaterial:
        """Read and check the files. Raises ConfigError, and KeyFileError for the key, naming the file."""
        from .certificates import check_client_ca, check_server, fingerprint, server_names

        at = datetime.now(UTC) if now is None else now
        chain, key = _read(self.certificate), _read(self.key, private=True)
        ca = None if self.client_ca is None else _read(self.client_ca)
        leaf = check_server(self.certificate, chain, self.key, key, at)
        if ca is not None and self.client_ca is not None:
            check_client_ca(self.client_ca, ca, at)
        return TlsMaterial(
            chain,
            key,
            ca,
            server_names(leaf),
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
            fingerprint(leaf),
        )


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


# --- reading -----------------------------------------------------------------------------------------------------


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
