"""The tokens of one log: `DIR/tokens.json`, which holds no token, only what proves that one was given out here.

A token is 256 random bits that its holder shows; the file has its SHA-256 hash, a name for the holder, scopes and
times. A holder may also be known by a client certificate, and then has no token to lose. What is revoked stays in
the file: a log whose file is there asks for tokens for good, also when the last one was revoked.

Source of the token's use: RFC 6750, section 2.1 (Authorization: Bearer).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from merklelog.errors import ConfigError, NotFoundError, StorageError, UsageError
from merklelog.log.directory import TOKENS, sync_path

from .caller import Scope

FILE: Final = TOKENS
PREFIX: Final = "mlt"
VERSION: Final = 1
# So many at most: a file that someone blew up must not become memory.
MAX_BYTES: Final = 4 << 20
_ID: Final = re.compile("[0-9a-f]{16}")
_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH: Final = re.compile("[0-9a-f]{64}")
_SHOWN: Final = re.compile(rf"{PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")
# What the name of a certificate begins with, as `peer.client_name` gives it.
CERTIFICATE_KINDS: Final = ("URI:", "DNS:", "email:", "CN:")
_MAX_CERTIFICATE: Final = 1_024
_FOREVER: Final = 2**53


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a token, or of a certificate that needs none. Times are POSIX seconds.

    `sha256` is the hash of the whole token in hex; None where `certificate` says who may come without one.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created: int
    sha256: str | None = None
    certificate: str | None = None
    expires: int | None = None
    revoked: int | None = None

    def good(self, now: float) -> bool:
        """Whether it counts at that time."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def is_shown_by(self, token: str) -> bool:
        """Whether this is the token, compared in a time that tells nothing of how much of it was right."""
        shown = hashlib.sha256(token.encode("ascii", "replace")).hexdigest()
        return self.sha256 is not None and hmac.compare_digest(shown, self.sha256)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    tokens: tuple[Token, ...]


def token_id(token: str) -> str | None:
    """The ID that a token carries in clear, by which it is looked up; None for what is no token of ours."""
    match = _SHOWN.fullmatch(token)
    return None if match is None else match[1]


def read_tokens(directory: Path) -> tuple[Token, ...] | None:
    """The tokens of a log, revoked ones too; None for a log that never had one.

    Raises ConfigError for a file that can not be read, that others may write to, or whose content is not right.
    """
    path = directory / FILE
    try:
        # A pipe must not be waited for. No link: a change would put a file in its place.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "a link; want a file" if error.errno == errno.ELOOP else error.strerror
        raise ConfigError(f"{path}: {why}") from error
    try:
        return _parse(path, _checked(path, handle))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    finally:
        os.close(handle)


def _checked(path: Path, handle: int) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: not a file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{path}: mode {mode:04o}, want 0600: it says who may write to the log")
    with os.fdopen(handle, "rb", closefd=False) as file:
        return file.read(MAX_BYTES + 1)


def _parse(path: Path, data: bytes) -> tuple[Token, ...]:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: over {MAX_BYTES:,} bytes")
    try:
        content = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if content.version != VERSION:
        raise ConfigError(f"{path}: version {content.version}, this version of merklelog reads {VERSION}")
    for number, token in enumerate(content.tokens):
        if (fault := _fault(token)) is not None:
            raise ConfigError(f"{path}: tokens[{number}]: {fault}")
    for what in ("id", "sha256"):
        values = [value for token in content.tokens if (value := getattr(token, what)) is not None]
        if len(set(values)) != len(values):
            raise ConfigError(f"{path}: two tokens have the same {what}")
    return content.tokens


def _fault(token: Token) -> str | None:
    if _ID.fullmatch(token.id) is None:
        return f"id {token.id[:40]!r}: want 16 hex digits"
    if _NAME.fullmatch(token.name) is None:
        return name_fault(token.name)
    if not token.scopes or len(set(token.scopes)) != len(token.scopes):
        return "scopes: want one or more, each once"
    if (token.sha256 is None) == (token.certificate is None):
        return "want either sha256 or certificate"
    if token.sha256 is not None and _HASH.fullmatch(token.sha256) is None:
        return "sha256: want 64 hex digits"
    if token.certificate is not None:
        return certificate_fault(token.certificate)
    times = (token.created, token.expires or 0, token.revoked or 0)
    return None if all(0 <= each < _FOREVER for each in times) else "a time is out of bounds"


def name_fault(name: str) -> str | None:
    """What is wrong with a holder's name; None when nothing is."""
    if _NAME.fullmatch(name) is not None:
        return None
    return f"name {name[:80]!r}: want 1 to 64 letters, digits and . _ @ -, first a letter or a digit"


def certificate_fault(certificate: str) -> str | None:
    """What is wrong with the name of a client certificate; None when nothing is."""
    kind = next((kind for kind in CERTIFICATE_KINDS if certificate.startswith(kind)), None)
    rest = certificate[len(kind or "") :]
    if kind is None or not rest.isprintable() or not 0 < len(rest) <= _MAX_CERTIFICATE:
        kinds = ", ".join(CERTIFICATE_KINDS)
        return f"certificate {certificate[:80]!r}: want {kinds} and the name in the certificate"
    return None


def make_token(
    name: str,
    scopes: Iterable[Scope],
    now: int,
    *,
    expires: int | None = None,
    certificate: str | None = None,
) -> tuple[Token, str | None]:
    """A new token: what is kept of it, and what its holder shows (None with a certificate).

    Raises UsageError for a name, a certificate's name, scopes or a time that can not be.
    """
    chosen = tuple(sorted(set(scopes)))
    own_id = secrets.token_hex(8)
    shown = None if certificate is not None else f"{PREFIX}_{own_id}_{secrets.token_urlsafe(32)}"
    hashed = None if shown is None else hashlib.sha256(shown.encode()).hexdigest()
    made = Token(own_id, name, chosen, now, hashed, certificate, expires)
    if (fault := _fault(made)) is not None:
        raise UsageError(fault)
    if expires is not None and expires <= now:
        raise UsageError("it would have expired already")
    return made, shown


def change_tokens(
    directory: Path,
    change: Callable[[tuple[Token, ...]], tuple[Token, ...]],
    announce: Callable[[tuple[Token, ...]], None],
) -> tuple[Token, ...]:
    """Change a log's tokens: none else changes them meanwhile, and the file is the old one or the new one.

    `announce` is told the new ones just before they take the place of the old: what it raises stops the change.
    Raises ConfigError for what is there already and can not be read, StorageError, and what the two raise.
    """
    path = directory / FILE
    with _locked(directory):
        tokens = change(read_tokens(directory) or ())
        data = msgspec.json.format(msgspec.json.encode(_File(VERSION, tokens)), indent=1) + b"\n"
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path}: too many tokens: {len(data):,} bytes, and {MAX_BYTES:,} is the most")
        draft = directory / f".{FILE}.{secrets.token_hex(8)}"
        try:
            _write(draft, data, directory)
            announce(tokens)
            draft.rename(path)
            sync_path(directory)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
    return tokens


def _write(draft: Path, data: bytes, directory: Path) -> None:
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        own_as(handle, directory)
        file.write(data)
        file.flush()
        os.fsync(handle)


def own_as(handle: int, directory: Path) -> None:
    """Give an open file to its directory's owner: a server without root reads what root's command wrote."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One change at a time. The directory itself is locked: no file is left behind."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    finally:
        os.close(handle)


def revoked(token: Token, now: int) -> Token:
    """The token, not counting any more; one that was revoked before stays as it is."""
    return token if token.revoked is not None else msgspec.structs.replace(token, revoked=now)


def find_token(tokens: Iterable[Token], wanted: str) -> tuple[Token, ...]:
    """The tokens of that ID or, not yet revoked, of that name. Raises NotFoundError."""
    found = tuple(
        token for token in tokens if token.id == wanted or (token.name == wanted and token.revoked is None)
    )
    if not found:
        raise NotFoundError(f"no token has the ID, and no token that counts has the name, {wanted[:80]!r}")
    return found
