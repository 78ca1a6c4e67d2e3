"""What a bucket really enforces: the probes of one target, those that write nothing first.

Scratch objects lie below `preflight/` in the target's own prefix, so that the permissions that are tried are those
the log will have. Locks last two minutes at most; when they are over, everything is removed by version.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from math import floor
from typing import Any, Final, Protocol

from merklelog.errors import UnknownError
from merklelog.publish.layout import PREFLIGHT
from merklelog.publish.preflight_conditions import (
    if_match,
    if_match_race,
    if_none_match,
    if_none_match_race,
)
from merklelog.publish.preflight_locks import compliance, governance, legal_hold, versions
from merklelog.publish.preflight_look import Look, Looker
from merklelog.publish.preflight_report import (
    PROBES,
    DefaultRetention,
    Finding,
    Outcome,
    PreflightReport,
)
from merklelog.publish.preflight_scene import Clock, Scene, Sleep, remove_below
from merklelog.publish.preflight_writes import (
    anonymous,
    checksum,
    delete,
    delete_many,
    encryption,
    headers,
    read_after_write,
)
from merklelog.publish.s3_options import S3Options

LOCK_SECONDS: Final = 60
_AFTER: Final = 1.5  # seconds after a lock's end: the servers of one store differ a little
_ATTEMPTS: Final = 3
_LOCK_PROBES: Final = ("compliance", "governance", "governance-bypass", "versions", "legal-hold")
_LOCKS: Final = ("compliance", "governance")
_NO_LOCK: Final = "the bucket has no Object Lock"

Advance = Callable[[int, int | None], None]
Run = Callable[[Scene], "list[Finding]"]


class Bucket(Protocol):
    """What a preflight needs of a target: S3Store has it."""

    client: Any
    bucket: str
    prefix: str

    @property
    def location(self) -> str:
        """The target as a person names it."""


class Preflight:
    """One preflight of one target, for a log that would write there with these options.

    Either method raises ConfigError or UnreachableError when the bucket can not be used at all; a probe that can
    not be tried is a finding.
    """

    def __init__(
        self,
        store: Bucket,
        options: S3Options,
        *,
        lock_seconds: int = LOCK_SECONDS,
        clock: Clock = time.time,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._store = store
        self._options = options
        self._lock_seconds = lock_seconds
        self._clock = clock
        self._sleep = sleep
        self._began = floor(clock())
        prefix = store.prefix.removesuffix("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._look: Look | None = None

    def look(self) -> PreflightReport:
        """The probes that write nothing."""
        store = self._store
        self._look = Looker(store.client, store.bucket, self._prefix, store.location, self._clock).look()
        return self._report(self._look.findings, whole=False)

    def try_out(self, advance: Advance = lambda _done, _all: None) -> PreflightReport:
        """All probes. Writes, locks, waits until the locks are over and removes everything again.

        `advance` is called with seconds waited and seconds to wait in all. Takes a little longer than the locks
        last. What an earlier preflight that was killed left is removed as well.
        """
        looked = self._look
        if looked is None:
            self.look()
            return self.try_out(advance)
        name = f"{self._began}-{secrets.token_hex(4)}/"
        scene = Scene(
            self._store.client,
            self._store.bucket,
            f"{self._prefix}{PREFLIGHT}{name}",
            self._options,
            default=looked.default,
            skew=looked.skew,
            lock_seconds=self._lock_seconds,
            clock=self._clock,
            sleep=self._sleep,
        )
        # An interrupt leaves what is there to the next preflight: waiting for locks is not what was asked for.
        tried = [finding for run in self._runs(looked) for finding in _guarded(run, scene)]
        left = self._clean_up(scene, advance)
        return self._report(_sorted([*looked.findings, *tried]), whole=True, left=left)

    def _runs(self, looked: Look) -> Iterator[tuple[tuple[str, ...], Run]]:
        """The probes' names and how they are tried: what is locked first, so that its time passes meanwhile."""
        locks = looked.outcome("object-lock") is not Outcome.FAIL
        retention = self._options.retention
        # In a bucket with locks objects are created locked, as the log's will be.
        mode = None if not locks else "COMPLIANCE" if retention is None else retention.mode
        if locks:
            yield ("compliance",), lambda scene: [compliance(scene)]
            yield ("governance", "governance-bypass"), governance
            yield ("versions",), lambda scene: [versions(scene)]
        else:
            yield _LOCK_PROBES, lambda _: [Finding(name, Outcome.FAIL, _NO_LOCK) for name in _LOCK_PROBES]
        yield ("if-none-match",), lambda scene: [if_none_match(scene, mode)]
        yield ("if-none-match-race",), lambda scene: [if_none_match_race(scene, mode)]
        yield ("if-match",), lambda scene: [if_match(scene, mode)]
        yield ("if-match-race",), lambda scene: [if_match_race(scene)]
        yield ("checksum",), lambda scene: [checksum(scene)]
        yield ("read-after-write",), lambda scene: [read_after_write(scene)]
        yield ("headers",), lambda scene: [headers(scene)]
        yield ("encryption",), lambda scene: [found] if (found := encryption(scene)) else []
        yield ("delete",), lambda scene: [delete(scene)]
        yield ("delete-many",), lambda scene: [delete_many(scene, mode)]
        if locks:
            yield ("legal-hold",), lambda scene: [legal_hold(scene)]
        yield ("anonymous",), lambda scene: [anonymous(scene)]

    def _clean_up(self, scene: Scene, advance: Advance) -> int:
        """Wait for the locks and remove everything, an earlier preflight's leftovers too; how much stayed."""
        began = self._clock()
        wait = max(0.0, scene.latest + _AFTER - began)
        while (passed := self._clock() - began) < wait:
            advance(floor(passed), floor(wait))
            self._sleep(min(1.0, wait - passed))
        left = len(scene.written)
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._sleep(_AFTER)
            try:
                left = remove_below(scene, f"{self._prefix}{PREFLIGHT}")
            except UnknownError:
                continue  # what stays is counted, and the next preflight removes it
            if not left:
                break
        return left

    def _report(self, findings: tuple[Finding, ...], *, whole: bool, left: int = 0) -> PreflightReport:
        looked = self._look
        return PreflightReport(
            self._store.location,
            str(self._store.client.meta.endpoint_url),
            self._began,
            self._options.retention,
            looked.default if looked is not None else DefaultRetention(),
            findings,
            whole,
            left,
        )


def _guarded(run: tuple[tuple[str, ...], Run], scene: Scene) -> list[Finding]:
    """The findings of one run; a store that does not answer leaves them unknown."""
    names, function = run
    try:
        return function(scene)
    except UnknownError as error:
        return [Finding(name, Outcome.UNKNOWN, str(error)) for name in names]


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    """In the table's order, with what one finding says of another."""
    by_name = {finding.probe: finding for finding in findings}
    held = any(_came_to(by_name, name, Outcome.PASS) for name in _LOCKS)
    for name in ("versioning", "object-lock"):
        if held and _came_to(by_name, name, Outcome.UNKNOWN):
            seen = f"it may not be asked ({by_name[name].seen}), but a lock held"
            by_name[name] = Finding(name, Outcome.PASS, seen)
    for name in _LOCKS:
        if _came_to(by_name, name, Outcome.PASS) and not _came_to(by_name, "delete", Outcome.PASS):
            seen = (
                f"{by_name[name].seen} (this identity deletes nothing: of its lock only the shortening tells)"
            )
            by_name[name] = Finding(name, Outcome.PASS, seen)
    return tuple(by_name[probe.name] for probe in PROBES if probe.name in by_name)


def _came_to(findings: dict[str, Finding], name: str, outcome: Outcome) -> bool:
    return name in findings and findings[name].outcome is outcome
