"""Verifier keys, signing keys and the files signing keys live in.

A key is a name, a type and key material; its ID is a short hash that tells lines of a note apart and proves
nothing. The seed of a signing key is never in a repr, a message or a comparison.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from merklelog.errors import KeyFileError, KeyFormatError
from merklelog.formats import algorithms
from merklelog.formats.algorithms import SEED_SIZE, SignatureType, split_type
from merklelog.formats.names import key_name_fault, validate_key_name, validate_origin
from merklelog.formats.wire import encode_base64, quote, try_base64

__all__ = [
    "SignatureType",
    "SigningKey",
    "VerifierKey",
    "format_signing_key",
    "format_vkey",
    "generate_signing_key",
    "key_id",
    "load_signing_key",
    "parse_signing_key",
    "parse_vkey",
    "validate_key_name",
    "validate_origin",
    "write_signing_key",
]

KEY_ID_SIZE: Final = 4
MAX_KEY_CHARS: Final = 1 << 14  # an ML-DSA-44 verifier key is 1,763 characters and its name
_PRIVATE: Final = "PRIVATE+KEY+"
_HEX_ID: Final = re.compile("[0-9a-f]{8}")
_MAX_COSIGNER_NAME: Final = 255


def key_id(name: str, kind: SignatureType, public: bytes) -> bytes:
    """The 4 bytes that name a key in a signature line.

    Source: signed-note, "Signatures"; tlog-cosignature, "Format" (a MUST for types 0x04 and 0x06).
    """
    return hashlib.sha256(b"%s\n%s%s" % (name.encode("utf-8"), kind.label, public)).digest()[:KEY_ID_SIZE]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, under the name and the 4-byte ID by which signature lines refer to it."""

    name: str
    key_id: bytes
    type: SignatureType
    public: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Raises KeyFormatError when the parts do not make a key."""
        validate_key_name(self.name)
        algorithms.check_public(self.type, self.public)
        # The signed message of 0x06 holds the name as opaque<1..2^8-1>.
        if self.type.is_mldsa and len(self.name.encode("utf-8")) > _MAX_COSIGNER_NAME:
            raise KeyFormatError(f"key name {quote(self.name)}: over 255 bytes, too long for type 0x06")
        if self.key_id != (want := key_id(self.name, self.type, self.public)):
            raise KeyFormatError(
                f"key {quote(self.name)}: got key ID {self.key_id.hex()}, want {want.hex()} for that key"
            )

    def is_signature(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (without a timestamp) is this key's over exactly `message`."""
        return algorithms.is_signature(self.type, self.public, signature, message)


def _split_key(text: str, what: str, *, secret: bool) -> tuple[str, bytes, bytes]:
    """The name, ID and bytes of `name+id+base64(bytes)`, the bytes not empty.

    With `secret`, messages show nothing of the text: in a key torn apart any part may be the seed's.
    """
    if len(text) > MAX_KEY_CHARS:
        raise KeyFormatError(f"{what}: {len(text)} characters, want at most {MAX_KEY_CHARS}")
    parts = text.split("+", 2)  # base64 has pluses of its own
    if len(parts) != 3:
        raise KeyFormatError(f"{what}: want NAME+ID+KEY")
    name, hex_id, encoded = parts
    label = what if secret else f"{what} {quote(name)}"
    if fault := key_name_fault(name):
        raise KeyFormatError(f"{label}: no note can carry its name: {fault}")
    if not _HEX_ID.fullmatch(hex_id):
        shown = "" if secret else f", got {quote(hex_id)}"
        raise KeyFormatError(f"{label}: want a key ID of 8 lowercase hex digits{shown}")
    material = try_base64(encoded.encode("utf-8", "replace"))
    if not material:
        raise KeyFormatError(f"{label}: its last part is not canonical base64 of a type and a key")
    return name, bytes.fromhex(hex_id), material


def parse_vkey(text: str) -> VerifierKey:
    """Reads `<name>+<hex key ID>+<base64(type || public key)>`, without surrounding white space.

    Raises KeyFormatError; for a type this project does not verify it names the type byte.
    Source: signed-note, "Verifier keys".
    """
    name, identifier, material = _split_key(text, "verifier key", secret=False)
    return VerifierKey(name, identifier, *split_type(material))


def format_vkey(key: VerifierKey) -> str:
    """The verifier key as one word of text. Source: signed-note, "Verifier keys"."""
    encoded = encode_base64(key.type.label + key.public).decode("ascii")
    return f"{key.name}+{key.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: a 32-byte seed, hidden from repr and comparison, and the verifier key it stands behind.

    Making one derives its keys (30 us Ed25519, 0.2 ms ML-DSA-44); signing then reuses them.
    """

    name: str
    type: SignatureType
    seed: bytes = field(repr=False, compare=False)
    verifier: VerifierKey = field(init=False)
    _private: algorithms.PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises KeyFormatError for a name no note can carry, or a seed that is not 32 bytes."""
        validate_key_name(self.name)
        private = algorithms.load_private(self.type, self.seed)
        public = algorithms.public_bytes(private)
        verifier = VerifierKey(self.name, key_id(self.name, self.type, public), self.type, public)
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "verifier", verifier)

    def sign(self, message: bytes) -> bytes:
        """The bare signature (64 or 2,420 bytes) over exactly `message`."""
        return self._private.sign(message)


def generate_signing_key(name: str, kind: SignatureType) -> SigningKey:
    """A new key from the system's randomness. Raises KeyFormatError for a name no note can carry."""
    return SigningKey(name, kind, secrets.token_bytes(SEED_SIZE))


def parse_signing_key(text: str) -> SigningKey:
    """Reads `PRIVATE+KEY+<name>+<hex key ID>+<base64(type || seed)>`, as Go's sumdb/note writes it.

    Raises KeyFormatError; no message, nor what is chained to it, holds key material.
    """
    if not text.startswith(_PRIVATE):
        raise KeyFormatError(f"signing key: it does not begin with {_PRIVATE}")
    name, identifier, material = _split_key(text[len(_PRIVATE) :], "signing key", secret=True)
    kind, seed = split_type(material)
    if len(seed) != SEED_SIZE:
        raise KeyFormatError(f"signing key: got {len(material)} bytes, want a type and a seed of {SEED_SIZE}")
    key = SigningKey(name, kind, seed)
    if key.verifier.key_id != identifier:
        raise KeyFormatError(
            f"signing key {quote(name)}: got key ID {identifier.hex()}, want {key.verifier.key_id.hex()}"
        )
    return key


def format_signing_key(key: SigningKey) -> str:
    """The signing key as one word of text: a secret."""
    encoded = encode_base64(key.type.label + key.seed).decode("ascii")
    return f"{_PRIVATE}{key.name}+{key.verifier.key_id.hex()}+{encoded}"


def load_signing_key(path: Path) -> SigningKey:
    """Reads a key file: one signing key, with or without a newline after it.

    Raises KeyFileError when the file is missing, not a file, not readable, readable by others or malformed.
    Wide permissions are let pass for a file that is another user's or on a read-only mount (a secret volume,
    a systemd credential): who mounted it chose them, and this process could not change them.
    """
    # Not strict: a UnicodeDecodeError would carry the bytes. What it stands in for is refused as a surrogate.
    text = _read_key_file(path).decode("utf-8", "surrogateescape")
    try:
        return parse_signing_key(text.removesuffix("\n"))
    except KeyFormatError as error:
        raise KeyFileError(f"key file {path}: {error}") from None


def _read_key_file(path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"key file {path}: {error.strerror}") from error
    try:
        _check_key_file(path, handle)
        return os.read(handle, MAX_KEY_CHARS + len(_PRIVATE) + 2)
    except OSError as error:
        raise KeyFileError(f"key file {path}: {error.strerror}") from error
    finally:
        os.close(handle)


def _check_key_file(path: Path, handle: int) -> None:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise KeyFileError(f"key file {path}: it is {kind}")
    mode = stat.S_IMODE(status.st_mode)
    ours = status.st_uid == os.geteuid() and not os.fstatvfs(handle).f_flag & os.ST_RDONLY
    if mode & 0o077 and ours:
        raise KeyFileError(f"key file {path}: its mode is {mode:04o}, others can read it; want 0600")


def write_signing_key(path: Path, key: SigningKey) -> None:
    """Writes a new key file, mode 0600, and returns when the file and its name are on disk.

    Raises KeyFileError when there is a file already (it is left as it was) or the disk refuses (nothing is
    left).
    """
    data = format_signing_key(key).encode("utf-8") + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise KeyFileError(f"key file {path}: it exists already and is not overwritten") from None
    except OSError as error:
        raise KeyFileError(f"key file {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # the umask may have taken bits away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"key file {path}: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
