"""One log under watch: the history that is trusted, and everything that is shown held against it.

The first checkpoint that the log signed is trusted, and from then on only what extends it. A checkpoint counts as
soon as the log signed it: a log that shows two histories is caught whether or not witnesses signed them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from merklelog.audit.monitor_files import (
    StateDirectory,
    read_file,
    read_json,
    replace_file,
    short_hash,
    write_json,
)
from merklelog.audit.monitor_findings import MonitorKind, Observation
from merklelog.audit.monitor_target import MonitoredTarget, Shown, read_signed
from merklelog.errors import (
    DamagedError,
    FormatError,
    MerklelogError,
    SignatureError,
    UnreachableError,
    VerificationError,
)
from merklelog.formats import Policy
from merklelog.formats.checkpoint import SignedCheckpoint
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.formats.policy import QUORUM_NONE
from merklelog.formats.witness import origin_hash
from merklelog.protocol import TrustedHead
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import Hash, TreeSize, root_hash

_REMEMBERED: Final = 4_096
_GREW: Final = 1_000
_KEPT_AHEAD: Final = 256


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How patient a monitor is, in seconds.

    `poll` between looks; `grace` before it says that something does not answer or has no quorum; `lag` for targets
    that are behind one another and for a log that does not show what a witness signed; `witness_lag` for what
    witnesses show; `max_age` of the newest signatures of a quorum; `share` of one log before others have their
    turn. `start` is the first entry of a log that is new to the monitor.
    """

    poll: float = 10.0
    grace: float = 60.0
    lag: float = 300.0
    witness_lag: float = 3_600.0
    max_age: float = 7_200.0
    share: float = 5.0
    start: int = 0


class WatchedLog:
    """One log. `trusted` is the newest head of the history, `position` the first entry that was not matched
    yet.
    """

    def __init__(
        self, origin: str, state: StateDirectory, policy: Policy, options: MonitorOptions, now: int
    ) -> None:
        """Raises DamagedError and SignatureError for a state that can not be believed, StorageError."""
        self.origin = origin
        self._shown: dict[MonitoredTarget, int] = {}  # which size each target showed last
        self.trusted: TrustedHead | None = None
        self.position = options.start
        self.frozen: int | None = None  # the entry with which the log said that it ends
        self.keys = tuple(log.key for log in policy.logs if log.key.name == origin)
        self._folder = state.path / "logs" / origin_hash(origin)
        self._state = state
        self._policy = policy
        self._options = options
        self._agreed: OrderedDict[tuple[int, Hash], None] = OrderedDict()
        self._grew: list[tuple[int, int]] = []  # when which size was trusted first
        # What witnesses cosigned and no target showed yet, by size.
        self._ahead: dict[int, tuple[str, bytes, SignedCheckpoint]] = {}
        self._read_state(now)

    def _read_state(self, now: int) -> None:
        path = self._folder / "checkpoint"
        note = read_file(path, MAX_NOTE_BYTES)
        progress = read_json(self._folder / "progress.json")
        if note is not None:
            self._trust(read_signed(self._policy, note, f"state {path}"), note, now)
        position = progress.get("position", self.position)
        frozen = progress.get("frozen")
        if frozen is not None and not isinstance(frozen, int):
            raise DamagedError(f"state {self._folder}: progress.json: frozen: want a number")
        self.frozen = frozen
        grew = [tuple(each) for each in progress.get("grew", [])]
        if self.trusted is not None and self.trusted.origin != self.origin:
            raise DamagedError(f"state {path}: it is of {self.trusted.origin!r}, want {self.origin!r}")
        if not isinstance(position, int) or position < 0:
            raise DamagedError(f"state {self._folder}: progress.json: position: want a number, from 0 on")
        if any(len(each) != 2 or not all(isinstance(word, int) for word in each) for each in grew):
            raise DamagedError(f"state {self._folder}: progress.json: grew: want pairs of numbers")
        self.position = position
        self._grew = grew or self._grew

    def save(self) -> None:
        """Keep how far it is. Raises StorageError."""
        value: dict[str, Any] = {"origin": self.origin, "position": self.position, "grew": self._grew}
        value["frozen"] = self.frozen
        write_json(self._folder / "progress.json", value)

    @property
    def behind(self) -> bool:
        """Whether there are entries that were not matched yet."""
        return self.trusted is not None and self.position < self.trusted.size

    def thawed(self) -> Iterator[Observation]:
        """A log that said that it ends, and has entries behind that."""
        if self.frozen is None or self.trusted is None or self.trusted.size <= self.frozen + 1:
            return
        evidence = self._state.keep_evidence(self.trusted.note)
        detail = f"it said with entry {self.frozen} that it ends, and has {self.trusted.size} entries"
        yield Observation(MonitorKind.THAWED, self.origin, self.origin, detail, evidence)

    # --- judging -----------------------------------------------------------------------------------------------

    def judge(self, shown: Mapping[MonitoredTarget, Shown], now: int) -> Iterator[Observation]:
        """What is wrong with what the log's targets show; what is right moves the history on."""
        self._shown.update({target: head.size for target, head in shown.items()})
        for target, head in shown.items():
            yield from self._hold(target.name, head.note, head.signed, target, now)
            for each in head.beside:
                yield from self._hold(target.name, each.note, each.signed, target, now, each.key)
        yield from self._come_up_to()
        for target, head in shown.items():
            yield from self._lags(target.name, head.size, self._options.lag, now)
            yield from self._quorum(target.name, head, now)

    def judge_witness(
        self, source: str, note: bytes, signed: SignedCheckpoint, now: int
    ) -> Iterator[Observation]:
        """What is wrong with what a witness shows of the log, after `judge`."""
        trusted = self.trusted
        if trusted is None:
            return
        if signed.checkpoint.size > trusted.size:
            yield from self._hold_ahead(source, note, signed)
            detail = f"it cosigned size {signed.checkpoint.size}, and the log shows {trusted.size}"
            evidence = self._state.keep_evidence(trusted.note, note) if self._is_late(now) else ()
            yield Observation(MonitorKind.AHEAD, self.origin, source, detail, evidence)
            return
        yield from self._hold(source, note, signed, None, now)
        yield from self._lags(source, signed.checkpoint.size, self._options.witness_lag, now)

    def _hold_ahead(self, source: str, note: bytes, signed: SignedCheckpoint) -> Iterator[Observation]:
        """What no target shows yet is held against what other witnesses have, and kept for when one does."""
        size = signed.checkpoint.size
        _, before, kept = self._ahead.setdefault(size, (source, note, signed))
        if kept.checkpoint.root != signed.checkpoint.root:
            yield self._split(source, before, note, size, size)
        while len(self._ahead) > _KEPT_AHEAD:
            del self._ahead[min(self._ahead)]

    def _come_up_to(self) -> Iterator[Observation]:
        """What witnesses had before, and the history has come up to."""
        trusted = self.trusted
        for size in sorted(self._ahead):
            if trusted is None or size > trusted.size:
                return
            source, note, signed = self._ahead[size]
            try:
                agrees = self._root_at(size) == signed.checkpoint.root
            except MerklelogError:
                return  # no target can prove it now, which is told where its entries are read
            if not agrees:
                split = self._split(source, trusted.note, note, trusted.size, size)
                # Marked as what witnesses show now is: it is one finding.
                yield replace(split, mark=f"{self.origin} {split.mark}")
            del self._ahead[size]

    def _is_late(self, now: int) -> bool:
        return bool(self._grew) and now - self._grew[-1][0] >= self._options.lag

    def _hold(
        self,
        source: str,
        note: bytes,
        signed: SignedCheckpoint,
        target: MonitoredTarget | None,
        now: int,
        key: str = "",
    ) -> Iterator[Observation]:
        """Hold a checkpoint against the history, and move that on. Raises StorageError and kin, for the state.

        `key` is the name under which a target shows it beside its `checkpoint`.
        """
        try:
            agrees = self._agrees(signed, target)
        except MerklelogError as error:
            yield replace(trouble(self.origin, source, error), mark=key)
            return
        size, root, trusted = signed.checkpoint.size, signed.checkpoint.root, self.trusted
        if trusted is None or (agrees and size > trusted.size):
            self._advance(signed, note, now)
        elif not agrees:
            yield self._split(source, trusted.note, note, trusted.size, size)
        elif size == trusted.size:
            self._renew(signed, note)
        if agrees:
            self._agree(size, root)
        yield from self._against_before(source, note, signed, key)

    def _agrees(self, signed: SignedCheckpoint, target: MonitoredTarget | None) -> bool:
        """Whether a checkpoint is of the trusted history; a larger one as its `target` proves it.

        Raises what keeps that from being found out.
        """
        size, root, trusted = signed.checkpoint.size, signed.checkpoint.root, self.trusted
        if (size, root) in self._agreed:
            return True
        if target is not None and (trusted is None or size > trusted.size):
            tiles = VerifiedTiles(target.source, size, root)
            if trusted is None:
                tiles.check()
                return True
            return root_hash(trusted.size, tiles.read) == trusted.root
        return self._root_at(size) == root

    def _split(self, source: str, before: bytes, note: bytes, known: int, size: int) -> Observation:
        evidence = self._state.keep_evidence(before, note)
        word = "trusted" if self.trusted is not None and known <= self.trusted.size else "cosigned"
        detail = (
            f"two histories: it shows a checkpoint of size {size} that the {word} one of size {known} "
            f"does not agree with; the log signed both"
        )
        mark = Path(evidence[0]).parent.name
        return Observation(MonitorKind.SPLIT, self.origin, source, detail, evidence, mark)

    def _root_at(self, size: int) -> Hash:
        """The root of the history at a size up to the trusted one, from whichever target can prove it."""
        trusted = self.trusted
        if trusted is None or size > trusted.size:
            raise UnreachableError(f"{self.origin}: nothing of size {size} is trusted yet")
        if size == trusted.size:
            return trusted.root
        failed: MerklelogError | None = None
        for target in self.able():
            try:
                return root_hash(size, VerifiedTiles(target.source, trusted.size, trusted.root).read)
            except MerklelogError as error:
                failed = error  # told if it is the last one; another target may have the tiles
        raise UnreachableError(
            f"the root at size {size} can not be found out: {failed or 'no target answers'}"
        ) from failed

    def _against_before(
        self, source: str, note: bytes, signed: SignedCheckpoint, key: str
    ) -> Iterator[Observation]:
        """A source shows never less than it showed: what it showed is kept apart from the history."""
        path = self._folder / "seen" / f"{short_hash(f'{source} {key}' if key else source)}.note"
        kept = read_file(path, MAX_NOTE_BYTES)
        size = signed.checkpoint.size
        most = -1 if kept is None else read_signed(self._policy, kept, f"state {path}").checkpoint.size
        if size > most:
            replace_file(path, note)
        elif size < most and kept is not None:
            evidence = self._state.keep_evidence(kept, note)
            detail = f"it shows size {size}{f' as {key}' if key else ''}, and showed {most} before"
            yield Observation(MonitorKind.ROLLBACK, self.origin, source, detail, evidence, key)

    def _lags(self, source: str, size: int, lag: float, now: int) -> Iterator[Observation]:
        want = self._size_before(now - lag)
        if size < want:
            detail = f"it shows size {size}, and {want} was shown elsewhere more than {lag:g} s ago"
            yield Observation(MonitorKind.LAG, self.origin, source, detail)

    def _quorum(self, source: str, head: Shown, now: int) -> Iterator[Observation]:
        met = head.met
        want = min(head.size, self._size_before(now - self._options.grace))
        refused = head.refused
        if not refused and head.size > head.signed.checkpoint.size and self._policy.quorum != QUORUM_NONE:
            refused = f"its checkpoint of size {head.size} waits for a quorum"
        if refused and (met is None or met.size < want):
            found = "" if met is None else f"; the newest that is, is of size {met.size}"
            yield Observation(MonitorKind.QUORUM, self.origin, source, f"{refused}{found}")
        if met is not None and met.signed_at is not None and self._policy.quorum != QUORUM_NONE:
            age = now - met.signed_at
            if age > self._options.max_age:
                detail = f"the newest cosignatures of a quorum are {age} s old, at size {met.size}"
                yield Observation(MonitorKind.STALE, self.origin, source, detail)

    def able(self) -> list[MonitoredTarget]:
        """The targets that showed a tree as large as the trusted one, and so owe its tiles."""
        size = 0 if self.trusted is None else self.trusted.size
        return [target for target, shown in self._shown.items() if shown >= size]

    # --- the history -------------------------------------------------------------------------------------------

    def _size_before(self, time: float) -> int:
        """The size that was trusted at that time."""
        return max((size for at, size in self._grew if at <= time), default=0)

    def _advance(self, signed: SignedCheckpoint, note: bytes, now: int) -> None:
        replace_file(self._folder / "checkpoint", note)
        self._trust(signed, note, now)
        self.save()

    def _renew(self, signed: SignedCheckpoint, note: bytes) -> None:
        """The same tree with other signatures: one with more of them is the better evidence."""
        if self.trusted is not None and len(note) > len(self.trusted.note):
            replace_file(self._folder / "checkpoint", note)
            self.trusted = _head(signed, note)

    def _trust(self, signed: SignedCheckpoint, note: bytes, now: int) -> None:
        self.trusted = head = _head(signed, note)
        self._agree(head.size, head.root)
        self._grew.append((now, head.size))
        longest = max(self._options.witness_lag, self._options.lag, self._options.grace)
        while len(self._grew) > 1 and (self._grew[1][0] <= now - longest or len(self._grew) > _GREW):
            del self._grew[0]

    def _agree(self, size: int, root: Hash) -> None:
        self._agreed[size, root] = None
        if len(self._agreed) > _REMEMBERED:
            self._agreed.popitem(last=False)


def _head(signed: SignedCheckpoint, note: bytes) -> TrustedHead:
    checkpoint = signed.checkpoint
    return TrustedHead(checkpoint.origin, TreeSize(checkpoint.size), checkpoint.root, note)


def trouble(origin: str | None, source: str, error: MerklelogError) -> Observation:
    """An error as an observation: bytes that are wrong, or no answer."""
    kind = MonitorKind.UNREACHABLE
    if isinstance(error, FormatError | SignatureError):
        kind = MonitorKind.SIGNATURE
    elif isinstance(error, VerificationError):
        kind = MonitorKind.DAMAGED
    return Observation(kind, origin, source, str(error))


__all__ = ["MonitorOptions", "WatchedLog", "trouble"]
