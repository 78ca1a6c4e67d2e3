"""How a log's publication stands, as its operator is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishStatus:
    """How a log's publication stands.

    `starting` says whom a log waits for that takes no appends yet, and why; None since it takes them.
    `lag_seconds` is how long the oldest entry that is not published has been integrated (what was there when the
    log was opened counts from then), `behind` names the targets that do not show yet what the others do,
    `last_error` is what the last attempt failed with, None where it did not. `publications`, `failures`,
    `requests` (to S3), new tiles and bundles (`created`) and superseded objects that went (`collected`) are
    counted since the log was opened, over all targets; `last_seconds` is how long the last publication took.
    """

    targets: tuple[str, ...]
    epoch: int | None = None
    starting: str | None = None
    lag_entries: int = 0
    lag_seconds: float = 0.0
    behind: tuple[str, ...] = ()
    last_error: str | None = None
    publications: int = 0
    failures: int = 0
    requests: int = 0
    last_seconds: float = 0.0
    created: int = 0
    collected: int = 0


__all__ = ["PublishStatus"]
