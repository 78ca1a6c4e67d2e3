"""The signature types, and the only calls of `cryptography` in this project.

Key objects are made once and kept, because making one costs as much as signing with it: a private key lives
in the `SigningKey` that owns it, public keys (no secret) in a small cache.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from merklelog.errors import KeyFormatError, LocalError

SEED_SIZE: Final = 32
RECEIPT_PURPOSE: Final = "merklelog/receipt/v1"
RECEIPT_LABEL: Final = b"\xff" + RECEIPT_PURPOSE.encode()

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey
PublicKey = Ed25519PublicKey | MLDSA44PublicKey


class SignatureType(Enum):
    """The signature type byte of a key, of those this project signs and verifies.

    Source: signed-note, "Signature types"; tlog-cosignature.
    """

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_MLDSA44 = 0x06
    RECEIPT = 0xFF

    @property
    def label(self) -> bytes:
        """What stands before the key in an encoded key: the type byte, and what 0xff has to be told apart by.

        Source: signed-note, "Signature types", for 0xff.
        """
        return RECEIPT_LABEL if self is SignatureType.RECEIPT else bytes((self.value,))

    @property
    def is_mldsa(self) -> bool:
        """Whether the key is ML-DSA-44; the others are Ed25519."""
        return self is SignatureType.COSIGNATURE_MLDSA44

    @property
    def is_timestamped(self) -> bool:
        """Whether the signature begins with a timestamp, which makes it a cosignature."""
        return self in (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44)

    @property
    def public_size(self) -> int:
        """Bytes of a public key: RFC 8032, section 5.1.5; FIPS 204, table 2."""
        return 1312 if self.is_mldsa else 32

    @property
    def signature_size(self) -> int:
        """Bytes of a signature without its timestamp."""
        return 2420 if self.is_mldsa else 64


_KNOWN_ELSEWHERE: Final = {0x02: "ECDSA", 0x03: "reserved", 0x05: "RFC 6962 tree head"}


def split_type(material: bytes) -> tuple[SignatureType, bytes]:
    """The type of an encoded key, which is not empty, and what follows its label.

    Raises KeyFormatError naming the type byte when this project does not verify it; it shows nothing else, since
    the rest may be a seed.
    """
    byte = material[0]
    try:
        kind = SignatureType(byte)
    except ValueError:
        known = _KNOWN_ELSEWHERE.get(byte)
        label = f" ({known})" if known else ""
        raise KeyFormatError(f"signature type 0x{byte:02x}{label}: want 0x01, 0x04, 0x06 or 0xff") from None
    if not material.startswith(kind.label):
        raise KeyFormatError(f"signature type 0xff: want one followed by {RECEIPT_PURPOSE!r}")
    return kind, material[len(kind.label) :]


# Points of order 1, 2, 4 and 8: anyone can write signatures that such a "key" verifies. The y coordinates
# below 2**255, both encodings where there are two; the sign bit is ignored when looking here.
_P: Final = 2**255 - 19
_Y8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _P, _P + 1, _Y8, _P - _Y8})


def check_public(kind: SignatureType, public: bytes) -> None:
    """Raises KeyFormatError for a public key of the wrong length, or one that proves nothing."""
    if len(public) != kind.public_size:
        raise KeyFormatError(
            f"public key of type 0x{kind.value:02x}: got {len(public)} bytes, want {kind.public_size}"
        )
    if not kind.is_mldsa and int.from_bytes(public, "little") & (2**255 - 1) in _SMALL_ORDER_Y:
        raise KeyFormatError(f"public key {public.hex()}: a point of small order, for which anyone can sign")


def load_private(kind: SignatureType, seed: bytes) -> PrivateKey:
    """The key object of a 32-byte seed: RFC 8032, section 5.1.5; FIPS 204, section 6.1."""
    if len(seed) != SEED_SIZE:
        raise KeyFormatError(f"signing key: got a seed of {len(seed)} bytes, want {SEED_SIZE}")
    if not kind.is_mldsa:
        return Ed25519PrivateKey.from_private_bytes(seed)
    try:
        return MLDSA44PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        raise _no_mldsa() from None


def public_bytes(private: PrivateKey) -> bytes:
    """The public key's bytes as a verifier key carries them."""
    return private.public_key().public_bytes_raw()


@lru_cache(maxsize=256)
def _load_public(kind: SignatureType, public: bytes) -> PublicKey:
    if not kind.is_mldsa:
        return Ed25519PublicKey.from_public_bytes(public)
    try:
        return MLDSA44PublicKey.from_public_bytes(public)
    except UnsupportedAlgorithm:
        raise _no_mldsa() from None


def is_signature(kind: SignatureType, public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is that of `public` over `message`; the ML-DSA context is empty."""
    if len(signature) != kind.signature_size:
        return False
    try:
        _load_public(kind, public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _no_mldsa() -> LocalError:
    # Not a SignatureError: nothing was disproven, this machine's library can not tell.
    return LocalError("ML-DSA-44: this build of `cryptography` has no support for it")
