"""Following logs for ever: what is shown anywhere is held against one history, and every entry against a matcher.

monitor_target    what targets and witnesses show
monitor_log       one log: the history that is trusted, and all that is shown held against it
monitor_entries   its entries, verified and matched; monitor_patterns is the matcher of the command line,
                  monitor_statements knows what the log says of itself
monitor_conditions  what lasts, and when it is told
monitor_sinks     who is told
monitor_files     what is kept on the disk; monitor_findings is what is in it

A round looks at all targets and witnesses, judges, reads entries, and tells what is new. Nothing of a round is
believed before it was verified, and nothing is told before it is on the disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Self

from merklelog.audit.monitor_conditions import Conditions, Silent
from merklelog.audit.monitor_entries import EntryReader
from merklelog.audit.monitor_files import StateDirectory
from merklelog.audit.monitor_findings import MonitorFinding, MonitorKind, Observation
from merklelog.audit.monitor_log import MonitorOptions, WatchedLog, trouble
from merklelog.audit.monitor_patterns import Matcher, Patterns
from merklelog.audit.monitor_sinks import CommandSink, Delivery, LineSink, Sink, WebhookSink
from merklelog.audit.monitor_target import MonitoredTarget, Shown, WitnessView
from merklelog.client.access import Access
from merklelog.errors import MerklelogError, UsageError
from merklelog.formats import Policy, VerifierKey, single_log_policy
from merklelog.log import LogReader

_LOOKING: Final = 16


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a round: whether entries are left to read, something did not answer, all was told; and
    counts.
    """

    behind: bool
    unknown: bool
    told: bool
    entries: int
    logs: int


class Monitor:
    """Follows the logs at `targets` under one policy, with everything it knows in the directory `state`.

    `targets` may be of one log (its server, its copies) or of many; which are of one log their checkpoints say.
    `policy` may be None for data directories, which have keys of their own. `witnesses` are monitoring prefixes by
    the name that a witness has in the policy; without one its URL in the policy is meant. `matcher(index, entry)`
    gets every entry from `options.start` on and says why it is watched for, or None. `sinks` get every finding.
    `tell` gets sentences for the operator. One monitor a state, and one thread a monitor.

    Raises UsageError for what can not be meant, LockedError when another monitor has the state, DamagedError and
    StorageError for a state that can not be used.
    """

    def __init__(
        self,
        targets: Sequence[str],
        policy: Policy | None,
        state: str | os.PathLike[str],
        *,
        options: MonitorOptions | None = None,
        matcher: Matcher | None = None,
        sinks: Sequence[Sink] = (),
        witnesses: Mapping[str, str] | None = None,
        access: Access | None = None,
        tell: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options or MonitorOptions()
        self._matcher = matcher
        self._clock = clock
        reach = access or Access()
        if len(set(targets)) != len(targets) or not targets:
            raise UsageError("targets: want one or more, each once")
        self._state = StateDirectory(state)
        self._targets: list[MonitoredTarget] = []
        self._views: list[WitnessView] = []
        self._logs: dict[str, WatchedLog] = {}
        self._readers: dict[str, EntryReader] = {}
        self._pool = ThreadPoolExecutor(_LOOKING, thread_name_prefix="merklelog-monitor")
        try:
            origins = {log.key.name for log in policy.logs} if policy else set()
            origin = origins.pop() if len(origins) == 1 else ""
            self._targets += [MonitoredTarget(name, reach, origin) for name in targets]
            self._policy = policy or _own_policy(self._targets)
            self._views += _views(self._policy, witnesses or {}, reach)
            self._conditions = Conditions(self._state.path / "conditions.json", _graces(self._options))
            self._delivery = Delivery(self._state.journal, sinks, tell)
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, stop: threading.Event | None = None) -> None:
        """Go on until `stop` is set. Raises StorageError and kin: a monitor that can not keep what it finds
        ends.
        """
        ended = stop or threading.Event()
        while not ended.is_set():
            if not self.round().behind:
                ended.wait(self._options.poll)

    def catch_up(self) -> Round:
        """Rounds until every entry was read that can be, for who starts a monitor now and then. Raises as
        `run`.
        """
        while True:
            found = self.round()
            if not found.behind or not found.entries:
                return found

    def round(self) -> Round:
        """Look at everything once. Raises StorageError and kin, DamagedError for the state."""
        now = int(self._clock())
        observed: list[Observation] = []
        silent: set[Silent] = set()
        shown = self._look(observed, silent)
        for origin, heads in shown.items():
            observed += self._log(origin, now).judge(heads, now)
        self._look_at_witnesses(observed, silent, now)
        entries = self._read(observed)
        self._tell(observed, silent, now)
        behind = any(log.behind for log in self._logs.values())
        return Round(behind, bool(silent), self._delivery.run(), entries, len(self._logs))

    def _look(
        self, observed: list[Observation], silent: set[Silent]
    ) -> dict[str, dict[MonitoredTarget, Shown]]:
        """All targets at once; what they show, by log."""
        shown: dict[str, dict[MonitoredTarget, Shown]] = {}
        looks = [(target, self._pool.submit(target.look, self._policy)) for target in self._targets]
        for target, look in looks:
            try:
                head = look.result()
            except MerklelogError as error:
                found = trouble(target.origin, target.name, error)
                observed.append(found)
                if found.kind is MonitorKind.UNREACHABLE:
                    silent.add((target.name, None))
                    target.reopen()
                continue
            shown.setdefault(head.signed.checkpoint.origin, {})[target] = head
        return shown

    def _look_at_witnesses(self, observed: list[Observation], silent: set[Silent], now: int) -> None:
        looks = [
            (view, log, self._pool.submit(view.look, self._policy, log.origin))
            for view in self._views
            for log in self._logs.values()
        ]
        for view, log, look in looks:
            try:
                note, signed = look.result()
            except MerklelogError as error:
                found = trouble(log.origin, view.source, error)
                observed.append(replace(found, mark=log.origin))
                if found.kind is MonitorKind.UNREACHABLE:
                    silent.add((view.source, log.origin))
                continue
            judged = log.judge_witness(view.source, note, signed, now)
            observed += [replace(each, mark=f"{log.origin} {each.mark}") for each in judged]

    def _read(self, observed: list[Observation]) -> int:
        before = sum(reader.entries for reader in self._readers.values())
        for reader in self._readers.values():
            observed += reader.read(self._options.share)
        return sum(reader.entries for reader in self._readers.values()) - before

    def _tell(self, observed: list[Observation], silent: set[Silent], now: int) -> None:
        """What is new, on the disk. What is known of who did not answer stays as it was."""
        found = self._conditions.update(observed, silent, now)
        self._state.journal.append([each.line() for each in found])
        self._conditions.save()

    def _log(self, origin: str, now: int) -> WatchedLog:
        if origin not in self._logs:
            log = self._logs[origin] = WatchedLog(origin, self._state, self._policy, self._options, now)
            clock = self._clock
            self._readers[origin] = EntryReader(log, self._state.journal, self._matcher, lambda: int(clock()))
        return self._logs[origin]

    @property
    def logs(self) -> Sequence[WatchedLog]:
        """The logs that were seen since this monitor was started."""
        return tuple(self._logs.values())

    @property
    def lasting(self) -> list[Observation]:
        """What was told and lasts."""
        return self._conditions.told

    @property
    def waiting(self) -> list[Observation]:
        """What is so now and is told once its grace is over."""
        return self._conditions.waiting

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        self._delivery.close()
        self._let_go()

    def _let_go(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for target in self._targets:
            target.close()
        for view in self._views:
            view.close()
        self._state.close()


def _own_policy(targets: Sequence[MonitoredTarget]) -> Policy:
    """Any one key that the data directories name; raises UsageError where there is another kind of target."""
    keys: list[VerifierKey] = []
    for target in targets:
        try:
            source = target.source
        except MerklelogError as error:
            raise UsageError(f"{target.name}: {error}; who signs this log?") from error
        if not isinstance(source, LogReader):
            raise UsageError(f"{target.name}: who signs this log? give a policy or verifier keys")
        keys += source.vkeys
    return single_log_policy(dict.fromkeys(keys))


def _views(policy: Policy, witnesses: Mapping[str, str], access: Access) -> list[WitnessView]:
    names = {witness.name.decode("utf-8", "surrogateescape"): witness for witness in policy.witnesses}
    if unknown := witnesses.keys() - names.keys():
        raise UsageError(f"witness {min(unknown)!r}: the policy has none of that name")
    urls = {
        name: witnesses.get(name) or (witness.url or b"").decode("utf-8", "surrogateescape")
        for name, witness in names.items()
    }
    return [WitnessView(names[name], url, access) for name, url in urls.items() if url]


def _graces(options: MonitorOptions) -> dict[MonitorKind, float]:
    return {
        MonitorKind.UNREACHABLE: options.grace,
        MonitorKind.QUORUM: options.grace,
        MonitorKind.AHEAD: options.lag,
    }


__all__ = [
    "CommandSink",
    "LineSink",
    "Matcher",
    "Monitor",
    "MonitorFinding",
    "MonitorKind",
    "MonitorOptions",
    "Patterns",
    "Round",
    "WebhookSink",
]
