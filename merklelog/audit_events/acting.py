"""Who is acting, for all that happens within a block, a task or a request: said once, and known to each event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from .plain import Plain, plain_mapping, plain_text


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as far as it is known, and attributes for each event of theirs."""

    name: str | None = None
    type: str | None = None
    attributes: Mapping[str, Plain] = field(default_factory=dict)


Known = Callable[[], Actor]
_NOBODY: Final = Actor()
_current: Final[ContextVar[Known | None]] = ContextVar("merklelog_actor", default=None)


def current_actor() -> Actor:
    """Who is acting here; an Actor without a name when nobody said."""
    known = _current.get()
    return _NOBODY if known is None else known()


@contextmanager
def acting_as(
    actor: str | None, actor_type: str | None = None, attributes: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Within this block the audit events are those of `actor`, unless they name another.

    It holds for the tasks and, with `contextvars.copy_context`, the threads that are started in it.
    Raises UsageError for attributes that have no plain form.
    """
    name = None if actor is None else plain_text(actor)
    found = Actor(name, actor_type, plain_mapping(attributes, "attributes"))
    with acting(lambda: found):
        yield


@contextmanager
def acting(known: Known) -> Iterator[None]:
    """The same for an actor who is asked for when an event is made: a request's user is known late."""
    token = _current.set(known)
    try:
        yield
    finally:
        _current.reset(token)


def be_acting(known: Known) -> None:
    """The same for all that is left of this context: call it in a copy."""
    _current.set(known)
