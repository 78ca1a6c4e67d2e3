"""Making a log: keys, configuration and an empty, signed tree, all at once or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from merklelog.errors import ConfigError, KeyFileError, NotALogError, StorageError
from merklelog.formats import (
    SignatureType,
    SigningKey,
    VerifierKey,
    format_vkey,
    generate_signing_key,
    load_signing_key,
    parse_vkey,
    receipt_key_name,
    validate_origin,
    write_signing_key,
)
from merklelog.protocol.commit import Checkpointed, Commit
from merklelog.store import FORMAT, RocksStore, StoreReader
from merklelog.tree import EMPTY_ROOT

from .config import FILE, format_config, parse_config
from .directory import DATABASE, FORMAT_FILE, INDEX, check_path, format_line, sync_path, write_synced
from .head import Keys, Signers
from .table import Value

ED25519_FILE: Final = "ed25519.key"
MLDSA44_FILE: Final = "mldsa44.key"
RECEIPT_FILE: Final = "receipt.key"
_FILES: Final = ((ED25519_FILE, SignatureType.ED25519), (MLDSA44_FILE, SignatureType.COSIGNATURE_MLDSA44))
_RECEIPT: Final = (RECEIPT_FILE, SignatureType.RECEIPT)


class LogInfo(msgspec.Struct, frozen=True):
    """What a log is for good: kept in its database, so that reading it needs no private key.

    `receipt_vkey` is "" in a log that has no receipt key yet.
    """

    origin: str
    vkeys: tuple[str, ...]
    receipt_vkey: str = ""

    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The log's verifier keys of checkpoints, Ed25519 first."""
        return tuple(parse_vkey(text) for text in self.vkeys)

    def keys(self) -> Keys:
        """The log's name and all its verifier keys."""
        receipt = parse_vkey(self.receipt_vkey) if self.receipt_vkey else None
        return Keys(self.origin, self.verifiers(), receipt)

    def row(self) -> bytes:
        """As the database keeps it."""
        return msgspec.json.encode(self)


def read_info(store: StoreReader) -> LogInfo | None:
    """The log's info from its database; None when it has none that can be read."""
    raw = store.meta("log")
    try:
        return None if raw is None else msgspec.json.decode(raw, type=LogInfo)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def create_log(
    path: Path,
    origin: str,
    *,
    keys: Path | None = None,
    reuse_keys: bool = False,
    settings: Mapping[str, Value] | None = None,
) -> tuple[VerifierKey, ...]:
    """Make an empty log at `path`, which must not exist or be an empty directory.

    Gives its verifier keys: Ed25519, ML-DSA-44, and that of its receipts.

    `keys` is where the private keys go (default: `path/keys`); key files that are there already are an error
    unless `reuse_keys`, because a second log with the origin and keys of a first one is a fork. `settings` are
    dotted configuration keys. Everything is made beside `path` and renamed into place, so that a crash leaves no
    half a log.

    Raises OriginError, ConfigError, KeyFileError, NotALogError, StorageError; with publish targets NotALogError
    for one that holds a published log already, UnreachableError for one that does not answer. Nothing is
    published.
    """
    validate_origin(origin)
    path = Path(path).absolute()
    check_path(path)
    config = {"log.origin": origin, **(settings or {})}
    if config["log.origin"] != origin or "log.keys" in config:
        raise ConfigError(
            "log.origin and log.keys are no settings here: they are given as the origin and `keys`"
        )
    if keys is not None:
        check_path(keys)
        config["log.keys"] = str(keys.absolute())
    text = format_config(config)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise NotALogError(f"{path} is there already and not an empty directory; nothing was changed")
    _check_targets(text, origin, path)
    made: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.init-", dir=path.parent))
    except OSError as error:
        raise StorageError(f"{path.parent}: {error.strerror}") from error
    try:
        target = keys.absolute() if keys is not None else draft / "keys"
        signers = _make_keys(target, origin, reuse=reuse_keys, made=made)
        _fill(draft, text, signers)
        draft.chmod(0o755)
        draft.rename(path)
        sync_path(path.parent)
    except BaseException as error:
        for file in made:
            file.unlink(missing_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise StorageError(f"{path}: {error.strerror}") from error
        raise
    return tuple(key.verifier for key in _all_keys(signers))


def _check_targets(text: str, origin: str, path: Path) -> None:
    config = parse_config(text)
    if config.publish.targets:
        from .publishing_targets import refuse_nested, refuse_published  # brings the publisher

        refuse_nested(config.publish, path, config.keys_path(path))
        refuse_published(config.publish, origin)


def _all_keys(signers: Signers) -> list[SigningKey]:
    return [key for key in (signers.ed25519, signers.mldsa44, signers.receipt) if key is not None]


def _make_keys(directory: Path, origin: str, *, reuse: bool, made: list[Path]) -> Signers:
    there = [name for name, _ in (*_FILES, _RECEIPT) if (directory / name).exists()]
    if there and reuse:
        signers = load_signers(directory, origin)
        if signers.receipt is None:
            made.append(directory / RECEIPT_FILE)
            signers = with_receipt_key(directory, signers)
        return signers
    if there:
        raise KeyFileError(
            f"{directory / there[0]} is there already: a second log with the origin and keys of a first is a "
            f"fork. Give another place for keys, or say that this origin never signed with them (--reuse-keys)"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh: list[SigningKey] = []
    for name, kind in _FILES:
        made.append(directory / name)
        fresh.append(generate_signing_key(origin, kind))
        write_signing_key(directory / name, fresh[-1])
    made.append(directory / RECEIPT_FILE)
    return with_receipt_key(directory, Signers(origin, *fresh))


def with_receipt_key(directory: Path, signers: Signers) -> Signers:
    """Make the log's receipt key beside its others. Raises KeyFileError when the directory can not be written."""
    key = generate_signing_key(receipt_key_name(signers.origin), SignatureType.RECEIPT)
    write_signing_key(directory / RECEIPT_FILE, key)
    return replace(signers, receipt=key)


def load_signers(directory: Path, origin: str) -> Signers:
    """The log's private keys; a log made before there were receipts may have no receipt key.

    Raises KeyFileError when one is missing, unreadable or another log's.
    """
    there = (directory / RECEIPT_FILE).exists()
    files = (*_FILES, _RECEIPT) if there else _FILES
    loaded = [load_signing_key(directory / name) for name, _ in files]
    for (name, kind), key in zip(files, loaded, strict=True):
        want = receipt_key_name(origin) if kind is SignatureType.RECEIPT else origin
        if key.name != want or key.type is not kind:
            raise KeyFileError(
                f"{directory / name}: a key of {key.name!r}, type {key.type.name}; want {want!r}, type {kind.name}"
            )
    return Signers(origin, *loaded)


def _fill(draft: Path, config: str, signers: Signers) -> None:
    write_synced(draft / FILE, config)
    (draft / INDEX).mkdir()
    vkeys = [format_vkey(key.verifier) for key in _all_keys(signers)]
    info = LogInfo(signers.origin, tuple(vkeys[:2]), *vkeys[2:])
    store = RocksStore.create(draft / DATABASE, {"format": str(FORMAT).encode(), "log": info.row()})
    try:
        note = signers.sign(0, EMPTY_ROOT, both=True)
        store.write(Commit(checkpoint=Checkpointed(0, note, keep=True)))
        store.sync()
        store.settle()
    finally:
        store.close()
    write_synced(draft / FORMAT_FILE, format_line())
    for folder, _, _ in os.walk(draft):
        sync_path(Path(folder))
