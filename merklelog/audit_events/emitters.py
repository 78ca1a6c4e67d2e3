"""Where audit events go: what an emitter is, which one is used, and what an emitted event can tell."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from merklelog.errors import UsageError

from .event import AuditEvent

if TYPE_CHECKING:
    from merklelog.client.producer_batch import Sent
    from merklelog.log.receipt import Receipt

LOGGER: Final = logging.getLogger("merklelog.audit_events")
UNCONFIRMED: Final = (
    "this emitter can not say when an event is stored; one over a producer can (ProducerEmitter)"
)


class Emitter(Protocol):
    """Takes events. Safe for threads; it may wait for room in memory, never for the network.

    With `confirms` what it gives back is a future of the entry in the log; without, None: the event is on its way,
    and nobody here will learn whether it arrives.
    """

    @property
    def confirms(self) -> bool:
        """Whether `emit` gives a future."""

    def emit(self, event: AuditEvent) -> Sent | None:
        """Take one event. Raises MerklelogError when it does not."""

    async def emit_async(self, event: AuditEvent) -> Sent | None:
        """`emit` for a coroutine: waits for room without blocking its event loop."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event that was handed over; `sent` is the producer's future where there is one."""

    event: AuditEvent
    sent: Sent | None

    @property
    def record_id(self) -> str:
        """What identifies the event for ever."""
        return self.event.record_id

    def stored(self, timeout: float | None = None) -> Receipt:
        """The receipt of its entry, once that is durable and verified; waits for it.

        Raises what `Sent.result` does, TimeoutError among it, and UsageError where the emitter can not say.
        """
        if self.sent is None:
            raise UsageError(UNCONFIRMED)
        return self.sent.result(timeout)

    async def stored_async(self, timeout: float | None = None) -> Receipt:
        """`stored` for a coroutine."""
        if self.sent is None:
            raise UsageError(UNCONFIRMED)
        import asyncio

        try:
            async with asyncio.timeout(timeout):
                return await self.sent
        except TimeoutError:
            raise TimeoutError(f"no outcome within {timeout} s; the entry may still be stored") from None


_lock: Final = threading.Lock()
_used: Emitter | None = None


def use(emitter: Emitter | None) -> Emitter | None:
    """Send this process's audit events there from now on; None: to OpenTelemetry, as at first.

    Gives what was used before.
    """
    global _used  # one destination a process, as OpenTelemetry and logging have theirs
    with _lock:
        before, _used = _used, emitter
    return before


def emitter_or_used(emitter: Emitter | None) -> Emitter:
    """`emitter`, else the one in use. Raises UsageError where OpenTelemetry is needed and not installed."""
    global _used
    if emitter is not None:
        return emitter
    with _lock:
        if _used is None:
            _used = _opentelemetry()
        return _used


def _opentelemetry() -> Emitter:
    try:
        from .otel import OtelEmitter
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "opentelemetry":
            raise
        raise UsageError(
            "audit events go to OpenTelemetry, which is not installed: pip install opentelemetry-sdk, "
            "or say where else with merklelog.audit_events.use(...)"
        ) from error
    return OtelEmitter()


def checked_wait(emitter: Emitter, wait: float | None) -> None:
    """Raises UsageError when somebody means to wait for what the emitter can not tell."""
    if wait is not None and not emitter.confirms:
        raise UsageError(f"wait={wait!r}: {UNCONFIRMED}")
