"""A witness' two keys, Ed25519 and ML-DSA-44: files of their own, as a log's are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, KeyFileError
from merklelog.formats import (
    NoteSignature,
    SignatureType,
    SigningKey,
    format_vkey,
    generate_signing_key,
    load_signing_key,
    sign_checkpoint,
    write_signing_key,
)
from merklelog.formats.checkpoint_text import Checkpoint

KEY_FILES: Final = {
    SignatureType.COSIGNATURE_ED25519: "ed25519.key",
    SignatureType.COSIGNATURE_MLDSA44: "mldsa44.key",
}


def make_keys(
    folder: Path, name: str, kinds: tuple[SignatureType, ...] = tuple(KEY_FILES)
) -> list[SigningKey]:
    """New keys in `folder`, which is made where it is not there. Raises KeyFileError, KeyFormatError."""
    made = [generate_signing_key(name, kind) for kind in kinds]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"key folder {folder}: {error.strerror}") from error
    for key in made:
        write_signing_key(folder / KEY_FILES[key.type], key)
    return made


def load_keys(folder: Path, name: str) -> list[SigningKey]:
    """The keys of a witness, one or both of its two files. Raises KeyFileError, KeyFormatError, ConfigError."""
    found = []
    for kind, file in KEY_FILES.items():
        if not (folder / file).exists():
            continue
        key = load_signing_key(folder / file)
        if key.type is not kind or key.name != name:
            raise ConfigError(
                f"{folder / file}: it is {format_vkey(key.verifier)[:80]}, "
                f"want a key of {name!r} of type 0x{kind.value:02x}"
            )
        found.append(key)
    if not found:
        raise KeyFileError(f"{folder}: there is neither {' nor '.join(KEY_FILES.values())}")
    return found


def cosign(keys: list[SigningKey], checkpoint: Checkpoint, now: int) -> tuple[NoteSignature, ...]:
    """A cosignature by each key, over the whole tree, at `now` in POSIX seconds, which is never 0.

    Source: tlog-witness, "add-checkpoint"; tlog-cosignature.
    """
    return tuple(sign_checkpoint(checkpoint, key, now) for key in keys)
