"""A server's configuration: [server], [tls] and [limits], overridden by `MERKLELOG_SECTION__KEY`, checked whole.

They stand in a file of their own (`server.toml`, or any name), or in `merklelog.toml` of the only log that is
served. `SERVER_KEYS` is the one table of what can be set; the reference page is generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError
from merklelog.log import Key
from merklelog.log.table import Settings, TomlFile, Value, parse_value, settle

from .exposure import WITHOUT_TLS, WITHOUT_TOKENS

FILE: Final = "server.toml"
_ADDRESS: Final = r"|unix:.+|\[[0-9a-fA-F:.]+(%[\w.-]+)?\]:[0-9]{1,5}|[A-Za-z0-9._-]+:[0-9]{1,5}"
_FORM: Final = "HOST:PORT, [IPv6]:PORT, unix:PATH, or nothing for none"


_DOORS: Final = ("grpc", "http", "admin", "otlp_grpc", "otlp_http")
OPEN_ADMIN: Final = "everyone who reaches this server can read its metrics and the names of its logs"


def _address(name: str, port: int, meaning: str) -> Key:
    """An address; with a port of 0 it is by default none."""
    return Key("server", name, f"127.0.0.1:{port}" if port else "", meaning, pattern=_ADDRESS, form=_FORM)


def _waiver(name: str, sentence: str, what: str) -> Key:
    form = f"nothing, or to the letter {sentence!r}"
    return Key("server", name, "", f'"{sentence}" {what}', pattern=f"|{re.escape(sentence)}", form=form)


SERVER_KEYS: Final = (
    _address("grpc", 7070, "where gRPC listens"),
    _address("http", 7080, "where HTTP listens"),
    _address("admin", 7090, "where metrics and readiness are; nobody is asked for a token there"),
    _address(
        "otlp_grpc",
        0,
        "where OpenTelemetry's logs come in over gRPC, by custom at port 4317; none: they do not",
    ),
    _address("otlp_http", 0, "where they come in over HTTP, by custom at port 4318; none: they do not"),
    Key(
        "server",
        "otlp_log_attribute",
        "",
        "the resource attribute that names the log of a record by its origin, where neither a token nor the "
        "header merklelog-log does; none: there is no such attribute",
        pattern=r"[^\0]{0,255}",
        form="an attribute's key",
    ),
    Key(
        "server",
        "grpc_front",
        "native",
        "what serves gRPC: native, which can have the address of HTTP too, or grpcio, slower and longer in use",
        choices=("native", "grpcio"),
    ),
    Key(
        "server",
        "http_front",
        "lean",
        "what serves HTTP that has no TLS and an address of its own: lean, HTTP/1.1 only and quicker at appends, "
        "or native, which is what serves it everywhere else and speaks HTTP/2 too",
        choices=("lean", "native"),
    ),
    Key(
        "server",
        "audit_pace",
        2_000,
        "how many entries a second it re-reads and re-hashes of its own logs and their copies, for ever; 0: none",
        high=10_000_000,
    ),
    Key("server", "drain_seconds", 30, "how long requests under way may take after a stop", high=3_600),
    Key(
        "server",
        "log_format",
        "human",
        "how the server's own log is written to standard error: lines to read, or a JSON object a line",
        choices=("human", "json"),
    ),
    Key(
        "server",
        "log_level",
        "info",
        "what is left out of it: all that weighs less",
        choices=("debug", "info", "warning", "error"),
    ),
    Key(
        "server",
        "names",
        (),
        "names by which HTTP clients without a token may call a server on loopback, beside localhost and "
        "addresses: those of a proxy in front of it",
        pattern=r"[A-Za-z0-9._-]+",
        form="a host name without a port",
    ),
    _waiver("without_tls", WITHOUT_TLS, "lets it listen beyond this machine without TLS"),
    _waiver("without_tokens", WITHOUT_TOKENS, "lets it serve logs beyond this machine that ask for no token"),
    _waiver("open_admin", OPEN_ADMIN, "lets server.admin be an address beyond this machine"),
    Key("tls", "certificate", "", "the server's certificate and those it was signed with, PEM; none: no TLS"),
    Key("tls", "key", "", "the certificate's private key, PEM"),
    Key("tls", "client_ca", "", "who signs client certificates, PEM; set, every client must show one"),
    Key("limits", "message_bytes", 16 << 20, "the longest gRPC message", low=64 << 10, high=1 << 30),
    Key(
        "limits", "header_bytes", 32 << 10, "the longest header block of a request", low=4 << 10, high=1 << 20
    ),
    Key(
        "limits",
        "connections",
        8_192,
        "connections at a time at each address; all together at most half the files that may be open",
        low=1,
        high=1 << 20,
    ),
    Key("limits", "requests", 16_384, "HTTP requests under way at a time", low=1, high=1 << 20),
    Key("limits", "calls", 2_048, "gRPC calls under way at a time, streams apart", low=1, high=1 << 20),
    Key("limits", "streams", 1_024, "gRPC streams at a time", low=1, high=1 << 20),
    Key(
        "limits",
        "header_seconds",
        10,
        "how long a client may take for a request's headers",
        low=1,
        high=3_600,
    ),
    Key("limits", "body_seconds", 20, "how long it may send nothing in a body", low=1, high=3_600),
    Key("limits", "write_seconds", 60, "how long it may take nothing of an answer", low=1, high=3_600),
    Key("limits", "stall_seconds", 30, "how long it may take nothing of a stream", low=1, high=3_600),
    Key(
        "limits",
        "unread_bytes",
        256 << 20,
        "gRPC messages that have not come whole, all together (native front)",
        low=1 << 20,
        high=1 << 40,
    ),
    Key(
        "limits",
        "wait_seconds",
        30,
        "how long an append may wait to be published before it is answered as integrated",
        low=1,
        high=3_600,
    ),
    Key(
        "limits", "idle_seconds", 120, "how long a connection may stay without a request", low=1, high=86_400
    ),
)


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Files of the TLS configuration, absolute; `client_ca` None when no client certificate is asked for."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes from its clients: bytes, numbers at a time, and seconds."""

    message_bytes: int
    header_bytes: int
    connections: int
    requests: int
    calls: int
    streams: int
    header_seconds: int
    body_seconds: int
    write_seconds: int
    stall_seconds: int
    unread_bytes: int
    wait_seconds: int
    idle_seconds: int


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The checked configuration of one server. An address of "" is not listened at.

    `given` has every key, dotted, whose value is not its default.
    """

    given: Mapping[str, Value]
    grpc: str
    http: str
    admin: str
    otlp_grpc: str
    otlp_http: str
    otlp_log_attribute: str
    grpc_front: str
    http_front: str
    audit_pace: int
    drain_seconds: int
    log_format: str
    log_level: str
    names: tuple[str, ...]
    without_tls: str
    without_tokens: str
    open_admin: str
    tls: TlsPaths | None
    limits: Limits


def load_settings(
    path: Path | None,
    environment: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    *,
    others: Collection[str] = (),
) -> ServerSettings:
    """Read and check a server's configuration; without a path, the defaults and the environment.

    `options` maps dotted keys to texts that go before both, `others` are sections of the file that are not a
    server's. Relative paths are below the file's directory. Raises ConfigError.
    """
    file = None
    if path is not None:
        file = TomlFile.read(path)
        file.check_names(SERVER_KEYS, others)
    got = settle(file, SERVER_KEYS, environment)
    by_name = {key.dotted: key for key in SERVER_KEYS}
    for dotted, text in (options or {}).items():
        place = f"option --{by_name[dotted].name.replace('_', '-')}"
        got.put(by_name[dotted], parse_value(place, by_name[dotted], text), place)
    return ServerSettings(
        given=got.given(SERVER_KEYS),
        **_addresses(got),
        otlp_log_attribute=got.text("server.otlp_log_attribute"),
        grpc_front=got.text("server.grpc_front"),
        http_front=got.text("server.http_front"),
        audit_pace=got.number("server.audit_pace"),
        drain_seconds=got.number("server.drain_seconds"),
        log_format=got.text("server.log_format"),
        log_level=got.text("server.log_level"),
        names=got.texts("server.names"),
        without_tls=got.text("server.without_tls"),
        without_tokens=got.text("server.without_tokens"),
        open_admin=got.text("server.open_admin"),
        tls=_tls(got, Path() if path is None else path.parent),
        limits=_limits(got),
    )


def has_server_sections(path: Path) -> str | None:
    """Where in a log's file a server's section begins; None when there is none. Raises ConfigError."""
    file = TomlFile.read(path)
    section = next((key.section for key in SERVER_KEYS if key.section in file.sections), None)
    return None if section is None else f"{file.place(section)}: [{section}]"


def _addresses(got: Settings) -> dict[str, str]:
    """The addresses, each of them another; but the native front can have gRPC and HTTP at one."""
    found: dict[str, str] = {}
    for name in _DOORS:
        address = got.text(f"server.{name}")
        if not address.startswith("unix:") and address and int(address.rpartition(":")[2]) > 65_535:
            raise ConfigError(f"{got.place(f'server.{name}')} is {address!r}: want a port from 0 to 65535")
        taken = next((other for other, its in found.items() if its == address != ""), None)
        one_door = (taken, name) == ("grpc", "http") and got.text("server.grpc_front") == "native"
        if taken is not None and not one_door and not address.endswith(":0"):
            raise ConfigError(f"{got.place(f'server.{name}')} is {address!r}, which server.{taken} has too")
        found[name] = address
    if not any(found.values()):
        named = ", ".join(f"server.{name}" for name in _DOORS[1:])
        raise ConfigError(f"{got.place('server.grpc')}, {named} are empty: want one")
    return found


def _tls(got: Settings, folder: Path) -> TlsPaths | None:
    certificate, key, client_ca = (got.text(f"tls.{name}") for name in ("certificate", "key", "client_ca"))
    if not certificate:
        for name, value in (("key", key), ("client_ca", client_ca)):
            if value:
                raise ConfigError(f"{got.place(f'tls.{name}')} is set, but tls.certificate is not")
        return None
    if not key:
        raise ConfigError(f"{got.place('tls.certificate')} is set, but tls.key is not")
    base = folder.absolute()
    return TlsPaths(base / certificate, base / key, base / client_ca if client_ca else None)


def _limits(got: Settings) -> Limits:
    names = (key.name for key in SERVER_KEYS if key.section == "limits")
    found = Limits(**{name: got.number(f"limits.{name}") for name in names})
    if found.unread_bytes < found.message_bytes:
        raise ConfigError(
            f"{got.place('limits.unread_bytes')} is {found.unread_bytes}: want at least limits.message_bytes, "
            f"{found.message_bytes}, or the longest message never comes whole"
        )
    return found


__all__ = [
    "FILE",
    "SERVER_KEYS",
    "Limits",
    "ServerSettings",
    "TlsPaths",
    "has_server_sections",
    "load_settings",
]
