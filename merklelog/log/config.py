"""A log's configuration: `DIR/merklelog.toml`, overridden by `MERKLELOG_SECTION__KEY`, checked whole.

An error names the file, the line and the key. `KEYS` is the one table of what can be set; the reference page is
generated from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, OriginError
from merklelog.formats import validate_origin

from .index_config import INDEX_KEYS, IndexConfig, index_config
from .ingest_config import INGEST_KEYS, IngestConfig, ingest_config
from .publish_config import PUBLISH_KEYS, PublishConfig, publish_config
from .table import Key, TomlFile, Value, format_settings, settle
from .witness_config import WITNESS_CONFIG_KEYS, LogWitnessConfig, witness_config

FILE: Final = "merklelog.toml"
MIB: Final = 1 << 20
# A server of this log alone may have its own sections in the same file; they are read and checked by it.
SERVER_SECTIONS: Final = ("server", "tls", "limits")
# A log's name in a URL; "." and ".." are no names there (RFC 3986 section 3.3).
HTTP_PATH: Final = r"(?!\.{1,2}\Z)[a-z0-9._-]+"

KEYS: Final = (
    Key("log", "origin", "", "the log's name in every checkpoint; set by init and never changed"),
    Key("log", "keys", "keys", "where the private keys are: absolute, or below the data directory"),
    Key(
        "log",
        "dedupe",
        False,
        "true: an entry whose identity is already in the log gets the first one's index",
    ),
    Key("log", "lookup", False, "true: entries are found by leaf hash through an index (dedupe has it too)"),
    Key(
        "log",
        "max_pending_bytes",
        64 * MIB,
        "bytes of appends that may wait before more are refused",
        low=MIB,
    ),
    Key(
        "log",
        "read",
        "auto",
        "who may read over the network: public, everybody; token, who has one with the scope read; auto, "
        "everybody as long as the log asks for no token at all, and then who has one",
        choices=("auto", "public", "token"),
    ),
    Key("store", "min_free_bytes", 1024 * MIB, "free bytes on the disk under which appends are refused"),
    Key("idempotency", "days", 30, "days an idempotency key is remembered", low=1, high=36_500),
    *PUBLISH_KEYS,
    *WITNESS_CONFIG_KEYS,
    *INGEST_KEYS,
    *INDEX_KEYS,
    Key(
        "http",
        "path",
        "",
        "the name below which HTTP serves this log beside others, of a-z 0-9 . _ and -; none: the last part of "
        "the origin",
        pattern=rf"|{HTTP_PATH}",
        form="a name of a-z 0-9 . _ and -",
    ),
)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The checked configuration of one log."""

    origin: str
    keys: str
    dedupe: bool
    lookup: bool
    max_pending_bytes: int
    min_free_bytes: int
    idempotency_days: int
    read: str = "auto"
    http_path: str = ""
    publish: PublishConfig = field(default_factory=PublishConfig)
    witness: LogWitnessConfig = field(default_factory=LogWitnessConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    index: IndexConfig = field(default_factory=IndexConfig)

    def keys_path(self, directory: Path) -> Path:
        """Where the private keys are."""
        return directory / self.keys


def load_config(directory: Path, environment: Mapping[str, str] | None = None) -> LogConfig:
    """Read and check a log's configuration. Raises ConfigError."""
    return _checked(TomlFile.read(directory / FILE), environment)


def parse_config(text: str, environment: Mapping[str, str] | None = None) -> LogConfig:
    """The configuration that a text says, which is no file yet. Raises ConfigError."""
    return _checked(TomlFile(Path(FILE), text), environment)


def _checked(file: TomlFile, environment: Mapping[str, str] | None) -> LogConfig:
    file.check_names(KEYS, SERVER_SECTIONS)
    got = settle(file, KEYS, os.environ if environment is None else environment)
    try:
        validate_origin(got.text("log.origin"))
    except OriginError as error:
        raise ConfigError(f"{got.place('log.origin')}: {error}") from error
    return LogConfig(
        origin=got.text("log.origin"),
        keys=got.text("log.keys"),
        dedupe=got.flag("log.dedupe"),
        lookup=got.flag("log.lookup"),
        max_pending_bytes=got.number("log.max_pending_bytes"),
        min_free_bytes=got.number("store.min_free_bytes"),
        idempotency_days=got.number("idempotency.days"),
        read=got.text("log.read"),
        http_path=got.text("http.path"),
        publish=publish_config(got),
        witness=witness_config(got),
        ingest=ingest_config(got),
        index=index_config(got),
    )


def is_http_path(name: str) -> bool:
    """Whether a log may stand below this name in a URL."""
    return re.fullmatch(HTTP_PATH, name) is not None


def format_config(settings: Mapping[str, Value]) -> str:
    """The text of a new configuration: what was set, and every other key as a comment with its default.

    `settings` maps dotted keys to values. Raises ConfigError for a key that does not exist or a bad value.
    """
    return format_settings(KEYS, settings)


__all__ = [
    "FILE",
    "HTTP_PATH",
    "KEYS",
    "SERVER_SECTIONS",
    "IngestConfig",
    "Key",
    "LogConfig",
    "PublishConfig",
    "format_config",
    "is_http_path",
    "load_config",
    "parse_config",
]
