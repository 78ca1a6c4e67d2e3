"""The ASGI middleware, by its messages: which requests are events, whose, and what leaves before it is stored."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

import merklelog
from merklelog.audit_events import AsgiAudit, acting_as, use
from merklelog.audit_events.web import REFUSED, user_of
from merklelog.errors import ClosedError, UsageError

from .conftest import Confirming

OK = [
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"ok"},
]
REFUSAL = [
    {
        "type": "http.response.start",
        "status": 503,
        "headers": [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(REFUSED)),
        ],
    },
    {"type": "http.response.body", "body": REFUSED},
]


class App:
    """Answers with its messages, and raises `error` after so many of them."""

    def __init__(self, *messages: dict, error: BaseException | None = None, after: int = 99) -> None:
        self.messages, self.error, self.after = messages or tuple(OK), error, after
        self.scopes: list[dict] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        for number, message in enumerate(self.messages):
            if self.error is not None and number == self.after:
                raise self.error
            await send(dict(message))
        if self.error is not None:
            raise self.error


def request(method: str = "POST", path: str = "/orders", **more: Any) -> dict:
    return {"type": "http", "method": method, "path": path, "client": ("203.0.113.9", 4711), **more}


def serve(application: Any, scope: dict) -> list[dict]:
    """What the server is sent."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b""}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent


def test_a_request_is_an_event(confirming: Confirming) -> None:
    scope = request(
        user="alice", route=SimpleNamespace(path="/orders/{number}"), path="/orders/7", query_string=b"s=1"
    )
    assert serve(AsgiAudit(App(), emitter=confirming), scope) == OK
    (event,) = confirming.events
    assert (event.action, event.actor, event.actor_type) == ("POST /orders/{number}", "alice", "user")
    assert (event.resource, event.resource_type, event.outcome) == ("/orders/7", "http", "success")
    details = dict(event.details)
    assert details.pop("milliseconds") >= 0  # type: ignore[operator]
    assert details == {"method": "POST", "route": "/orders/{number}", "status": 200}


@pytest.mark.parametrize(
    ("method", "path", "words", "count"),
    [
        ("GET", "/orders", {}, 0),
        ("HEAD", "/orders", {}, 0),
        ("PUT", "/orders", {}, 1),
        ("DELETE", "/orders", {}, 1),
        ("GET", "/orders", {"methods": None}, 1),
        ("GET", "/orders", {"methods": {"GET"}}, 1),
        ("POST", "/orders", {"methods": {"GET"}}, 0),
        ("POST", "/healthz", {"ignore": ["/healthz"]}, 0),
    ],
)
def test_which_requests_are_events(
    confirming: Confirming, method: str, path: str, words: dict, count: int
) -> None:
    assert serve(AsgiAudit(App(), emitter=confirming, **words), request(method, path)) == OK
    assert len(confirming.events) == count


@pytest.mark.parametrize(
    ("status", "outcome"), [(204, "success"), (302, "success"), (403, "failure"), (500, "failure")]
)
def test_the_status_is_the_outcome(confirming: Confirming, status: int, outcome: str) -> None:
    serve(AsgiAudit(App({**OK[0], "status": status}, OK[1]), emitter=confirming), request())
    (event,) = confirming.events
    assert (event.outcome, event.details["status"]) == (outcome, status)


def test_an_error_is_a_failure_and_goes_on(confirming: Confirming) -> None:
    for after in (0, 1):
        with pytest.raises(KeyError):
            serve(AsgiAudit(App(error=KeyError("secret"), after=after), emitter=confirming), request())
    first, second = confirming.events
    assert (first.outcome, first.details.get("status"), first.details["error"]) == (
        "failure",
        None,
        "KeyError",
    )
    assert (second.outcome, second.details["status"], second.details["error"]) == ("failure", 200, "KeyError")
    with pytest.raises(asyncio.CancelledError):
        serve(AsgiAudit(App(error=asyncio.CancelledError()), emitter=confirming), request())
    assert confirming.events[2].outcome == "unknown"


def test_no_answer_is_no_success(confirming: Confirming) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    assert serve(AsgiAudit(silent, emitter=confirming), request()) == []
    assert confirming.events[0].outcome == "unknown"


def test_who_it_was_and_what_to_call_it_is_the_application_s(confirming: Confirming) -> None:
    application = AsgiAudit(
        App(),
        emitter=confirming,
        client=True,
        actor=lambda scope: scope["session"].get("name"),
        resource=lambda scope: "an order",
    )
    with acting_as("the whole process"):
        for session in ({"name": "bob"}, {}):
            serve(application, request(session=session))
    first, second = confirming.events
    assert (first.actor, first.actor_type, first.resource) == ("bob", "user", "an order")
    assert (second.actor, second.actor_type) == (None, "anonymous")
    assert first.details["client"] == "203.0.113.9"


def test_what_the_application_emits_has_the_same_actor(confirming: Confirming) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        merklelog.audit_event("early", emitter=confirming)
        scope["user"] = "carol"  # found by an authentication middleware inside
        await asyncio.to_thread(merklelog.audit_event, "late", emitter=confirming)
        for message in OK:
            await send(message)

    serve(AsgiAudit(app, emitter=confirming), request())
    assert [(event.action, event.actor, event.actor_type) for event in confirming.events] == [
        ("early", None, "anonymous"),
        ("late", "carol", "user"),
        ("POST", "carol", "user"),
    ]


def test_an_event_that_is_lost_is_said_and_harms_no_answer(
    confirming: Confirming, caplog: pytest.LogCaptureFixture
) -> None:
    confirming.refuses = ClosedError("shut")
    broken = AsgiAudit(App(), emitter=confirming)
    odd = AsgiAudit(App(), emitter=confirming, actor=lambda scope: scope["no such key"])
    number = AsgiAudit(App(), emitter=confirming, actor=lambda scope: 7)  # type: ignore[arg-type, return-value]
    defect = AsgiAudit(App(), emitter=Confirming(refuses=ZeroDivisionError("a defect")))  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, "merklelog.audit_events"):
        for application in (broken, odd, number, defect):
            assert serve(application, request()) == OK
            assert application.lost == 1
    assert "no audit event of POST '/orders': ClosedError: shut" in caplog.text
    assert "actor: KeyError: 'no such key'" in caplog.text
    assert "a defect" in caplog.text
    assert "actor: it gave int, want text or None" in caplog.text


def test_the_emitter_in_use_is_used(confirming: Confirming) -> None:
    application = AsgiAudit(App())
    before = use(confirming)
    try:
        serve(application, request())
    finally:
        use(before)
    assert len(confirming.events) == 1


# --- required ------------------------------------------------------------------------------------------------


def test_no_answer_leaves_before_its_event_is_stored(confirming: Confirming) -> None:
    application = AsgiAudit(App(), emitter=confirming, required=True)
    assert serve(application, request()) == OK
    assert len(confirming.events) == 1
    for trouble in ({"fails": ClosedError("gone")}, {"refuses": ClosedError("shut")}, {"hangs": True}):
        broken = AsgiAudit(App(), emitter=Confirming(**trouble), required=True, wait=0.01)  # type: ignore[arg-type]
        assert serve(broken, request()) == REFUSAL
        assert serve(broken, request("GET")) == OK
        assert broken.lost == 1


def test_an_answer_that_breaks_off_is_an_event_more(confirming: Confirming) -> None:
    application = AsgiAudit(App(error=KeyError(), after=1), emitter=confirming, required=True)
    with pytest.raises(KeyError):
        serve(application, request())
    assert [event.outcome for event in confirming.events] == ["success", "failure"]
    broken = AsgiAudit(App(error=KeyError()), emitter=Confirming(fails=ClosedError("gone")), required=True)
    with pytest.raises(KeyError):
        serve(broken, request())
    assert broken.lost == 1


def test_required_wants_an_emitter_that_can_tell() -> None:
    for emitter in (None, Confirming(confirms=False)):
        with pytest.raises(UsageError, match="required=True needs an emitter"):
            AsgiAudit(App(), required=True, emitter=emitter)
    for words in ({"methods": "POST"}, {"ignore": "/healthz"}):
        with pytest.raises(UsageError, match="want several words"):
            AsgiAudit(App(), **words)  # type: ignore[arg-type]


# --- other protocols -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "status", "outcome"),
    [
        ({"type": "websocket.accept"}, 101, "success"),
        ({"type": "websocket.close", "code": 1000}, 403, "failure"),
        ({"type": "websocket.http.response.start", "status": 401, "headers": []}, 401, "failure"),
    ],
)
def test_a_websocket_is_an_event_when_it_is_decided(
    confirming: Confirming, message: dict, status: int, outcome: str
) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)
        seen.append(len(confirming.events))
        await send({"type": "websocket.close", "code": 1000})

    scope = {"type": "websocket", "path": "/live", "client": None}
    sent = serve(AsgiAudit(app, emitter=confirming), scope)
    assert sent == [message, {"type": "websocket.close", "code": 1000}]
    assert seen == [1]
    (event,) = confirming.events
    assert (event.action, event.details["status"], event.outcome) == ("WEBSOCKET", status, outcome)


def test_a_websocket_without_its_event_is_not_accepted() -> None:
    app = App({"type": "websocket.accept"}, {"type": "websocket.send", "text": "secret"})
    application = AsgiAudit(app, emitter=Confirming(fails=ClosedError("gone")), required=True)
    assert serve(application, {"type": "websocket", "path": "/live"}) == [
        {"type": "websocket.close", "code": 1011}
    ]


def test_the_lifespan_is_left_alone(confirming: Confirming) -> None:
    app = App({"type": "lifespan.startup.complete"})
    assert serve(AsgiAudit(app, emitter=confirming, methods=None), {"type": "lifespan"}) == list(app.messages)
    assert confirming.events == []


class Starlettes:
    is_authenticated = True
    display_name = "Ada"

    @property
    def identity(self) -> str:
        raise RuntimeError("no identity")


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (None, None),
        ("", None),
        ("ada", "ada"),
        (Starlettes(), "Ada"),
        (SimpleNamespace(identity="id-1", username="ada"), "id-1"),
        (SimpleNamespace(is_authenticated=False, username="ada"), None),
        (SimpleNamespace(username=""), None),
        (object(), None),
    ],
)
def test_users_of_authentication_middlewares(user: object, name: str | None) -> None:
    assert user_of({"user": user}) == name
    assert user_of({}) is None
