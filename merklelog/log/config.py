"""A log's configuration: `DIR/merklelog.toml`, overridden by `MERKLELOG_SECTION__KEY`, checked whole.

An error names the file, the line and the key. `KEYS` is the one table of what can be set; the reference page is
generated from it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, OriginError
from merklelog.formats import validate_origin

FILE: Final = "merklelog.toml"
MIB: Final = 1 << 20
ENVIRONMENT: Final = "MERKLELOG_"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration: its section and name, its default, its bounds and what it means."""

    section: str
    name: str
    default: str | int | bool
    meaning: str
    low: int = 0
    high: int = 2**63 - 1

    @property
    def dotted(self) -> str:
        """The key as messages and documents call it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"{ENVIRONMENT}{self.section.upper()}__{self.name.upper()}"


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
    Key("store", "min_free_bytes", 1024 * MIB, "free bytes on the disk under which appends are refused"),
    Key("idempotency", "days", 30, "days an idempotency key is remembered", low=1, high=36_500),
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

    def keys_path(self, directory: Path) -> Path:
        """Where the private keys are."""
        return directory / self.keys


def load_config(directory: Path, environment: Mapping[str, str] | None = None) -> LogConfig:
    """Read and check a log's configuration. Raises ConfigError."""
    path = directory / FILE
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError names line and column; UnicodeDecodeError the byte
        raise ConfigError(f"{path}: {error}") from error
    for section, content in values.items():
        _check_section(path, text, section, content)
    return _config(path, text, values, os.environ if environment is None else environment)


def _check_section(path: Path, text: str, section: str, content: object) -> None:
    known = {key.section for key in KEYS}
    if section not in known:
        listed = ", ".join(sorted(known))
        raise ConfigError(f"{path}:{_line(text, section, None)}: no section [{section}]; there is {listed}")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:{_line(text, section, None)}: {section} is a section, not a value")
    names = [key.name for key in KEYS if key.section == section]
    for name in content:
        if name not in names:
            where = f"{path}:{_line(text, section, name)}"
            raise ConfigError(f"{where}: no key {section}.{name}; there is {', '.join(names)}")


def _config(
    path: Path, text: str, values: Mapping[str, Mapping[str, object]], env: Mapping[str, str]
) -> LogConfig:
    got: dict[str, str | int | bool] = {}
    for key in KEYS:
        where = f"{path}:{_line(text, key.section, key.name)}: {key.dotted}"
        value: object = values.get(key.section, {}).get(key.name, key.default)
        if key.variable in env:
            where = f"environment {key.variable}"
            value = _from_text(where, key, env[key.variable])
        got[key.dotted] = _checked(where, key, value)
    try:
        validate_origin(str(got["log.origin"]))
    except OriginError as error:
        raise ConfigError(f"{path}:{_line(text, 'log', 'origin')}: log.origin: {error}") from error
    return LogConfig(
        origin=str(got["log.origin"]),
        keys=str(got["log.keys"]),
        dedupe=bool(got["log.dedupe"]),
        lookup=bool(got["log.lookup"]),
        max_pending_bytes=int(got["log.max_pending_bytes"]),
        min_free_bytes=int(got["store.min_free_bytes"]),
        idempotency_days=int(got["idempotency.days"]),
    )


def _checked(where: str, key: Key, value: object) -> str | int | bool:
    if type(value) is not type(key.default):
        raise ConfigError(f"{where} is {value!r}: want {_kind(key)}")
    if isinstance(value, int) and not isinstance(value, bool) and not key.low <= value <= key.high:
        raise ConfigError(f"{where} is {value}: want {key.low} to {key.high}")
    if not isinstance(value, str | int):
        raise ConfigError(f"{where} is {value!r}: want {_kind(key)}")
    return value


def _from_text(where: str, key: Key, text: str) -> object:
    if isinstance(key.default, bool):
        if text not in ("true", "false"):
            raise ConfigError(f"{where} is {text!r}: want {_kind(key)}")
        return text == "true"
    if isinstance(key.default, int):
        if not re.fullmatch("[0-9]{1,19}", text, re.ASCII):
            raise ConfigError(f"{where} is {text!r}: want {_kind(key)}")
        return int(text)
    return text


def _kind(key: Key) -> str:
    if isinstance(key.default, bool):
        return "true or false"
    return f"a whole number from {key.low} to {key.high}" if isinstance(key.default, int) else "a string"


def _line(text: str, section: str, name: str | None) -> int:
    """The line of a key (or of its section), for messages; 1 when it is not written down."""
    found, inside = 1, False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[\s*{re.escape(section)}\s*\]", line):
            found, inside = number, True
        elif re.match(r"\s*\[", line):
            inside = False
        elif name is not None and inside and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
            return number
    return found


def format_config(settings: Mapping[str, str | int | bool]) -> str:
    """The text of a new configuration: what was set, and every other key as a comment with its default.

    `settings` maps dotted keys to values. Raises ConfigError for a key that does not exist or a bad value.
    """
    known = {key.dotted for key in KEYS}
    for name in settings:
        if name not in known:
            raise ConfigError(f"no key {name}; there is {', '.join(sorted(known))}")
    lines: list[str] = []
    for section in dict.fromkeys(key.section for key in KEYS):
        lines += [*([""] if lines else []), f"[{section}]"]
        for key in KEYS:
            if key.section == section:
                value = _checked(key.dotted, key, settings.get(key.dotted, key.default))
                mark = "" if key.dotted in settings else "# "
                lines += [f"# {key.meaning}", f"{mark}{key.name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # TOML's basic strings take no control characters, and a path may have some.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04X}", escaped) + '"'
