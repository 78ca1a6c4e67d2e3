"""Collecting cosignatures: one thread a witness, and one round a checkpoint, which ends with the quorum.

A round offers one checkpoint to all witnesses. It ends when the policy's quorum has cosigned (and those witnesses
that answered last time have had a moment more), or when its time is over. Then the newest checkpoint that was
offered meanwhile is next; so the sizes only grow, and no witness is asked for less than it has. A witness that is
still busy with an older checkpoint goes on, bounded by the deadline of its request, and joins later; one that
fails is asked again with growing pauses, across rounds, and holds nobody up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from merklelog.cosign.client import Offer, WitnessClient
from merklelog.errors import MerklelogError
from merklelog.formats.note import NoteSignature
from merklelog.formats.policy import Policy
from merklelog.protocol.cosigning import Means, line_names, with_cosignatures

RETRY_FROM: Final = 0.25  # seconds after a witness' first failure; twice as long after each further one
RETRY_TO: Final = 10.0
GRACE: Final = 0.2  # seconds that a round with a quorum waits for witnesses which answered the last time
_log: Final = logging.getLogger("merklelog.witnesses")


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """How one witness stands.

    `size` is the size of the newest checkpoint that it is known to have cosigned, None before its first answer;
    `error` what its last request failed with, None where it did not. `asked`, `cosigned` and `failed` count
    checkpoints since the log was opened. `alarm` says that the failure is one no witness should ever give a log:
    it has more of it, or another tree. `set_backs` counts how often it had less than it had cosigned.
    """

    name: str
    url: str
    size: int | None = None
    error: str | None = None
    asked: int = 0
    cosigned: int = 0
    failed: int = 0
    last_seconds: float = 0.0
    alarm: bool = False
    set_backs: int = 0


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A round's outcome: what was offered, and the note with its cosignatures, which meets the policy."""

    offer: Offer
    note: bytes


@dataclass(slots=True)
class _Round:
    """One checkpoint on offer. `lines` are by the witness' name in the policy."""

    number: int
    offer: Offer
    ends: float
    lines: dict[bytes, NoteSignature] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)  # workers that may still bring something


class Collector:
    """The witnesses of one open log. `done` hears each round that met the policy, `alarmed` of a witness' alarm.

    Both are called from threads of this, and must be quick. `seconds` bounds a round, and each request.
    """

    def __init__(
        self,
        policy: Policy,
        clients: Sequence[WitnessClient],
        *,
        seconds: float,
        done: Callable[[Cosigned], None],
        alarmed: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._clients = tuple(clients)
        self._seconds = seconds
        self._done = done
        self._alarmed = alarmed
        self._status = [WitnessStatus(c.peer.name, c.peer.url, c.size) for c in clients]
        self._changed = threading.Condition()
        self._offered: Offer | None = None
        self._round: _Round | None = None
        self._rounds = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"merklelog-witness-{n}", daemon=True)
            for n in range(len(clients))
        ]
        self._threads.append(threading.Thread(target=self._run, name="merklelog-witnesses", daemon=True))
        self._begun = False

    @property
    def status(self) -> tuple[WitnessStatus, ...]:
        """Each witness, in the policy's order; from any thread."""
        both = zip(self._status, self._clients, strict=True)
        return tuple(
            replace(each, size=c.size if each.size is None else each.size, set_backs=c.set_backs)
            for each, c in both
        )

    def offer(self, offer: Offer) -> None:
        """The newest checkpoint: the next round is of it. Never smaller than one before; from any thread."""
        with self._changed:
            if not self._begun:
                self._begun = True
                for thread in self._threads:
                    thread.start()
            self._offered = offer
            self._changed.notify_all()

    def close(self) -> None:
        """End; a request under way is left to its deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- rounds --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (current := self._next()) is not None:
            note = self._gather(current)
            if note is not None and not self._closed:
                self._done(Cosigned(current.offer, note))

    def _next(self) -> _Round | None:
        """Wait for an offer, and make it the round; None at the end."""
        with self._changed:
            self._round = None
            while self._offered is None and not self._closed:
                self._changed.wait()
            if self._offered is None or self._closed:
                return None
            self._rounds += 1
            made = _Round(self._rounds, self._offered, monotonic() + self._seconds)
            made.waiting.update(range(len(self._clients)))
            self._round, self._offered = made, None
            self._changed.notify_all()
            return made

    def _gather(self, current: _Round) -> bytes | None:
        """The cosigned note once the quorum is there; None when the round ended without.

        Without one, a newer offer is taken up as soon as the round's time is over; until there is one, this goes
        on with the same checkpoint.
        """
        met: bytes | None = None
        ends = current.ends
        with self._changed:
            while not self._closed:
                if (found := with_cosignatures(self._policy, current.offer.note, current.lines)) is not None:
                    ends = ends if met is not None else min(ends, monotonic() + GRACE)
                    met = found
                    if not any(self._status[n].error is None for n in current.waiting):
                        return met
                left = ends - monotonic()
                if left <= 0 and (met is not None or self._offered is not None):
                    return met
                self._changed.wait(left if left > 0 else None)
        return met

    # --- a witness' own thread -----------------------------------------------------------------------------------

    def _work(self, n: int) -> None:
        client = self._clients[n]
        last, pause, not_before = 0, 0.0, 0.0
        try:
            while (current := self._await_round(last, not_before)) is not None:
                began = monotonic()
                later = self._ask(n, client, current)
                last = current.number if later is None else 0
                pause = 0.0 if later is None else min(RETRY_TO, 2 * pause or RETRY_FROM)
                not_before = monotonic() + max(pause, min(later or 0.0, RETRY_TO))
                self._status[n] = replace(self._status[n], last_seconds=monotonic() - began)
        finally:
            client.close()

    def _await_round(self, last: int, not_before: float) -> _Round | None:
        """The round to work for, that is not `last`, and not before its time; None at the end."""
        with self._changed:
            while not self._closed:
                left = not_before - monotonic()
                if self._round is not None and self._round.number != last and left <= 0:
                    return self._round
                self._changed.wait(left if left > 0 else None)
        return None

    def _ask(self, n: int, client: WitnessClient, current: _Round) -> float | None:
        """Ask one witness once; None when it cosigned, else the seconds that it is left alone at least."""
        before = self._status[n]
        try:
            reply = client.add(current.offer, self._seconds)
        except Exception as error:  # noqa: BLE001 - a thread that ended would be a witness nobody asks again
            self._end(n, current, replace(before, error=str(error)))
            is_ours = isinstance(error, MerklelogError)  # no proof could be made; the log's own reads say why
            _log.error("witness %s: it was not asked: %s", before.name, error, exc_info=not is_ours)
            return RETRY_TO
        counted = replace(before, asked=before.asked + 1, size=client.size)
        if reply.means is Means.COSIGNED:
            good = replace(counted, cosigned=counted.cosigned + 1, error=None, alarm=False)
            self._end(n, current, good, line_names(client.peer, reply.lines))
            if before.error is not None:
                _log.info("witness %s cosigns again", counted.name)
            return None
        alarm = reply.means in {Means.AHEAD, Means.FORKED}
        failed = replace(counted, failed=counted.failed + 1, error=reply.message, alarm=alarm or before.alarm)
        is_over = reply.means is not Means.LATER
        self._end(n, current, failed, is_over=is_over)
        if before.error != reply.message:
            weight = logging.ERROR if alarm else logging.WARNING
            _log.log(weight, "witness %s (%s): %s", counted.name, counted.url, reply.message)
        if alarm:
            self._alarmed()
        return RETRY_TO if is_over else reply.later or 0.0

    def _end(
        self,
        n: int,
        current: _Round,
        status: WitnessStatus,
        lines: dict[bytes, NoteSignature] | None = None,
        *,
        is_over: bool = True,
    ) -> None:
        with self._changed:
            self._status[n] = status
            current.lines.update(lines or {})
            if is_over:
                current.waiting.discard(n)
            self._changed.notify_all()


__all__ = ["Collector", "Cosigned", "WitnessStatus"]
