"""`--set KEY=VALUE`: keys of a new log's configuration on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from merklelog.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from merklelog.log.table import Value


def parse_setting(text: str, own: Mapping[str, str]) -> tuple[str, Value]:
    """A dotted key and its value; `own` are keys that have an option. Raises UsageError, ConfigError."""
    from merklelog.log import KEYS, parse_value

    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--set {text!r}: want KEY=VALUE, like idempotency.days=7")
    if name in own:
        raise UsageError(f"--set {text!r}: use {own[name]}")
    found = next((key for key in KEYS if key.dotted == name), None)
    if found is None:
        free = ", ".join(key.dotted for key in KEYS if key.dotted not in own)
        raise ConfigError(f"--set {text!r}: no key {name}; there is {free}")
    return name, parse_value(f"--set {name}", found, value)
