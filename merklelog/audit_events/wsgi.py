"""WSGI middleware: a request is an audit event (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, Final, Unpack

from .acting import be_acting
from .web import REFUSED, Environment, Naming, Options, Request, Rules

Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
Application = Callable[[Any, Any], Iterable[bytes]]  # frameworks type its environ in ways of their own

_STATUS: Final = "503 Service Unavailable"
_HEADERS: Final = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(REFUSED)))]


def remote_user(environ: Environment) -> str | None:
    """The user whom the server authenticated: `REMOTE_USER`."""
    user = environ.get("REMOTE_USER")
    return _text(user) if isinstance(user, str) and user else None


class WsgiAudit:
    """Puts an audit event behind each request of `app`: see AsgiAudit, whose arguments these are.

    `actor` and `resource` are called with the environ; by default the actor is `REMOTE_USER`. The route is what a
    framework left under `merklelog.route`, if anything.
    """

    def __init__(self, app: Application, *, actor: Naming = remote_user, **options: Unpack[Options]) -> None:
        self._app = app
        self._rules = Rules(actor, **options)

    @property
    def lost(self) -> int:
        """How many requests have no event, or none that was seen to be stored where that is required."""
        return self._rules.lost

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = _text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
        method = _text(environ["REQUEST_METHOD"])
        if not self._rules.wants(method, path):
            return self._app(environ, start_response)
        request = Request(method, path, environ.get("REMOTE_ADDR"))
        context = copy_context()
        context.run(be_acting, lambda: self._rules.acting(environ))
        answer = _Answer(self._rules, request, environ, start_response, context)
        answer.begin(self._app)
        return answer


class _Answer:
    """What becomes of one request: the application's answer, held back while that is required, and its event.

    All of the application runs in one context of its own: a server may answer many requests in one thread, and
    goes on with the answer after the call is over.
    """

    def __init__(
        self, rules: Rules, request: Request, environ: Environment, start: StartResponse, context: Context
    ) -> None:
        self._rules = rules
        self._request = request
        self._environ = environ
        self._server_start = start
        self._context = context
        self._started: tuple[Any, ...] | None = None  # what start_response was called with, held back
        self._write: Write | None = None  # the server's, once it was told that the answer starts
        self._answer: Iterable[bytes] = ()
        self._parts: Iterator[bytes] = iter(())
        self._recorded = False
        self._refused = False

    def begin(self, app: Application) -> None:
        """Call the application."""
        try:
            self._answer = self._context.run(app, self._environ, self._start)
            if not self._refused:  # by what the application wrote
                self._parts = self._context.run(iter, self._answer)
        except BaseException as error:
            self._failed(error)
            raise

    def _start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Write:
        """The application's start_response; called again with `exc_info` it takes back an answer not yet sent."""
        if self._write is not None and not self._refused:
            # What was sent can not be taken back: then the server raises what the application had caught.
            self._server_start(status, headers, *exc_info)
        self._request.status = int(status[:3]) if status[:3].isdecimal() else None
        self._started = (status, headers, *exc_info)
        if not self._rules.required:
            self._open()
        return self._write_part

    def _write_part(self, data: bytes) -> None:
        self._open()
        if self._write is not None and not self._refused:
            self._write(data)

    def _open(self) -> None:
        """Tell the server that the answer starts; where an event is required, after it was stored."""
        if self._write is not None or self._started is None:
            return
        if self._rules.required and not self._record(None):
            self._refused = True
            self._write = self._server_start(_STATUS, list(_HEADERS))
            self._parts = iter((REFUSED,))
            return
        self._write = self._server_start(*self._started)

    def _record(self, error: BaseException | None) -> bool:
        self._recorded = True
        route = self._environ.get("merklelog.route")
        self._request.route = route if isinstance(route, str) and route else None
        return self._rules.record(self._request, self._environ, error)

    def _failed(self, error: BaseException) -> None:
        if not self._recorded or not self._refused:
            self._record(error)

    # --- what the server iterates over ------------------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._refused:
            return next(self._parts)
        try:
            part = self._context.run(next, self._parts, None)
        except BaseException as error:
            self._failed(error)
            raise
        if self._write is None:
            self._open()
        if self._refused:
            return next(self._parts)
        if part is None:
            raise StopIteration
        return part

    def close(self) -> None:
        """The server is done with the answer."""
        try:
            closing = getattr(self._answer, "close", None)
            if closing is not None:
                self._context.run(closing)
        finally:
            if not self._recorded:
                self._record(None)


def _text(value: str) -> str:
    """Text of an environ, which is bytes in the guise of latin-1."""
    return value.encode("latin-1", "backslashreplace").decode("utf-8", "backslashreplace")
