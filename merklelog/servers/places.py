"""Where a server's logs and its configuration are: directories that were named, or every log below one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, NotALogError, StorageError
from merklelog.log import KEYS, Log
from merklelog.log.config import FILE as LOG_FILE
from merklelog.log.config import is_http_path
from merklelog.log.directory import check_directory

from .settings import FILE, ServerSettings, has_server_sections, load_settings

_OWN_PATHS: Final = ("healthz", "readyz", "livez", "metrics", "openapi.json")


@dataclass(frozen=True, slots=True)
class Places:
    """What `merklelog serve` was told: directories, or a root and every log below it; and its own file, if any."""

    directories: tuple[Path, ...] = ()
    root: Path | None = None
    config: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.directories) == (self.root is not None):
            raise ConfigError("serve: want data directories, or --root with every log below it, and not both")
        seen: dict[Path, Path] = {}
        for each in self.directories:
            if (other := seen.setdefault(each.resolve(), each)) is not each:
                raise ConfigError(f"{each}: given twice, as {other} too")

    @property
    def alone(self) -> bool:
        """Whether one log is served for good, and so stands at "/"."""
        return self.root is None and len(self.directories) == 1

    def find(self) -> list[Path]:
        """The data directories, absolute. Raises NotALogError, FormatVersionError, StorageError."""
        if self.root is None:
            for each in self.directories:
                check_directory(each)
            return [each.absolute() for each in self.directories]
        if not self.root.is_dir():
            raise NotALogError(f"{self.root}: no such directory")
        return sorted(_below(self.root.absolute()))

    def settings(self, environment: Mapping[str, str], options: Mapping[str, str]) -> ServerSettings:
        """The server's configuration: of its own file, of ROOT/server.toml, or of the only log's.

        A [server], [tls] or [limits] in a log's file that does not count is refused, so that nobody relies on it.
        Raises ConfigError.
        """
        own = self.config
        if own is None and self.root is not None and (self.root / FILE).exists():
            own = self.root / FILE
        if own is None and self.alone:
            others = {key.section for key in KEYS}
            return load_settings(self.find()[0] / LOG_FILE, environment, options, others=others)
        for each in self.find():
            if (where := has_server_sections(each / LOG_FILE)) is not None:
                raise ConfigError(
                    f"{where} does not count here: it does when this log is served alone and without --config"
                )
        return load_settings(own, environment, options)

    def prefix(self, log: Log) -> str:
        """The path below which HTTP serves this log. Raises ConfigError for an origin that gives none."""
        if self.alone:
            return "/"
        name = log.config.http_path or log.origin.rpartition("/")[2]
        if not is_http_path(name) or name in _OWN_PATHS:
            raise ConfigError(
                f"{log.path / LOG_FILE}: {name!r} can not be a log's path in URLs: set http.path to a name of "
                "a-z 0-9 . _ and - that the server does not use itself"
            )
        return f"/{name}/"


def _below(root: Path) -> Iterator[Path]:
    """Every data directory below `root`, not looking into those that were found; links are not followed."""

    def fail(error: OSError) -> None:
        raise StorageError(f"{error.filename}: {error.strerror}") from error

    for folder, inner, files in os.walk(root, onerror=fail):
        if LOG_FILE in files:
            yield Path(folder)
            inner.clear()
