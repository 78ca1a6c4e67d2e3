"""What a server may listen on: beyond this machine only with TLS and tokens, unless its configuration says so.

A configuration that gives up one of the two repeats a whole sentence that says what that means. It can not be
written by mistake, and who reads the file sees what was decided.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError

WITHOUT_TLS: Final = "everyone on the way can read and change what is sent"
WITHOUT_TOKENS: Final = "everyone who reaches this server can append to its logs and read them"


@dataclass(frozen=True, slots=True)
class Waivers:
    """What `server.without_tls` and `server.without_tokens` say; empty for nothing."""

    without_tls: str = ""
    without_tokens: str = ""

    def check(self) -> None:
        """Raises ConfigError for words that are not the very ones."""
        pairs = (
            ("server.without_tls", self.without_tls, WITHOUT_TLS),
            ("server.without_tokens", self.without_tokens, WITHOUT_TOKENS),
        )
        for key, said, want in pairs:
            if said not in ("", want):
                raise ConfigError(f"{key} is {said!r}: want nothing, or to the letter {want!r}")


def is_local(address: str) -> bool:
    """Whether only this machine reaches that address: "127.0.0.1:7070", "[::1]:0", "localhost:80", "unix:PATH"."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name that may lead anywhere, or no host, which is every interface
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def check_exposure(
    addresses: Iterable[str], *, tls: bool, logs: Iterable[tuple[Path, bool]], waivers: Waivers
) -> bool:
    """Whether logs without tokens are open to all on these addresses (`Access(open_to_all=...)`).

    `logs` has each log's directory and whether it asks for tokens. Raises ConfigError for addresses beyond this
    machine without TLS, or with a log that asks for no token, unless the waivers say so.
    """
    waivers.check()
    exposed = [address for address in addresses if not is_local(address)]
    if not exposed:
        return True
    where = f"{exposed[0]} can be reached from other machines"
    if not tls and not waivers.without_tls:
        raise ConfigError(
            f"{where} and there is no TLS: set tls.certificate and tls.key, listen on 127.0.0.1, or say in the "
            f'configuration: server.without_tls = "{WITHOUT_TLS}"'
        )
    if waivers.without_tokens:
        return True
    for directory, asks in logs:
        if not asks:
            raise ConfigError(
                f"{where} and {directory} asks for no token: add one (merklelog token add {directory} --name NAME "
                f"--scope append), listen on 127.0.0.1, or say in the configuration: "
                f'server.without_tokens = "{WITHOUT_TOKENS}"'
            )
    return False
