"""By which names a server may be called that is open to all because only this machine reaches it.

Whoever owns a name can let it lead to 127.0.0.1, and a browser then takes their page for one of this server's own
(DNS rebinding): it may read what is answered, and write. Such a request tells the page's name as its host, so what
is open only because it is local is for local hosts. An address is one: no name had to lead here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from merklelog.errors import ForbiddenError
from merklelog.formats.wire import quote

_MAX_KNOWN: Final = 1_000
# A browser asks nobody where this leads (RFC 6761, section 6.3).
_LOCALHOST: Final = "localhost"


class Hosts:
    """The hosts that a request without a token may name: local ones, addresses, and `names`."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._good: set[bytes] = set()  # clients of a server write one host in a few ways

    def check(self, host: bytes | None) -> None:
        """Raises ForbiddenError for another name. A request without a host comes from no browser."""
        if host is None or host in self._good:
            return
        if not self._may(host.decode("latin-1")):
            raise ForbiddenError(
                f"host {quote(host[:255])}: who shows no token calls this server by a local name or its address; "
                f"other names of it stand in server.names"
            )
        if len(self._good) < _MAX_KNOWN:
            self._good.add(host)

    def _may(self, host: str) -> bool:
        bare, colon, port = host.rpartition(":")
        if not colon or not port.isdecimal():
            bare = host
        name = bare.lower().removesuffix(".")
        if name == _LOCALHOST or name.endswith(f".{_LOCALHOST}") or name in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


__all__ = ["Hosts"]
