"""An event for a block or a function: made when it ends, and saying how."""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from merklelog.errors import MerklelogError, UsageError

from .emit import build
from .emitters import LOGGER, Emitted, Emitter, checked_wait, emitter_or_used
from .event import FAILURE, SUCCESS, UNKNOWN, AuditEvent

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class auditing:  # noqa: N801 - it reads as a statement: with auditing("invoice.delete") as event
    """A block, `with` or `async with`, that is one audit event; the fields may be changed within it.

    The event is made when the block ends: "success", or "failure" where it raised, with the error's class (not its
    message, which may say what a log must not keep) as `details["error"]`; "unknown" where it was cancelled or
    interrupted. An `outcome` that the block has set stays. After the block, `emitted` is the event.

    With `wait` the block ends when the entry is durable and verified, so many seconds later at most. When the
    event can not be emitted or was not seen to be stored, the block raises that, though what it did is done; a
    block that raised itself goes on raising its own error, with a note, and the logger
    "merklelog.audit_events" has the other. Fields are checked before the block runs: raises as `audit_event` does.
    """

    action: str
    actor: str | None = None
    actor_type: str | None = None
    resource: str | None = None
    resource_type: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    record_id: str | None = None
    wait: float | None = None
    emitter: Emitter | None = None
    emitted: Emitted | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.details, self.attributes = dict(self.details), dict(self.attributes)  # the block may add to them

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            event, where = self._event(error), emitter_or_used(self.emitter)
            self.emitted = Emitted(event, where.emit(event))
            if self.wait is not None:
                self.emitted.stored(self.wait)
        except (MerklelogError, TimeoutError) as failed:
            self._failed(error, failed)

    async def __aenter__(self) -> Self:
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            event, where = self._event(error), emitter_or_used(self.emitter)
            self.emitted = Emitted(event, await where.emit_async(event))
            if self.wait is not None:
                await self.emitted.stored_async(self.wait)
        except (MerklelogError, TimeoutError) as failed:
            self._failed(error, failed)

    def _check(self) -> None:
        checked_wait(emitter_or_used(self.emitter), self.wait)
        self._build(UNKNOWN, self.details)

    def _event(self, error: BaseException | None) -> AuditEvent:
        outcome = self.outcome
        if outcome is None:
            outcome = SUCCESS if error is None else FAILURE if isinstance(error, Exception) else UNKNOWN
        details = self.details if error is None else {**self.details, "error": type(error).__qualname__}
        return self._build(outcome, details)

    def _build(self, outcome: str, details: Mapping[str, Any]) -> AuditEvent:
        return build(
            self.action,
            actor=self.actor,
            actor_type=self.actor_type,
            resource=self.resource,
            resource_type=self.resource_type,
            outcome=outcome,
            details=details,
            attributes=self.attributes,
            record_id=self.record_id,
        )

    def _failed(self, error: BaseException | None, failed: Exception) -> None:
        """Raise what went wrong with the event, unless the block's own error is the news."""
        if error is None:
            raise failed
        LOGGER.error("audit event %r of a block that failed: %s", self.action, failed)
        error.add_note(f"merklelog: its audit event {self.action!r}: {failed}")


def audited(
    action: str | None = None,
    *,
    actor: str | None = None,
    actor_type: str | None = None,
    resource: str | None = None,
    resource_type: str | None = None,
    arguments: Sequence[str] = (),
    wait: float | None = None,
    emitter: Emitter | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: each call of the function (a coroutine function too) is one audit event, as of `auditing`.

    `action` is the function's name unless given. `actor` and `resource` may take from the call, as `str.format`
    does: "invoice/{number}", "{user.name}". Of the arguments only those named in `arguments` are written into
    the details. Raises UsageError at once for a generator function (a call of it does nothing yet) and for names
    that are no parameters; a call raises as `auditing` does.
    """

    if callable(action):
        raise UsageError('audited: it is called first: @audited() or @audited("invoice.delete")')

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        made = _Calls(function, actor, resource, arguments)
        name = action if action is not None else function.__name__

        def around(values: Mapping[str, Any]) -> auditing:
            return auditing(
                name,
                actor=made.fill(actor, values),
                actor_type=actor_type,
                resource=made.fill(resource, values),
                resource_type=resource_type,
                details={each: values[each] for each in arguments},
                wait=wait,
                emitter=emitter,
            )

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with around(made.values(args, kwargs)):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", call_async)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with around(made.values(args, kwargs)):
                return function(*args, **kwargs)

        return call

    return decorate


class _Calls:
    """What is known of a function's calls: names of its parameters, checked once, and their values."""

    def __init__(
        self,
        function: Callable[..., object],
        actor: str | None,
        resource: str | None,
        arguments: Sequence[str],
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(f"audited: {function.__qualname__} is a generator; use auditing(...) within it")
        self._signature = inspect.signature(function)
        self._name = function.__qualname__
        for wanted in (*arguments, *_names(actor), *_names(resource)):
            if wanted not in self._signature.parameters:
                raise UsageError(f"audited: {self._name} has no parameter {wanted!r}")

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a call by name, defaults included. Raises TypeError as the call itself would."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def fill(self, template: str | None, values: Mapping[str, Any]) -> str | None:
        """The template with the call's values. Raises UsageError naming what of it can not be had."""
        if template is None:
            return None
        try:
            return template.format(**values)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise UsageError(f"audited: {self._name}: {template!r} can not be filled in: {error}") from error


def _names(template: str | None) -> list[str]:
    """The parameters that a template takes from. Raises UsageError for one that can not be read."""
    if template is None:
        return []
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UsageError(f"audited: {template!r}: {error}") from error
    return [name.partition(".")[0].partition("[")[0] for name in fields]
