"""A witness without its sockets: the body of a request in, a status and a body out.

The log's signatures are verified first, by the crew's threads. Everything from reading the state to recording a
new one then happens without waiting, in the event loop's thread: that is what makes checking and recording one
step (tlog-witness describes the race that this prevents). What was recorded is signed by the crew and made
durable, and only then its cosignature leaves. A conflict waits too, for it tells what is recorded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from merklelog.errors import FormatError, LocalError, SignatureError, StoppedError
from merklelog.formats import Note, SigningKey, format_note
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
)

from .config import WitnessConfig
from .crew import Crew
from .evidence import Evidence
from .keys import cosign, load_keys
from .limits import Rate
from .logs import KnownLogs, read_logs
from .state import Record, WitnessState
from .syncer import Step

_log: Final = logging.getLogger("merklelog.witness")
TEXT: Final = "text/plain; charset=utf-8"
_RETRY_SOON: Final = 1.0
_RETRY_LATE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `retry_after` is in seconds, None where trying again says nothing new; `allow` goes with
    405.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    retry_after: float | None = None
    allow: str | None = None


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
        self.state = WitnessState(directory, own=self._own, crew=self._crew, step=step)

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
        self._logs = read_logs(self.config.logs, self.verifiers)
        return len(self._logs)

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
        self._waiting += 1
        try:
            if policy is None:
                judged = judge_signatures(policy, request)
            else:
                judged = await self._crew.compute(partial(judge_signatures, policy, request))
                if self._logs.policy(origin) != policy:
                    return Answer(503, b"the list of logs was changed meanwhile\n", TEXT, _RETRY_SOON)
            return _refused(judged) if isinstance(judged, Refused) else await self._decide(request, judged)
        except StoppedError:
            return Answer(503, b"the witness has stopped\n", TEXT, _RETRY_LATE)
        finally:
            self._waiting -= 1

    async def _decide(self, request: AddCheckpoint, note: Note) -> Answer:
        """No await stands between reading the recorded checkpoint and recording the next."""
        origin = request.checkpoint.origin
        recorded = self.state.record_of(origin)
        why = self.state.sitting_out(origin)
        if why is None and self._is_ahead(request, recorded):
            why = f"this witness signed size {request.checkpoint.size} and has no record of it: it is a copy"
            _log.error("sits out for %s: %s", quote(origin), why)
            await self.state.sit_out(origin, why)
        if why is not None:
            text = f"sitting out for this log: {why}\n"
            return Answer(503, text.encode(), TEXT, _RETRY_LATE)
        refused = judge_growth(recorded, request)
        if refused is not None:
            self._note_misbehaviour(request, recorded)
            # What was recorded may not be durable yet, and is not to be told before.
            await self.state.settled()
            return _refused(refused)
        self._step("decided")
        if (now := int(self._now())) <= 0:
            return Answer(503, b"the clock of this witness is wrong\n", TEXT, _RETRY_LATE)
        record = Record(Witnessed(request.checkpoint.size, request.checkpoint.root), format_note(note))
        sign = partial(self._cosign, request.checkpoint, note, now)
        return Answer(200, await self.state.record(origin, record, sign))

    def _cosign(self, checkpoint: Checkpoint, note: Note, now: int) -> tuple[bytes, bytes]:
        """The note with a cosignature by each key, and these alone."""
        lines = cosign(self._keys, checkpoint, now)
        return format_note(Note(note.text, (*note.signatures, *lines))), format_cosignatures(lines)

    def _is_ahead(self, request: AddCheckpoint, recorded: Witnessed) -> bool:
        """Whether the checkpoint bears this witness' own cosignature of a tree larger than any it knows of.

        Then its database is older than what it signed, and the next cosignature might be of a fork.
        """
        if request.checkpoint.size <= recorded.size or self._own_line not in request.note:
            return False
        try:
            verify_note(parse_note(request.note), self.verifiers)
        except SignatureError:
            return False  # anybody can write a line that claims to be ours
        return True

    def _note_misbehaviour(self, request: AddCheckpoint, recorded: Witnessed) -> None:
        if not is_equivocation(recorded, request.checkpoint):
            return
        self.equivocations += 1
        origin = request.checkpoint.origin
        _log.error("the log %s signed two trees of size %d", quote(origin), recorded.size)
        try:
            path = self._evidence.keep(request, self.state.note_of(origin) or b"")
        except LocalError as error:  # the checkpoint is refused all the same
            _log.error("its notes could not be kept: %s", error)
        else:
            if path is not None:
                _log.error("both notes: %s", path)


def _refused(refused: Refused) -> Answer:
    if refused.why is Refusal.CONFLICT:
        return Answer(409, format_size(refused.size), SIZE_TYPE)
    return Answer(refused.why.value, f"{refused.message}\n".encode("utf-8", "replace"))
