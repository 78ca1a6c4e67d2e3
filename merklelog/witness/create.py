"""A new witness: its directory, keys, configuration, an empty database and the logs it knows from the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from merklelog.errors import ConfigError, KeyFormatError, UsageError
from merklelog.formats import SignatureType, VerifierKey, format_policy, single_log_policy, validate_key_name
from merklelog.log.directory import sync_path, write_synced
from merklelog.log.table import Value, format_settings
from merklelog.store.problems import os_problem
from merklelog.store.witness_rows import WitnessRows

from .config import FILE, WITNESS_KEYS
from .keys import KEY_FILES, make_keys
from .logs import SUFFIX, read_logs
from .state import DATABASE, FORMAT

_MAX_NAME = 255  # of an ML-DSA-44 cosigner: tlog-cosignature, "ML-DSA-44 signed message"


def create_witness(
    directory: Path,
    name: str,
    *,
    keys: Path | None = None,
    logs: Sequence[VerifierKey] = (),
    kinds: tuple[SignatureType, ...] = tuple(KEY_FILES),
) -> list[VerifierKey]:
    """Makes a witness in `directory`, which must be missing or empty; gives its verifier keys.

    `logs` are verifier keys of logs; those of one name are one log's, any of which is enough. Nothing is left of a
    witness that could not be made but what was there before and keys that were written.

    Raises UsageError for a directory that is in use or a name that can not be, KeyFileError, StorageError.
    """
    try:
        validate_key_name(name)
    except KeyFormatError as error:
        raise UsageError(str(error)) from error
    if len(name.encode("utf-8")) > _MAX_NAME:
        raise UsageError(f"witness name {name[:40]!r}...: over {_MAX_NAME} bytes")
    policies = {}
    for number, origin in enumerate(dict.fromkeys(key.name for key in logs), 1):
        policies[f"{number}{SUFFIX}"] = single_log_policy(key for key in logs if key.name == origin)
    _make_empty(directory)
    made = [key.verifier for key in make_keys(keys or directory / "keys", name, kinds)]
    settings: dict[str, Value] = {"witness_server.name": name}
    if keys is not None:
        settings["witness_server.keys"] = str(keys.absolute())
    try:
        folder = directory / "logs"
        folder.mkdir()
        for file, policy in policies.items():
            write_synced(folder / file, format_policy(policy).decode())
        read_logs(folder, made)
        rows = WitnessRows(directory / DATABASE, create=True)
        rows.put([(b"format", FORMAT)])
        rows.sync()
        rows.close()
        # The file that makes it a witness comes last.
        write_synced(directory / FILE, format_settings(WITNESS_KEYS, settings))
        sync_path(folder)
        sync_path(directory)
    except OSError as error:
        raise os_problem(error, directory) from error
    return made


def _make_empty(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory}: it is not empty")
    except OSError as error:
        raise os_problem(error, directory) from error


def check_witness(directory: Path) -> None:
    """Raises ConfigError for a directory that is no witness'."""
    if not (directory / FILE).is_file():
        raise ConfigError(f"{directory}: no witness is there; `merklelog witness init` makes one")
