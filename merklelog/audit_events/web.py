"""Which requests of a web application are audit events, and what is said of them: for `asgi` and `wsgi` alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

from merklelog.errors import UsageError

from .acting import Actor
from .emit import build
from .emitters import LOGGER, UNCONFIRMED, Emitted, Emitter, emitter_or_used
from .event import ANONYMOUS, FAILURE, SUCCESS, UNKNOWN, AuditEvent
from .plain import Plain, plain_text

WEBSOCKET: Final = "WEBSOCKET"
# What changes something, and what opens a connection in which anything may be said.
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE", WEBSOCKET})
REFUSED: Final = b"The request was carried out, but no audit record of it could be stored.\n"
_LONGEST: Final = 2_048
_FAILED: Final = 400  # from this status on

Environment = MutableMapping[str, Any]  # an ASGI scope, or a WSGI environ
Naming = Callable[[Environment], str | None]


class Options(TypedDict, total=False):
    """The arguments of both middlewares, beside the application and `actor`; `AsgiAudit` says what they do."""

    resource: Naming | None
    methods: Collection[str] | None
    ignore: Collection[str]
    client: bool
    required: bool
    wait: float
    emitter: Emitter | None


@dataclass
class Request:
    """A request that becomes an event: what is known of it before the application runs, and then its status."""

    method: str
    path: str
    client: str | None
    status: int | None = None
    route: str | None = None
    began: float = field(default_factory=time.monotonic)


class Rules:
    """What is an event, who did it, and what must hold before an answer leaves. Shared by all requests."""

    def __init__(
        self,
        actor: Naming,
        *,
        resource: Naming | None = None,
        methods: Collection[str] | None = CHANGING,
        ignore: Collection[str] = (),
        client: bool = False,
        required: bool = False,
        wait: float = 10.0,
        emitter: Emitter | None = None,
    ) -> None:
        if required and (emitter is None or not emitter.confirms):
            raise UsageError(f"required=True needs an emitter: {UNCONFIRMED}")
        if isinstance(methods, str) or isinstance(ignore, str):
            raise UsageError("methods and ignore: want several words, as in {'POST', 'PUT'}")
        self.required = required
        self.wait = wait
        self.client = client
        self._actor = actor
        self._resource = resource
        self._methods = None if methods is None else frozenset(methods)
        self._ignored = frozenset(ignore)
        self._emitter = emitter
        self._lock = threading.Lock()
        self._lost = 0

    @property
    def lost(self) -> int:
        """How many events were made and not handed over, or not seen to be stored where that is required."""
        return self._lost

    def wants(self, method: str, path: str) -> bool:
        """Whether such a request is an event."""
        return (self._methods is None or method in self._methods) and path not in self._ignored

    @property
    def emitter(self) -> Emitter:
        """Where events go now."""
        return emitter_or_used(self._emitter)

    def acting(self, environment: Environment) -> Actor:
        """Whose request it is. Raises UsageError when the application's function for that fails."""
        name = _asked(self._actor, environment, "actor")
        return Actor(None, ANONYMOUS) if name is None else Actor(name, "user")

    def event(self, request: Request, environment: Environment, error: BaseException | None) -> AuditEvent:
        """The event of a request that is over, or about to be answered. Raises as `acting` does."""
        acting = self.acting(environment)
        path = request.path if self._resource is None else _asked(self._resource, environment, "resource")
        method = plain_text(request.method)
        details: dict[str, Plain] = {
            "method": method,
            "route": request.route,
            "status": request.status,
            "client": request.client if self.client else None,
            "milliseconds": round((time.monotonic() - request.began) * 1_000),
            "error": None if error is None else type(error).__qualname__,
        }
        return build(
            method if request.route is None else f"{method} {request.route}",
            actor=acting.name,
            actor_type=acting.type,
            resource=path[:_LONGEST] if path else None,
            resource_type="http",
            outcome=_outcome(request.status, error),
            details={name: value for name, value in details.items() if value is not None},
        )

    def lose(self, request: Request, error: BaseException) -> None:
        """Count an event that is not there, and say so."""
        with self._lock:
            self._lost += 1
        kind = type(error).__name__
        LOGGER.error("no audit event of %s %.200r: %s: %s", request.method, request.path, kind, error)

    def record(self, request: Request, environment: Environment, error: BaseException | None) -> bool:
        """Make and emit a request's event; with `required`, wait until it is stored. False when it was lost."""
        try:
            event, emitter = self.event(request, environment, error), self.emitter
            emitted = Emitted(event, emitter.emit(event))
            if self.required:
                emitted.stored(self.wait)
        except Exception as failed:  # noqa: BLE001 - whatever an emitter does: it is said, and harms no answer
            self.lose(request, failed)
            return False
        return True

    async def record_async(
        self, request: Request, environment: Environment, error: BaseException | None
    ) -> bool:
        """`record` for a coroutine."""
        try:
            event, emitter = self.event(request, environment, error), self.emitter
            emitted = Emitted(event, await emitter.emit_async(event))
            if self.required:
                await emitted.stored_async(self.wait)
        except Exception as failed:  # noqa: BLE001 - whatever an emitter does: it is said, and harms no answer
            self.lose(request, failed)
            return False
        return True


def _asked(function: Naming, environment: Environment, what: str) -> str | None:
    """What a function of the application says. Raises UsageError when it fails, or says something else."""
    try:
        told = function(environment)
    except Exception as error:
        raise UsageError(f"{what}: {type(error).__qualname__}: {error}") from error
    if told is not None and not isinstance(told, str):
        raise UsageError(f"{what}: it gave {type(told).__qualname__}, want text or None")
    return plain_text(told) if told else None


def _outcome(status: int | None, error: BaseException | None) -> str:
    if error is not None:
        return FAILURE if isinstance(error, Exception) else UNKNOWN
    if status is None:
        return UNKNOWN
    return SUCCESS if status < _FAILED else FAILURE


def user_of(scope: Mapping[str, Any]) -> str | None:
    """The user that an authentication middleware put into an ASGI scope: `scope["user"]`, its name or itself."""
    user = scope.get("user")
    if user is None or isinstance(user, str):
        return user or None
    if not getattr(user, "is_authenticated", True):
        return None
    for name in ("identity", "username", "display_name"):
        try:
            told = getattr(user, name, None)
        except RuntimeError:  # Starlette's users raise one of its kind unless somebody gave them an identity
            continue
        if isinstance(told, str) and told:
            return told
    return None
