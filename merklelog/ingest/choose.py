"""Which log records are for: the token decides; else the header; else an attribute; else the only log.

The header is `merklelog-log`. The token decides where it is one of a single log, which nearly all are. Where its
holder may append to several, what follows decides among these. The attribute is one of the resource, named in the
server's configuration, so records of one request can be for several logs. Nothing is guessed: a name that no log
has is not passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from merklelog.errors import FieldError, UnauthenticatedError
from merklelog.formats.wire import quote

from .record import Record

HEADER: Final = "merklelog-log"


class Asked(NamedTuple):
    """What a request says of the log that it is for.

    `granted` are the origins of the logs that the caller's token or certificate may append to, None for a caller
    who showed neither; `header` is the value of `merklelog-log`, None without one.
    """

    granted: Collection[str] | None
    header: str | None


class Chooser:
    """Chooses among the logs of a server. `attribute` is the key of a resource's attribute; empty for none."""

    def __init__(self, attribute: str = "") -> None:
        self._attribute = attribute

    def by_request(self, asked: Asked, served: Collection[str]) -> str | None:
        """The origin of the log that all of the request's records are for; None when each one's attribute decides.

        `served` has the origins of all logs. Raises UnauthenticatedError when nothing decides and the caller
        showed no token, else FieldError.
        """
        open_to = served if asked.granted is None else [each for each in asked.granted if each in served]
        if asked.granted is not None and len(open_to) == 1:
            return next(iter(open_to))
        if asked.header is not None:
            if asked.header in open_to:
                return asked.header
            raise _no_match(
                asked, f"{HEADER}: {quote(asked.header[:255].encode())}: no such log is served here"
            )
        if self._attribute:
            return None
        if len(open_to) == 1:
            return next(iter(open_to))
        raise _no_match(asked, f"{len(open_to)} logs are served here, and nothing says which this is for")

    def by_records(
        self, asked: Asked, served: Collection[str], records: Sequence[Record]
    ) -> dict[str, list[Record]]:
        """The records of each log, by their resource's attribute, in their order; else by the only log.

        Raises as `by_request`, and nothing is chosen then: a request is taken whole or not at all.
        """
        open_to = served if asked.granted is None else [each for each in asked.granted if each in served]
        only = next(iter(open_to)) if len(open_to) == 1 else None
        found: dict[str, list[Record]] = {}
        known: dict[int, list[Record]] = {}  # by resource: the records of a group share theirs
        for at, record in enumerate(records):
            resource = record.get("resource")
            group = known.get(id(resource))
            if group is None:
                origin = self._named(resource)
                if origin is None:
                    origin = only
                if origin is None or origin not in open_to:
                    said = "is not there" if origin is None else f"names {quote(origin[:255].encode())}"
                    raise _no_match(
                        asked,
                        f"record {at}: the resource's attribute {self._attribute} {said}: no such log here",
                    )
                group = known[id(resource)] = found.setdefault(origin, [])
            group.append(record)
        return found

    def _named(self, resource: object) -> str | None:
        """The first string that the attribute has."""
        attributes = resource.get("attributes", ()) if isinstance(resource, dict) else ()
        for each in attributes:
            if each.get("key") == self._attribute:
                value = each.get("value", {}).get("stringValue")
                if isinstance(value, str):
                    return value
        return None


def _no_match(asked: Asked, why: str) -> UnauthenticatedError | FieldError:
    """Who showed no token is told to show one, as another may be told of a log by it."""
    if asked.granted is None:
        return UnauthenticatedError(
            f"{why}: show a token of the log (Authorization: Bearer mlt_...), or send its origin as {HEADER}"
        )
    return FieldError(HEADER, f"{why}: want the origin of one that the token may append to")


__all__ = ["HEADER", "Asked", "Chooser"]
