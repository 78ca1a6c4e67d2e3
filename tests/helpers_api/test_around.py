"""`auditing` and `audited`: one event for a block or a call, which says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

import merklelog
from merklelog.audit_events import acting_as, use
from merklelog.errors import ClosedError, UsageError

from .conftest import Confirming, Exported


@pytest.fixture(autouse=True)
def nowhere_else(confirming: Confirming) -> Iterator[None]:
    before = use(confirming)
    yield
    use(before)


def ended(confirming: Confirming) -> list[tuple]:
    """(action, outcome, details) of what was emitted."""
    return [(event.action, event.outcome, dict(event.details)) for event in confirming.events]


def test_a_block_ends_in_an_event(confirming: Confirming) -> None:
    with merklelog.auditing("report.export", actor="alice", resource="report/1") as event:
        assert confirming.events == []
        event.details["rows"] = 3
        event.resource = "report/2"
    assert ended(confirming) == [("report.export", "success", {"rows": 3})]
    assert confirming.events[0].resource == "report/2"
    assert event.emitted is not None
    assert event.emitted.event is confirming.events[0]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("secret"), "failure"),
        (KeyboardInterrupt(), "unknown"),
        (asyncio.CancelledError(), "unknown"),
    ],
)
def test_a_block_that_raises_says_so_and_goes_on_raising(
    confirming: Confirming, error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)) as raised, merklelog.auditing("x", actor="a"):
        raise error
    assert raised.value is error
    assert ended(confirming) == [("x", outcome, {"error": type(error).__name__})]
    assert "secret" not in repr(confirming.events)


def test_an_outcome_that_the_block_sets_stays(confirming: Confirming) -> None:
    with merklelog.auditing("x", actor="a") as event:
        event.outcome = "unknown"
    with pytest.raises(ValueError), merklelog.auditing("y", actor="a") as event:  # noqa: PT012
        event.outcome = "success"
        raise ValueError
    assert [outcome for _, outcome, _ in ended(confirming)] == ["unknown", "success"]


def test_a_block_that_can_not_be_an_event_does_not_begin(confirming: Confirming) -> None:
    for wrong in (
        {"action": ""},
        {"action": "x", "details": {"a": object()}},
        {"action": "x", "actor": None},
    ):
        with pytest.raises(UsageError), merklelog.auditing(**{"actor": "a", **wrong}):  # type: ignore[arg-type]
            pytest.fail("the block ran")
    assert confirming.events == []


def test_waiting_for_what_can_not_be_known_is_refused_before_the_block(exported: Exported) -> None:
    with pytest.raises(UsageError, match="can not say when"), merklelog.auditing("x", actor="a", wait=1):
        pytest.fail("the block ran")
    assert exported.records == []


def test_the_error_of_an_event_is_raised_where_the_block_had_none(confirming: Confirming) -> None:
    confirming.fails = ClosedError("gone")
    with pytest.raises(ClosedError, match="gone"), merklelog.auditing("x", actor="a", wait=1):
        pass
    confirming.hangs = True
    with pytest.raises(TimeoutError), merklelog.auditing("x", actor="a", wait=0.01):
        pass
    confirming.refuses = ClosedError("shut")
    with pytest.raises(ClosedError, match="shut"), merklelog.auditing("x", actor="a"):
        pass


def test_the_block_s_own_error_is_the_news(confirming: Confirming, caplog: pytest.LogCaptureFixture) -> None:
    confirming.refuses = ClosedError("shut")
    with (
        caplog.at_level(logging.ERROR, "merklelog.audit_events"),
        pytest.raises(ValueError, match="mine") as raised,
        merklelog.auditing("x", actor="a"),
    ):
        raise ValueError("mine")
    assert raised.value.__notes__ == ["merklelog: its audit event 'x': shut"]
    assert "audit event 'x' of a block that failed: shut" in caplog.text


def test_a_block_of_a_coroutine(confirming: Confirming) -> None:
    async def run() -> None:
        async with merklelog.auditing("x", actor="a", wait=1):
            await asyncio.sleep(0)
        confirming.fails = ClosedError("gone")
        with pytest.raises(ClosedError, match="gone"):
            async with merklelog.auditing("y", actor="a", wait=1):
                pass
        confirming.hangs = True
        with pytest.raises(TimeoutError, match=r"no outcome within 0\.01 s"):
            async with merklelog.auditing("z", actor="a", wait=0.01):
                pass

    asyncio.run(run())
    assert [action for action, _, _ in ended(confirming)] == ["x", "y", "z"]


def test_a_call_is_an_event(confirming: Confirming) -> None:
    @merklelog.audited("invoice.delete", resource="invoice/{number}", arguments=["reason"])
    def delete(number: int, *, reason: str = "none", secret: str = "") -> int:
        """What it does."""
        return 10 // number

    assert delete.__doc__ == "What it does."
    with acting_as("alice"):
        assert delete(5, secret="hidden") == 2
        with pytest.raises(ZeroDivisionError):
            delete(number=0, reason="why not")
    assert ended(confirming) == [
        ("invoice.delete", "success", {"reason": "none"}),
        ("invoice.delete", "failure", {"reason": "why not", "error": "ZeroDivisionError"}),
    ]
    assert [event.resource for event in confirming.events] == ["invoice/5", "invoice/0"]
    assert "hidden" not in repr(confirming.events)


def test_a_method_and_a_coroutine_function(confirming: Confirming) -> None:
    class Shop:
        name = "north"

        @merklelog.audited(actor="{user}", resource="{self.name}/{number}")
        async def refund(self, number: int, user: str) -> str:
            await asyncio.sleep(0)
            return f"{number} for {user}"

    assert asyncio.run(Shop().refund(7, user="bob")) == "7 for bob"
    (event,) = confirming.events
    assert (event.action, event.actor, event.resource) == ("refund", "bob", "north/7")


def test_a_wrong_call_fails_as_it_would_without(confirming: Confirming) -> None:
    @merklelog.audited(actor="a")
    def function(one: int) -> int:
        return one

    with pytest.raises(TypeError, match="missing a required argument"):
        function()  # type: ignore[call-arg]
    assert confirming.events == []


def test_what_can_not_be_decorated_is_refused_at_once() -> None:
    def function(one: int) -> int:
        return one

    def generator() -> Iterator[int]:
        yield 1

    for words, said in (
        ({"resource": "{two}"}, "function has no parameter 'two'"),
        ({"actor": "{}"}, "function has no parameter ''"),
        ({"arguments": ["two"]}, "function has no parameter 'two'"),
        ({"resource": "{"}, "audited: '{'"),
    ):
        with pytest.raises(UsageError, match=said):
            merklelog.audited("x", **words)(function)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a generator; use auditing"):
        merklelog.audited("x")(generator)
    with pytest.raises(UsageError, match="it is called first"):
        merklelog.audited(function)  # type: ignore[arg-type]


def test_a_template_that_a_call_can_not_fill_says_so(confirming: Confirming) -> None:
    @merklelog.audited("x", actor="{user.name}")
    def function(user: object) -> None:
        pytest.fail("it ran")

    with pytest.raises(UsageError, match=r"'\{user.name\}' can not be filled in"):
        function(None)
    assert confirming.events == []
