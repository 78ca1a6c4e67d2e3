"""Every gRPC service of a server, together: what a front needs, whatever its wire."""

from __future__ import annotations

from . import handlers, health, reflection
from .rpc import MAX_MESSAGE_BYTES, Route, routes
from .searching import Searches
from .served import ServedLogs
from .waits import Waits


class Services:
    """The log service, health and reflection over the logs of a server; made in the event loop that answers."""

    def __init__(
        self,
        logs: ServedLogs,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        waits: Waits | None = None,
        searches: Searches | None = None,
    ) -> None:
        self.handlers = handlers.Handlers(
            logs, max_message_bytes=max_message_bytes, waits=waits, searches=searches
        )
        self.health = health.Health(logs)
        self.reflection = reflection.Reflection((handlers.SERVICE,))

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every method with what answers it."""
        return (
            *routes(handlers.METHODS, self.handlers),
            *routes(health.METHODS, self.health),
            *routes(reflection.METHODS, self.reflection),
        )

    def drain(self) -> None:
        """Say NOT_SERVING, and end every call that would go on for ever."""
        self.health.drain()
        self.handlers.drain()
