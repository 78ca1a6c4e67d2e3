"""Telling a service manager how far a server is: ready, reloading, stopping.

Source: sd_notify(3) of systemd, "Description": a datagram of NAME=value lines to the socket that $NOTIFY_SOCKET
names.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends a server's state to whoever started it; does nothing where nobody asked for it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@name" is a name in Linux' abstract space, which begins with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Requests are taken; `status` is a line for a person."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The server drains."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(text.encode(), self._address)
        except OSError:
            return  # whoever asked is gone, and serving does not depend on it
