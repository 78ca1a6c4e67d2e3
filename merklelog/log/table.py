"""Configuration as a table of keys: read from a TOML file and the environment, checked whole.

An error names the file, the line and the key, or the environment variable. What keys there are is said by
`log.config` for a log and by `servers.settings` for a server; the reference page is generated from their tables.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError

Value = str | int | bool | float | tuple[str, ...]
ENVIRONMENT: Final = "MERKLELOG_"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a configuration: its section and name, its default, what it may be and what it means.

    A number is from `low` to `high`, whole unless the default has a fraction; a string is one of `choices` where
    there are any, and all of it matches `pattern`, which `form` says in words. A list is of strings, each of
    which matches `pattern`.
    """

    section: str
    name: str
    default: Value
    meaning: str
    low: float = 0
    high: float = 2**63 - 1
    choices: tuple[str, ...] = ()
    pattern: str = ""
    form: str = "a string"

    @property
    def dotted(self) -> str:
        """The key as messages and documents call it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"{ENVIRONMENT}{self.section.upper().replace('.', '__')}__{self.name.upper()}"


class Settings:
    """The checked values of a table's keys, by dotted name, and where each was written down."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._places: dict[str, str] = {}
        self._written: set[str] = set()

    def put(self, key: Key, value: object | None, place: str) -> None:
        """Take a value for this key, or None for its default; `place` is where it stands. Raises ConfigError."""
        if value is None:
            value = key.default
        else:
            self._written.add(key.dotted)
        self._values[key.dotted] = checked(place, key, value)
        self._places[key.dotted] = place

    def place(self, dotted: str) -> str:
        """Where the key's value stands, as messages begin: file, line and key, or the variable."""
        return self._places[dotted]

    def is_given(self, dotted: str) -> bool:
        """Whether somebody wrote the key's value down, be it the default."""
        return dotted in self._written

    def given(self, keys: Sequence[Key]) -> dict[str, Value]:
        """The values that are not their keys' defaults."""
        found = {key.dotted: key.default for key in keys}
        return {dotted: value for dotted, value in self._values.items() if value != found[dotted]}

    def text(self, dotted: str) -> str:
        """The value of a key that is a string."""
        return str(self._values[dotted])

    def texts(self, dotted: str) -> tuple[str, ...]:
        """The value of a key that is a list."""
        value = self._values[dotted]
        return value if isinstance(value, tuple) else ()

    def fraction(self, dotted: str) -> float:
        """The value of a key that is a number which may have a fraction."""
        value = self._values[dotted]
        return float(value) if isinstance(value, int | float) else 0.0

    def number(self, dotted: str) -> int:
        """The value of a key that is a whole number."""
        value = self._values[dotted]
        return value if isinstance(value, int) else 0

    def flag(self, dotted: str) -> bool:
        """The value of a key that is true or false."""
        return bool(self._values[dotted])


_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_NAME: Final = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s="']+))\s*=""")


class TomlFile:
    """A configuration file as it was read: its sections, and its text to find lines in."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        try:
            self.sections = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError names line and column
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """The file at that path. Raises ConfigError."""
        try:
            return cls(path, path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: {error}") from error

    def place(self, section: str, name: str | None = None) -> str:
        """The file, and the line of a key (or of its section); 1 when it is not written down."""
        found = self._lines.get((section, name)) or self._lines.get((section, None)) or 1
        return f"{self.path}:{found}"

    @cached_property
    def _lines(self) -> dict[tuple[str, str | None], int]:
        """The line of each section, with None, and of each key in it: looked for once, not by each key."""
        found: dict[tuple[str, str | None], int] = {}
        section = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            if line.lstrip().startswith("["):
                header = _HEADER.match(line)
                section = header[1] if header else ""
                found[section, None] = number
            elif written := _NAME.match(line):
                found.setdefault((section, written[1] or written[2] or written[3]), number)
        return found

    def check_names(self, keys: Sequence[Key], others: Collection[str] = ()) -> None:
        """Only sections and keys of the table, and the sections `others`, are there. Raises ConfigError."""
        known = {key.section for key in keys}
        for section, content in self.sections.items():
            if section in known:
                self._check_section(keys, section, content)
            elif section not in others:
                listed = ", ".join(sorted(known))
                raise ConfigError(f"{self.place(section)}: no section [{section}]; there is {listed}")

    def _check_section(self, keys: Sequence[Key], section: str, content: object) -> None:
        if not isinstance(content, dict):
            raise ConfigError(f"{self.place(section)}: {section} is a section, not a value")
        names = [key.name for key in keys if key.section == section]
        inner = {key.section for key in keys}
        for name, value in content.items():
            if f"{section}.{name}" in inner:
                self._check_section(keys, f"{section}.{name}", value)
            elif name not in names:
                listed = ", ".join(names)
                raise ConfigError(f"{self.place(section, name)}: no key {section}.{name}; there is {listed}")

    def value(self, key: Key) -> object | None:
        """The value that is written down for this key; None where none is."""
        at: object = self.sections
        for name in (*key.section.split("."), key.name):
            if not isinstance(at, dict) or name not in at:
                return None
            at = at[name]
        return at


def settle(file: TomlFile | None, keys: Sequence[Key], environment: Mapping[str, str]) -> Settings:
    """The value of every key: the variable's, else the file's, else the default. Raises ConfigError."""
    settings = Settings()
    for key in keys:
        if key.variable in environment:
            place = f"environment {key.variable}"
            settings.put(key, parse_value(place, key, environment[key.variable]), place)
        elif file is None:
            settings.put(key, None, key.dotted)
        else:
            settings.put(key, file.value(key), f"{file.place(key.section, key.name)}: {key.dotted}")
    return settings


def checked(place: str, key: Key, value: object) -> Value:
    """The value, if it is one that this key takes. Raises ConfigError naming the place."""
    if isinstance(key.default, tuple):
        return _checked_list(place, key, value)
    if isinstance(key.default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(key.default) or not isinstance(value, str | int | float):
        raise ConfigError(f"{place} is {value!r}: want {_kind(key)}")
    if isinstance(value, str):
        if (key.choices and value not in key.choices) or (
            key.pattern and not re.fullmatch(key.pattern, value)
        ):
            raise ConfigError(f"{place} is {value!r}: want {_kind(key)}")
    elif not isinstance(value, bool) and not key.low <= value <= key.high:
        raise ConfigError(f"{place} is {value}: want {key.low} to {key.high}")
    return value


def _checked_list(place: str, key: Key, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{place} is {value!r}: want {_kind(key)}")
    for item in value:
        if not item or (key.pattern and not re.fullmatch(key.pattern, item)):
            raise ConfigError(f"{place} has {item!r}: want {_kind(key)}")
    if len(set(value)) != len(value):
        raise ConfigError(f"{place} is {list(value)!r}: one of them stands there twice")
    return tuple(value)


def parse_value(place: str, key: Key, text: str) -> Value:
    """The value that a text gives this key, bounds not looked at. Raises ConfigError naming the place.

    A list is written as in TOML, or is its one item without brackets and quotes; an empty text is an empty list.
    """
    if isinstance(key.default, bool):
        if text not in ("true", "false"):
            raise ConfigError(f"{place} is {text!r}: want {_kind(key)}")
        return text == "true"
    if isinstance(key.default, int):
        if not re.fullmatch("[0-9]{1,19}", text, re.ASCII):
            raise ConfigError(f"{place} is {text!r}: want {_kind(key)}")
        return int(text)
    if isinstance(key.default, float):
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text, re.ASCII):
            raise ConfigError(f"{place} is {text!r}: want {_kind(key)}")
        return float(text)
    if isinstance(key.default, tuple):
        return _parse_list(place, key, text)
    return text


def _parse_list(place: str, key: Key, text: str) -> tuple[str, ...]:
    if not text.startswith("["):
        return (text,) if text else ()
    try:
        return _checked_list(place, key, tomllib.loads(f"x = {text}").get("x"))
    except (ValueError, RecursionError) as error:  # no TOML, a number too long to be one, or nested too deep
        raise ConfigError(f"{place} is {text[:200]!r}: want {_kind(key)}") from error


def _kind(key: Key) -> str:
    if isinstance(key.default, bool):
        return "true or false"
    if isinstance(key.default, int):
        return f"a whole number from {key.low} to {key.high}"
    if isinstance(key.default, float):
        return f"a number from {key.low} to {key.high}"
    if isinstance(key.default, tuple):
        return f"a list of strings, each {key.form}"
    return f"one of {', '.join(key.choices)}" if key.choices else key.form


def format_settings(keys: Sequence[Key], settings: Mapping[str, Value]) -> str:
    """The text of a new file: what was set, and every other key as a comment with its default.

    `settings` maps dotted keys to values. Raises ConfigError for a key that does not exist or a bad value.
    """
    known = {key.dotted for key in keys}
    for name in settings:
        if name not in known:
            raise ConfigError(f"no key {name}; there is {', '.join(sorted(known))}")
    lines: list[str] = []
    for section in dict.fromkeys(key.section for key in keys):
        lines += [*([""] if lines else []), f"[{section}]"]
        for key in keys:
            if key.section == section:
                value = checked(key.dotted, key, settings.get(key.dotted, key.default))
                mark = "" if key.dotted in settings else "# "
                lines += [f"# {key.meaning}", f"{mark}{key.name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # TOML's basic strings take no control characters, and a path may have some.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04X}", escaped) + '"'
