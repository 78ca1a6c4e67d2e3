"""A witness' configuration: `DIR/witness.toml`, overridden by `MERKLELOG_SECTION__KEY`, checked whole.

`WITNESS_KEYS` is the one table of what can be set; the reference page is generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, KeyFormatError
from merklelog.formats import validate_key_name
from merklelog.formats.witness import MAX_REQUEST_BYTES
from merklelog.log.table import Key, Settings, TomlFile, parse_value, settle

FILE: Final = "witness.toml"
_ADDRESS: Final = r"|unix:.+|\[[0-9a-fA-F:.]+(%[\w.-]+)?\]:[0-9]{1,5}|[A-Za-z0-9._-]+:[0-9]{1,5}"
_FORM: Final = "HOST:PORT, [IPv6]:PORT, unix:PATH, or nothing for none"
OPEN_ADMIN: Final = "everyone who reaches this witness can read its metrics"
WITHOUT_TLS: Final = "everyone on the way can hold back what is sent"


def _waiver(name: str, sentence: str, what: str) -> Key:
    form = f"nothing, or to the letter {sentence!r}"
    return Key(
        "witness_server", name, "", f'"{sentence}" {what}', pattern=f"|{re.escape(sentence)}", form=form
    )


WITNESS_KEYS: Final = (
    Key(
        "witness_server", "name", "", "the witness' name in every cosignature; set by init and never changed"
    ),
    Key(
        "witness_server",
        "keys",
        "keys",
        "where the private keys are: absolute, or below the witness' directory",
    ),
    Key(
        "witness_server", "logs", "logs", "where the logs it knows are: a directory of policies, NAME.policy"
    ),
    Key(
        "witness_server",
        "http",
        "127.0.0.1:7081",
        "where it takes checkpoints and shows them",
        pattern=_ADDRESS,
        form=_FORM,
    ),
    Key(
        "witness_server",
        "admin",
        "127.0.0.1:7091",
        "where metrics and readiness are",
        pattern=_ADDRESS,
        form=_FORM,
    ),
    Key(
        "witness_server",
        "drain_seconds",
        10,
        "how long requests under way may take after a stop",
        low=1,
        high=3_600,
    ),
    Key(
        "witness_server",
        "log_format",
        "human",
        "how its own log is written to standard error: lines to read, or a JSON object a line",
        choices=("human", "json"),
    ),
    Key(
        "witness_server",
        "log_level",
        "info",
        "what is left out of it: all that weighs less",
        choices=("debug", "info", "warning", "error"),
    ),
    _waiver("without_tls", WITHOUT_TLS, "lets it listen beyond this machine without TLS, as behind a proxy"),
    _waiver("open_admin", OPEN_ADMIN, "lets admin be an address beyond this machine"),
    Key(
        "witness_server", "certificate", "", "its certificate and those it was signed with, PEM; none: no TLS"
    ),
    Key("witness_server", "certificate_key", "", "the certificate's private key, PEM"),
    Key(
        "witness_server",
        "request_bytes",
        MAX_REQUEST_BYTES,
        "the longest request",
        low=8 << 10,
        high=1 << 20,
    ),
    Key(
        "witness_server",
        "rate",
        200.0,
        "requests a second that one client's address may make for one log, and twice as many at once; 0: any",
        high=1e6,
    ),
    Key(
        "witness_server",
        "waiting",
        4_096,
        "requests that may wait for signatures and the disk at a time",
        low=1,
        high=1 << 20,
    ),
    Key("witness_server", "connections", 8_192, "connections at a time", low=1, high=1 << 20),
)


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """The checked configuration of one witness; paths are absolute, `certificate` None without TLS."""

    name: str
    keys: Path
    logs: Path
    http: str
    admin: str
    drain_seconds: int
    log_format: str
    log_level: str
    without_tls: str
    open_admin: str
    certificate: tuple[Path, Path] | None
    request_bytes: int
    rate: float
    waiting: int
    connections: int


def load_witness_config(
    directory: Path, environment: Mapping[str, str], options: Mapping[str, str] | None = None
) -> WitnessConfig:
    """Read and check a witness' configuration; `options` maps dotted keys to texts that go first.

    Raises ConfigError naming the file, the line and the key.
    """
    file = TomlFile.read(directory / FILE)
    file.check_names(WITNESS_KEYS)
    got = settle(file, WITNESS_KEYS, environment)
    by_name = {key.dotted: key for key in WITNESS_KEYS}
    for dotted, text in (options or {}).items():
        place = f"option --{by_name[dotted].name.replace('_', '-')}"
        got.put(by_name[dotted], parse_value(place, by_name[dotted], text), place)
    base = directory.absolute()
    return WitnessConfig(
        name=_checked_name(got),
        keys=base / got.text("witness_server.keys"),
        logs=base / got.text("witness_server.logs"),
        http=_address(got, "http"),
        admin=_address(got, "admin"),
        drain_seconds=got.number("witness_server.drain_seconds"),
        log_format=got.text("witness_server.log_format"),
        log_level=got.text("witness_server.log_level"),
        without_tls=got.text("witness_server.without_tls"),
        open_admin=got.text("witness_server.open_admin"),
        certificate=_certificate(got, base),
        request_bytes=got.number("witness_server.request_bytes"),
        rate=got.fraction("witness_server.rate"),
        waiting=got.number("witness_server.waiting"),
        connections=got.number("witness_server.connections"),
    )


def _checked_name(got: Settings) -> str:
    try:
        return validate_key_name(got.text("witness_server.name"))
    except KeyFormatError as error:
        raise ConfigError(f"{got.place('witness_server.name')}: {error}") from error


def _address(got: Settings, name: str) -> str:
    address = got.text(f"witness_server.{name}")
    place = got.place(f"witness_server.{name}")
    if not address and name == "http":
        raise ConfigError(f"{place} is empty: a witness listens somewhere")
    if address and not address.startswith("unix:") and int(address.rpartition(":")[2]) > 65_535:
        raise ConfigError(f"{place} is {address!r}: want a port from 0 to 65535")
    return address


def _certificate(got: Settings, base: Path) -> tuple[Path, Path] | None:
    certificate, key = got.text("witness_server.certificate"), got.text("witness_server.certificate_key")
    if bool(certificate) != bool(key):
        raise ConfigError(
            f"{got.place('witness_server.certificate')}: want it and witness_server.certificate_key, or neither"
        )
    return (base / certificate, base / key) if certificate else None
