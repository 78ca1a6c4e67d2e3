"""Who asks, as handlers see it: a name and what it may do. How it was found out is the front's affair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class Scope(StrEnum):
    """What a caller may be allowed to do with a log."""

    APPEND = "append"
    READ = "read"
    ADMIN = "admin"


class Caller(Protocol):
    """One who asks. `name` is the submitter that idempotency keys belong to."""

    @property
    def name(self) -> str:
        """The caller's name; empty for who gave none."""
        ...

    @property
    def logs(self) -> Collection[str] | None:
        """The origins of the logs that list what the caller showed; None for who showed nothing that counts."""
        ...

    def may(self, scope: Scope, origin: str) -> bool:
        """Whether this caller may do that with the log of that origin."""
        ...


@dataclass(frozen=True, slots=True)
class Anyone:
    """A caller who gave no name and may do everything: who reaches a server that asks for no token."""

    name: str = ""
    logs: Collection[str] | None = None

    def may(self, scope: Scope, origin: str) -> bool:  # noqa: ARG002 - the seam's signature
        """Always."""
        return True


ANYONE: Final = Anyone()
