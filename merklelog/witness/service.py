"""A witness without its sockets: the body of a request in, a status and a body out.

A thread of the crew verifies the log's signatures, and then has the state's turn: from reading what is recorded to
recording more nobody else decides. That is what makes checking and recording one step (tlog-witness describes the
race that this prevents). It signs what it recorded, which is made durable, and only then the cosignature leaves. A
conflict waits too, for it tells what is recorded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from merklelog.errors import FormatError, LocalError, SignatureError, StoppedError
from merklelog.formats import Note, Policy, SigningKey, format_note
from merklelog.formats.checkpoint_text import Checkpoint
from merklelog.formats.note import parse_note, verify_note
from merklelog.formats.wire import quote
from merklelog.formats.witness import (
    SIZE_TYPE,
    AddCheckpoint,
    format_cosignatures,
    format_size,
    parse_add_checkpoint,
)
from merklelog.protocol.witness import (
    Refusal,
    Refused,
    Witnessed,
    is_equivocation,
    judge_growth,
    judge_signatures,
    unknown_log,
)

from .answer import TEXT, Answer
from .config import WitnessConfig
from .crew import Crew
from .evidence import Evidence
from .keys import cosign, load_keys
from .limits import Rate
from .logs import KnownLogs, read_logs
from .state import Record, Recorded, WitnessState
from .syncer import Done, Step

_log: Final = logging.getLogger("merklelog.witness")
_RETRY_SOON: Final = 1.0
_RETRY_LATE: Final = 60.0
_LEFT: Final = Answer(503, b"its client left\n")


class _Asked:
    """A request; its client may leave, and then nothing is begun for it."""

    __slots__ = ("done", "left", "policy", "request")

    def __init__(self, policy: Policy, request: AddCheckpoint, done: Done) -> None:
        self.policy = policy
        self.request = request
        self.done = done
        self.left = False


class _Taken(NamedTuple):
    """A checkpoint that was recorded, and is signed as of `now`."""

    recorded: Recorded
    now: int


class _NotTaken(NamedTuple):
    """One that was not, and why; with the note of the recorded one where the two can not both be true."""

    why: Refused
    recorded: bytes | None


class Witness:
    """One open witness. `add_checkpoint` is called in one event loop; `shown` from any thread.

    `now` is the clock of cosignatures, POSIX seconds; `steady` that of limits. `step` hears what the state's
    does, and "decided" before anything is recorded.
    """

    def __init__(
        self,
        directory: Path,
        config: WitnessConfig,
        *,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        step: Step = lambda _name: None,
    ) -> None:
        """Raises ConfigError, KeyFileError, PolicyError, StorageError, LockedError, DamagedError."""
        self.config = config
        self._now, self._steady, self._step = now, steady, step
        self._keys: list[SigningKey] = load_keys(config.keys, config.name)
        self.verifiers = tuple(key.verifier for key in self._keys)
        self._logs: KnownLogs = read_logs(config.logs, self.verifiers)
        self._rate = Rate(config.rate)
        self._evidence = Evidence(directory)
        self._waiting = 0
        self.equivocations = 0
        self._own = frozenset((key.name, key.key_id) for key in self.verifiers)
        self._own_line = f"\n\u2014 {config.name} ".encode()
        self._crew = Crew()
        self.state = WitnessState(directory, own=self._own, step=step)

    @property
    def logs(self) -> KnownLogs:
        """The logs that it knows."""
        return self._logs

    @property
    def waiting(self) -> int:
        """Requests that wait for a signature or for the disk."""
        return self._waiting

    def sitting_out(self) -> dict[str, str]:
        """The known logs for which nothing is signed, and why."""
        found = {origin: self.state.sitting_out(origin) for origin in self._logs.policies}
        return {origin: why for origin, why in found.items() if why is not None}

    def reload(self) -> int:
        """Read the list of logs again; gives how many there are. Raises ConfigError, PolicyError: the old one
        stays.
        """
        logs = read_logs(self.config.logs, self.verifiers)
        with self.state.turn:
            self._logs = logs
        return len(logs)

    def shown(self, name: str) -> bytes | None:
        """The newest cosigned checkpoint of the log whose origin has this SHA-256, lowercase hex; None without."""
        if len(name) != 64 or name != name.lower():
            return None
        try:
            return self.state.shown(bytes.fromhex(name))
        except ValueError:
            return None

    def close(self) -> None:
        """Sync what waits and close the database. Raises StorageError, DamagedError."""
        try:
            self.state.close()
        finally:
            self._crew.close()

    # --- add-checkpoint ------------------------------------------------------------------------------------------

    async def add_checkpoint(self, body: bytes, client: str) -> Answer:
        """Answers one request; `client` is who asks, for the limits. Source: tlog-witness, "add-checkpoint"."""
        try:
            request = parse_add_checkpoint(body, max_bytes=self.config.request_bytes)
        except FormatError as error:
            return _refused(Refused(Refusal.BAD_REQUEST, str(error)))
        origin = request.checkpoint.origin
        policy = self._logs.policy(origin)
        if policy is not None and (seconds := self._rate.refuse(client, origin, self._steady())) is not None:
            return Answer(429, b"too many requests for this log\n", TEXT, seconds)
        if policy is not None and self._waiting >= self.config.waiting:
            return Answer(503, b"too many requests wait\n", TEXT, _RETRY_SOON)
        if policy is None:
            return _refused(unknown_log(origin))
        asked = _Asked(policy, request, asyncio.get_running_loop().create_future())
        self._waiting += 1
        asked.done.add_done_callback(self._answered)
        self._crew.compute(partial(self._judge, asked), asked.done)
        try:
            return await asyncio.shield(asked.done)
        except asyncio.CancelledError:
            asked.left = True
            raise
        except StoppedError:
            return Answer(503, b"the witness has stopped\n", TEXT, _RETRY_LATE)

    def _answered(self, _done: Done) -> None:
        """Only now its place is free: what a client that left has asked for is still to be looked at."""
        self._waiting -= 1

    def _judge(self, asked: _Asked) -> Answer | None:
        """The answer; None when it comes once something is durable. In a thread of the crew."""
        if asked.left:
            return _LEFT
        policy, request, done = asked.policy, asked.request, asked.done
        judged = judge_signatures(policy, request)
        if isinstance(judged, Refused):
            return _refused(judged)
        is_ahead = self._is_ahead(request)
        with self.state.turn:
            decided = self._decide(policy, request, judged, done, is_ahead=is_ahead)
        if isinstance(decided, _Taken):
            self._sign(decided, request.checkpoint, judged)
            return None
        if not isinstance(decided, _NotTaken):
            return decided
        if decided.recorded is not None:
            self._keep_equivocation(request, decided.recorded)
        # What was recorded may not be durable yet, and is not to be told before.
        answer = _refused(decided.why)
        return None if self.state.settled(done, answer) else answer

    def _decide(
        self, policy: Policy, request: AddCheckpoint, note: Note, done: Done, *, is_ahead: bool
    ) -> _Taken | _NotTaken | Answer | None:
        """Who has the state's turn; None as `_judge`."""
        checkpoint = request.checkpoint
        origin = checkpoint.origin
        if self._logs.policy(origin) != policy:
            return Answer(503, b"the list of logs was changed meanwhile\n", TEXT, _RETRY_SOON)
        recorded = self.state.record_of(origin)
        why = self.state.sitting_out(origin)
        if why is None and is_ahead and checkpoint.size > recorded.size:
            why = f"this witness signed size {checkpoint.size} and has no record of it: it is a copy"
            _log.error("sits out for %s: %s", quote(origin), why)
            self.state.sit_out(origin, why, done, _sits_out(why))
            return None
        if why is not None:
            return _sits_out(why)
        refused = judge_growth(recorded, request)
        if refused is not None:
            if not is_equivocation(recorded, checkpoint):
                return _NotTaken(refused, None)
            self.equivocations += 1
            return _NotTaken(refused, self.state.note_of(origin) or b"")
        self._step("decided")
        if (now := int(self._now())) <= 0:
            return Answer(503, b"the clock of this witness is wrong\n", TEXT, _RETRY_LATE)
        record = Record(Witnessed(checkpoint.size, checkpoint.root), format_note(note))
        return _Taken(self.state.record(origin, record, done), now)

    def _sign(self, taken: _Taken, checkpoint: Checkpoint, note: Note) -> None:
        """The note with a cosignature by each key, and these alone as the answer."""
        try:
            lines = cosign(self._keys, checkpoint, taken.now)
            whole = format_note(Note(note.text, (*note.signatures, *lines)))
            answer = Answer(200, format_cosignatures(lines))
            self._step("signed")
        except Exception as error:  # noqa: BLE001 - whatever it is, others wait behind this one
            self.state.failed(taken.recorded, error)
        else:
            self.state.signed(taken.recorded, whole, answer)

    def _is_ahead(self, request: AddCheckpoint) -> bool:
        """Whether the checkpoint bears this witness' own cosignature of a tree larger than any it knows of.

        Then its database is older than what it signed, and the next cosignature might be of a fork. What is
        recorded may grow meanwhile: who has the turn compares again.
        """
        checkpoint = request.checkpoint
        if (
            checkpoint.size <= self.state.record_of(checkpoint.origin).size
            or self._own_line not in request.note
        ):
            return False
        try:
            verify_note(parse_note(request.note), self.verifiers)
        except SignatureError:
            return False  # anybody can write a line that claims to be ours
        return True

    def _keep_equivocation(self, request: AddCheckpoint, recorded: bytes) -> None:
        checkpoint = request.checkpoint
        _log.error("the log %s signed two trees of size %d", quote(checkpoint.origin), checkpoint.size)
        try:
            path = self._evidence.keep(request, recorded)
        except LocalError as error:  # the checkpoint is refused all the same
            _log.error("its notes could not be kept: %s", error)
        else:
            if path is not None:
                _log.error("both notes: %s", path)


def _sits_out(why: str) -> Answer:
    return Answer(503, f"sitting out for this log: {why}\n".encode(), TEXT, _RETRY_LATE)


def _refused(refused: Refused) -> Answer:
    if refused.why is Refusal.CONFLICT:
        return Answer(409, format_size(refused.size), SIZE_TYPE)
    return Answer(refused.why.value, f"{refused.message}\n".encode("utf-8", "replace"))
