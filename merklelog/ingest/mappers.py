"""Mappers: where other systems' events say who did what. Each is a table in TOML, data and no code.

    name = "cloudtrail"
    title = "AWS CloudTrail"
    absent = ["-"]                          # values that stand for none
    inside = ["event_data"]                 # objects within the event where paths are looked for too

    [when]                                  # the events it knows: all of these hold
    has = ["eventSource", ["name", "Name"]] # paths that have a value; of a list, one of them
    [when.starts]                           # and values that begin so
    apiVersion = "audit.k8s.io/"

    [fields]                                # a field of the model: steps, the first that gives a value counts
    actor = ["userIdentity.arn", "userIdentity.userName"]
    outcome = [{ has = "errorCode", value = "failure" }, { value = "success" }]
    [extra]                                 # further fields, for the index
    region = ["awsRegion"]

A step is a path; or `{ path, map }`, the value by a table; `{ path, starts }`, by how the value begins; `{ join,
with }`, several values, all of them there; `{ has, value }`, a constant if there is a value at a path; `{ value
}`, a constant. A path goes through the event by dots; keys that have dots are found too, and of a list the first
item counts. The event is the body, as key-values or as JSON text, and beside it the attributes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from merklelog.errors import ConfigError

from .times import parse_time
from .values import json_object, loose

STANDARD: Final = ("cloudtrail", "kubernetes", "windows", "ocsf", "ecs")
FIELDS: Final = frozenset(
    (
        *("actor", "actor_type", "action", "resource", "resource_type", "outcome", "record_id"),
        *("source", "source_type", "schema_version", "time"),
    )
)
Event = dict[str, Any]  # the members of the body, and beside them the attributes
Step = Callable[[Event], str | None]
Condition = Callable[[Event], bool]


class Mapped(msgspec.Struct, frozen=True):
    """What a mapper read: fields of the model by name, the event's time, and further fields."""

    fields: dict[str, str]
    time_ns: int | None
    extra: Mapping[str, str] = msgspec.field(default_factory=dict)


class Mapper:
    """One table, ready to be used. Raises ConfigError, naming `where`, for a table that is not one."""

    def __init__(self, table: Mapping[str, Any], where: str = "a mapper") -> None:
        _check_keys(table, {"name", "title", "absent", "inside", "when", "fields", "extra"}, where)
        self.name = _string(table.get("name"), f"{where}: name")
        self.title = _string(table.get("title", self.name), f"{where}: title")
        absent = frozenset(("", *_strings(table.get("absent", []), f"{where}: absent")))
        inside = _strings(table.get("inside", []), f"{where}: inside")
        self._inside = [_parts(path) for path in inside]
        self._when = _conditions(table.get("when"), absent, where)
        told = dict(_table(table.get("fields"), f"{where}: [fields]"))
        _check_keys(told, FIELDS, f"{where}: [fields]")
        self._time = _steps(told.pop("time"), absent, f"{where}: time") if "time" in told else ()
        self._fields = _readers(told, absent, where)
        extra = _table(table.get("extra", {}), f"{where}: [extra]")
        self._extra = _readers(extra, absent, where)

    def read(self, event: Event, *, timed: bool = True) -> Mapped | None:
        """What the event says, by this system's names; None for an event that is not one of its.

        Its time is read where that is asked for: it is a third of the work.
        """
        if self._inside:
            found = [
                inner
                for parts, tails in self._inside
                if (parts[0] in event or tails[0] in event)
                and isinstance(inner := _walk(event, parts, tails), dict)
            ]
            for inner in found:
                event = inner | event
        for condition in self._when:
            if not condition(event):
                return None
        fields = {name: text for name, read in self._fields if (text := read(event))}
        extra = {name: text for name, read in self._extra if (text := read(event))}
        steps = self._time if timed else ()
        time = next((told for step in steps if (told := parse_time(step(event)))), None)
        return Mapped(fields, time, extra)

    @property
    def extras(self) -> tuple[str, ...]:
        """The names of the further fields."""
        return tuple(name for name, _ in self._extra)


def event_of(record: Mapping[str, Any], told: Event | None = None) -> Event:
    """What mappers look through: the body, when it is an object or JSON text of one, beside the attributes.

    `told` is what the body's text says, where that is known already.
    """
    body = record.get("body") or {}
    if told is None:
        text = body.get("stringValue")
        told = (json_object(text) if text else None) or (loose(body) if "kvlistValue" in body else {})
    attributes = record.get("attributes")
    return {each["key"]: loose(each.get("value")) for each in attributes} | told if attributes else told


# --- steps -------------------------------------------------------------------------------------------------------


def _first(steps: tuple[Step, ...]) -> Step:
    """The first of several that gives a text."""

    def read(event: Event) -> str | None:
        for step in steps:
            if (text := step(event)) is not None:
                return text
        return None

    return steps[0] if len(steps) == 1 else read


def _reader(path: str, absent: frozenset[str]) -> Step:
    parts, tails = _parts(path)

    def read(event: Event) -> str | None:
        value = event.get(path)
        if value is None and len(parts) > 1:
            value = _walk(event, parts, tails)
        text = value if type(value) is str else _text(value)
        return None if text is None or text in absent else text

    return read


def _parts(path: str) -> tuple[list[str], list[str]]:
    """The steps of a path, and what is left of it before each of them: a key with dots may be all of that."""
    parts = path.split(".")
    return parts, [".".join(parts[at:]) for at in range(len(parts))]


def _walk(at: Any, parts: list[str], tails: list[str]) -> Any:
    for number, part in enumerate(parts):
        if isinstance(at, list):
            at = at[0] if at else None
        if not isinstance(at, dict):
            return None
        inner = at.get(part)
        if inner is None:
            return at.get(tails[number])
        at = inner
    return at


def _several(paths: list[str], absent: frozenset[str]) -> Step:
    """The first of several paths without dots that has a value: most of what is read, so in one loop."""

    def read(event: Event) -> str | None:
        for path in paths:
            if (value := event.get(path)) is not None:
                text = value if type(value) is str else _text(value)
                if text is not None and text not in absent:
                    return text
        return None

    return read


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _text(value[0]) if value else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None or isinstance(value, dict) else str(value)


def _step(told: Any, absent: frozenset[str], where: str) -> Step:
    if isinstance(told, str):
        return _reader(told, absent)
    keys = set(_table(told, where))
    if keys == {"path", "map"}:
        return _mapped(_reader(_string(told["path"], where), absent), _texts(told["map"], where))
    if keys == {"path", "starts"}:
        return _starting(_reader(_string(told["path"], where), absent), _texts(told["starts"], where))
    if keys == {"join", "with"}:
        joined = [_reader(path, absent) for path in _strings(told["join"], where)]
        return _joined(joined, _string(told["with"], where, empty=True))
    if keys == {"has", "value"}:
        return _constant(_string(told["value"], where), _there([_string(told["has"], where)], absent))
    if keys == {"value"}:
        return _constant(_string(told["value"], where), None)
    raise ConfigError(
        f"{where}: a step has {sorted(keys)}: want path and map, path and starts, join and with, ..."
    )


def _mapped(read: Step, table: dict[str, str]) -> Step:
    return lambda event: table.get(text) if (text := read(event)) is not None else None


def _starting(read: Step, table: dict[str, str]) -> Step:
    longest = sorted(table.items(), key=lambda row: -len(row[0]))

    def look(event: Event) -> str | None:
        text = read(event)
        return None if text is None else next((to for begin, to in longest if text.startswith(begin)), None)

    return look


def _joined(reads: list[Step], glue: str) -> Step:
    def look(event: Event) -> str | None:
        texts = [text for read in reads if (text := read(event)) is not None]
        return glue.join(texts) if len(texts) == len(reads) else None

    return look


def _constant(value: str, there: Condition | None) -> Step:
    return lambda event: value if there is None or there(event) else None


def _there(paths: list[str], absent: frozenset[str]) -> Condition:
    """Whether there is a value under one of the paths, an object with something in it included."""
    known = [(path, *_parts(path)) for path in paths]

    def look(event: Event) -> bool:
        for path, parts, tails in known:
            value = event.get(path)
            if value is None and (len(parts) == 1 or (value := _walk(event, parts, tails)) is None):
                continue
            text = value if type(value) is str else _text(value)
            if text not in absent if text is not None else value:
                return True
        return False

    return look


# --- reading a table ---------------------------------------------------------------------------------------------


def _conditions(when: Any, absent: frozenset[str], where: str) -> tuple[Condition, ...]:
    table = _table(when, f"{where}: [when]")
    _check_keys(table, {"has", "starts"}, f"{where}: [when]")
    made: list[Condition] = []
    for told in _list(table["has"], f"{where}: when.has") if "has" in table else ():
        paths = [told] if isinstance(told, str) else _strings(told, f"{where}: when.has")
        made.append(_there(paths, absent))
    for path, start in _texts(table.get("starts", {}), f"{where}: [when.starts]").items():
        made.append(_begins(_reader(path, absent), start))
    if not made:
        raise ConfigError(f"{where}: [when] says nothing: want has or starts")
    return tuple(made)


def _begins(read: Step, start: str) -> Condition:
    return lambda event: (read(event) or "").startswith(start)


def _steps(told: Any, absent: frozenset[str], where: str) -> tuple[Step, ...]:
    made: list[Step] = []
    for flat, group in groupby(_list(told, where), lambda each: isinstance(each, str) and "." not in each):
        steps = list(group)
        made += [_several(steps, absent)] if flat else [_step(each, absent, where) for each in steps]
    return tuple(made)


def _readers(table: Mapping[str, Any], absent: frozenset[str], where: str) -> list[tuple[str, Step]]:
    return [(name, _first(_steps(steps, absent, f"{where}: {name}"))) for name, steps in table.items()]


def _check_keys(table: Mapping[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}: no key {name!r}; there is {', '.join(sorted(known))}")


def _table(told: Any, where: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ConfigError(f"{where} is {told!r}: want a table")
    return told


def _texts(told: Any, where: str) -> dict[str, str]:
    return {key: _string(value, f"{where}.{key}") for key, value in _table(told, where).items()}


def _list(told: Any, where: str) -> list[Any]:
    if not isinstance(told, list) or not told:
        raise ConfigError(f"{where} is {told!r}: want a list")
    return told


def _strings(told: Any, where: str) -> list[str]:
    return [_string(each, where) for each in _list(told, where)] if told != [] else []


def _string(told: Any, where: str, *, empty: bool = False) -> str:
    if not isinstance(told, str) or not (told or empty):
        raise ConfigError(f"{where} is {told!r}: want a string")
    return told


# --- the tables --------------------------------------------------------------------------------------------------


def load_mapper(path: Path) -> Mapper:
    """A mapper of one's own. Raises ConfigError naming the file."""
    try:
        return Mapper(tomllib.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError; nested too deep
        raise ConfigError(f"{path}: {error}") from error


@cache
def standard_mapper(name: str) -> Mapper:
    """One of those that come with merklelog. Raises ConfigError for a name that none has."""
    if name not in STANDARD:
        raise ConfigError(f"no mapper {name!r}; there is {', '.join(STANDARD)}")
    text = resources.files(__package__).joinpath("mappers", f"{name}.toml").read_text("utf-8")
    return Mapper(tomllib.loads(text), f"mappers/{name}.toml")


@cache
def standard_mappers() -> tuple[Mapper, ...]:
    """All that come with merklelog, in the order in which they are tried."""
    return tuple(standard_mapper(name) for name in STANDARD)


__all__ = [
    "FIELDS",
    "STANDARD",
    "Event",
    "Mapped",
    "Mapper",
    "event_of",
    "load_mapper",
    "standard_mapper",
    "standard_mappers",
]
