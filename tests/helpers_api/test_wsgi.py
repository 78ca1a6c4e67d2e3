"""The WSGI middleware, by PEP 3333 as wsgiref's validator reads it: events, actors, answers that are held back."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import merklelog
from merklelog.audit_events import WsgiAudit, acting_as
from merklelog.audit_events.web import REFUSED
from merklelog.errors import ClosedError, UsageError

from .conftest import Confirming

PLAIN = [("Content-Type", "text/plain")]
TROUBLES = ({"fails": ClosedError("gone")}, {"refuses": ClosedError("shut")}, {"hangs": True})


class Parts:
    """An answer that knows whether it was closed."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts, self.closed = iter(parts), False

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        self.closed = True


def ok(environ: dict, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    return [b"o", b"k"]


def writes(environ: dict, start_response: Callable[..., Any]) -> Iterable[bytes]:
    write = start_response("201 Created", PLAIN)
    write(b"written ")
    return [b"and given"]


def late(environ: dict, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A generator: it starts its answer when it is asked for the first part."""
    start_response("200 OK", PLAIN)
    yield b"late"


def serve(application: Any, method: str = "POST", path: str = "/orders", **more: Any) -> tuple[str, bytes]:
    """The status and body that a server sends, both sides of the middleware judged by wsgiref's validator."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REMOTE_ADDR": "203.0.113.9",
        **more,
    }
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = "secret=1"
    sent = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), sent, sys.stderr, environ, multithread=False, multiprocess=False)
    handler.run(validator(application))
    head, _, body = sent.getvalue().partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode().removeprefix("HTTP/1.0 "), body


def wrapped(app: Any, emitter: Confirming, **words: Any) -> WsgiAudit:
    return WsgiAudit(validator(app), emitter=emitter, **words)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("app", "status", "body"),
    [(ok, "200 OK", b"ok"), (writes, "201 Created", b"written and given"), (late, "200 OK", b"late")],
)
def test_a_request_is_an_event(
    confirming: Confirming, app: Any, status: str, body: bytes, required: bool
) -> None:
    application = wrapped(app, confirming, required=required)
    assert serve(application, REMOTE_USER="alice", SCRIPT_NAME="/shop") == (status, body)
    (event,) = confirming.events
    assert (event.action, event.actor, event.actor_type) == ("POST", "alice", "user")
    assert (event.resource, event.resource_type, event.outcome) == ("/shop/orders", "http", "success")
    details = dict(event.details)
    assert details.pop("milliseconds") >= 0  # type: ignore[operator]
    assert details == {"method": "POST", "status": int(status[:3])}


@pytest.mark.parametrize("app", [ok, writes, late])
@pytest.mark.parametrize("trouble", TROUBLES, ids=[*map(str, TROUBLES)])
def test_no_answer_leaves_before_its_event_is_stored(app: Any, trouble: dict) -> None:
    application = wrapped(app, Confirming(**trouble), required=True, wait=0.01)
    assert serve(application) == ("503 Service Unavailable", REFUSED)
    assert application.lost == 1


def test_an_event_that_is_lost_harms_no_answer_unless_it_is_required() -> None:
    for trouble in (ClosedError("shut"), ZeroDivisionError("a defect")):
        application = wrapped(ok, Confirming(refuses=trouble))  # type: ignore[arg-type]
        assert serve(application) == ("200 OK", b"ok")
        assert application.lost == 1


def test_which_requests_are_events(confirming: Confirming) -> None:
    application = wrapped(ok, confirming, ignore={"/healthz"})
    for method, path in (("GET", "/orders"), ("POST", "/healthz"), ("DELETE", "/orders")):
        assert serve(application, method, path) == ("200 OK", b"ok")
    assert [event.action for event in confirming.events] == ["DELETE"]


def test_names_are_text_whatever_the_server_makes_of_them(confirming: Confirming) -> None:
    serve(wrapped(ok, confirming), path="/caf\xc3\xa9/\xff", REMOTE_USER="zo\xc3\xab")
    (event,) = confirming.events
    assert (event.actor, event.resource) == ("zoë", "/café/\\xff")


def test_who_it_was_and_what_to_call_it_is_the_application_s(confirming: Confirming) -> None:
    def app(environ: dict, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["merklelog.route"] = "/orders/<number>"
        merklelog.audit_event("inside", emitter=confirming)
        start_response("200 OK", PLAIN)
        yield b""
        merklelog.audit_event("while answering", emitter=confirming)

    application = wrapped(
        app,
        confirming,
        client=True,
        actor=lambda environ: environ.get("shop.user"),
        resource=lambda environ: "an order",
    )
    with acting_as("the whole process"):
        serve(application, **{"shop.user": "bob"})
        serve(application)
    told = [(event.action, event.actor, event.actor_type) for event in confirming.events]
    assert told == [
        ("inside", "bob", "user"),
        ("while answering", "bob", "user"),
        ("POST /orders/<number>", "bob", "user"),
        ("inside", None, "anonymous"),
        ("while answering", None, "anonymous"),
        ("POST /orders/<number>", None, "anonymous"),
    ]
    assert (confirming.events[2].resource, confirming.events[2].details["client"]) == (
        "an order",
        "203.0.113.9",
    )


def gather(application: Any, environ: dict | None = None) -> tuple[list[str], list[bytes]]:
    """As a server that hides nothing: the statuses it was told, and the parts."""
    full: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/orders", **(environ or {})}
    setup_testing_defaults(full)
    statuses: list[str] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: list, *exc_info: Any) -> Callable[[bytes], None]:
        if exc_info and exc_info[0] and parts:
            raise exc_info[0][1]
        statuses.append(status)
        return parts.append

    answer = application(full, start_response)
    try:
        parts.extend(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return statuses, parts


@pytest.mark.parametrize("required", [False, True])
def test_errors_are_failures_and_go_on(confirming: Confirming, required: bool) -> None:
    def at_once(environ: dict, start_response: Any) -> Iterable[bytes]:
        raise KeyError("secret")

    def before_the_first_part(environ: dict, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        raise KeyError("secret")
        yield b""

    def after_it(environ: dict, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        yield b"begun"
        raise KeyError("secret")

    for app in (at_once, before_the_first_part, after_it):
        with pytest.raises(KeyError):
            gather(WsgiAudit(app, emitter=confirming, required=required))
    outcomes = [(event.outcome, event.details.get("error")) for event in confirming.events]
    failure = ("failure", "KeyError")
    assert outcomes == [failure, failure, *([("success", None)] if required else []), failure]


@pytest.mark.parametrize("required", [False, True])
def test_an_application_may_take_its_answer_back(confirming: Confirming, required: bool) -> None:
    def app(environ: dict, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Oops", PLAIN, sys.exc_info())
        return [b"sorry"]

    statuses, parts = gather(WsgiAudit(app, emitter=confirming, required=required))
    assert (statuses[-1], parts) == ("500 Oops", [b"sorry"])
    (event,) = confirming.events
    assert (event.outcome, event.details["status"]) == ("failure", 500)


@pytest.mark.parametrize("required", [False, True])
def test_an_answer_is_closed_once_and_an_empty_one_is_one(confirming: Confirming, required: bool) -> None:
    answers: list[Parts] = []

    def app(environ: dict, start_response: Any) -> Iterable[bytes]:
        start_response("204 No Content", [])
        answers.append(Parts([]))
        return answers[-1]

    assert gather(WsgiAudit(app, emitter=confirming, required=required)) == (["204 No Content"], [])
    assert answers[0].closed
    refused = WsgiAudit(app, emitter=Confirming(fails=ClosedError("gone")), required=True)
    assert gather(refused) == (["503 Service Unavailable"], [REFUSED])
    assert answers[1].closed
    assert len(confirming.events) == 1


def test_a_client_that_leaves_is_an_event_too(confirming: Confirming) -> None:
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST"}
    setup_testing_defaults(environ)
    answer = iter(WsgiAudit(ok, emitter=confirming)(environ, lambda *words: lambda data: None))
    assert next(answer) == b"o"
    assert confirming.events == []
    answer.close()  # type: ignore[attr-defined]
    assert len(confirming.events) == 1


def test_required_wants_an_emitter_that_can_tell() -> None:
    with pytest.raises(UsageError, match="required=True needs an emitter"):
        WsgiAudit(ok, required=True)
