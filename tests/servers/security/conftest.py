"""A certificate authority of the tests' own, and logs with tokens."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.servers.security.secure import Place, Running

LOCAL = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@dataclass
class Pair:
    """A certificate with its key, and the files they are in."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey
    pem: Path
    key: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.root: Pair | None = None
        self.root = self.issue(name, ca=True)

    def issue(
        self,
        name: str,
        *alternatives: x509.GeneralName,
        ca: bool | None = False,
        days: tuple[float, float] = (-1, 30),
        usage: Sequence[ObjectIdentifier] = (),
        issuer: Pair | None = None,
    ) -> Pair:
        """A certificate of this common name; `ca` None leaves out basic constraints."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        signer = issuer or self.root
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        certificate = builder.sign(signer.private if signer else private, hashes.SHA256())
        number = f"{certificate.serial_number:x}"[:8]
        pair = Pair(certificate, private, self.folder / f"{number}.pem", self.folder / f"{number}.key")
        pair.pem.write_bytes(certificate.public_bytes(Encoding.PEM))
        pair.key.touch(0o600)
        pair.key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair

    def server(self, name: str = "server", **more: object) -> Pair:
        return self.issue(name, *LOCAL, usage=[ExtendedKeyUsageOID.SERVER_AUTH], **more)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path_factory.mktemp(name), name)


@pytest.fixture(scope="session")
def foreign(make_authority: Callable[[str], Authority]) -> Authority:
    """One that no server trusts."""
    return make_authority("foreign")


@pytest.fixture(scope="session")
def authority(make_authority: Callable[[str], Authority]) -> Authority:
    return make_authority("ca")


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, foreign: Authority
) -> Iterator[Callable[[str, str], Running]]:
    running: list[Running] = []

    def begin(mode: str, front: str) -> Running:
        folder = tmp_path_factory.mktemp(f"{mode}-{front}")
        running.append(Running(Place(folder, authority, foreign, mode, front)))
        return running[-1]

    yield begin
    for each in running:
        each.close()
