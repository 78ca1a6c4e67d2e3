"""The witnesses of an open log: compared with at a start, and asked for each checkpoint.

What a quorum cosigned is kept here until the thread that publishes takes it (`take`), so that targets and rows are
written by one thread alone.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from merklelog.cosign.client import Offer, WitnessClient
from merklelog.cosign.collector import Collector, Cosigned, WitnessStatus
from merklelog.cosign.http import trust
from merklelog.errors import (
    BehindError,
    FencedError,
    ForkError,
    FormatError,
    PolicyUnmetError,
    SignatureError,
    UnavailableError,
)
from merklelog.formats import Policy, VerifierKey, parse_checkpoint
from merklelog.protocol.cosigning import Means, Reply, peers, unreached
from merklelog.protocol.publication import TreeHead
from merklelog.protocol.verdict import evaluate_policy, is_quorum
from merklelog.publish.publishing import Witnessed
from merklelog.tree import Hash

from .head import Head, read_witnessed
from .witness_config import LogWitnessConfig, load_own_policy

if TYPE_CHECKING:
    from merklelog.store import StoreReader

_log: Final = logging.getLogger("merklelog.witnesses")
_LOST: Final = (
    "an old copy of the disk, or checkpoints were lost. To sign on from here would fork what was cosigned: "
    "`merklelog recover DIR --from TARGET` makes a log that goes on from what was published; a log without "
    "targets goes on under a new origin"
)


@dataclass(frozen=True, slots=True)
class WitnessingStatus:
    """How a log stands with its witnesses.

    `size` is that of the newest checkpoint with a quorum, None before the first; `offered` that of the newest on
    offer; `lag_entries` and `lag_seconds` say how much is integrated and not witnessed, and for how long.
    """

    mode: str
    quorum: str
    size: int | None
    offered: int
    lag_entries: int
    lag_seconds: float
    witnesses: tuple[WitnessStatus, ...]


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The witnesses that a log's configuration names; nobody is asked yet."""

    config: LogWitnessConfig
    policy: Policy
    tls: ssl.SSLContext | None

    @property
    def mode(self) -> Witnessed:
        """What they have to do with what readers are shown."""
        return Witnessed.HOLD if self.config.holds else Witnessed.CONTINUE

    def clients(self) -> list[WitnessClient]:
        """One for each. Raises ConfigError."""
        return [WitnessClient(peer, self.tls) for peer in peers(self.policy)]


def open_witnesses(
    config: LogWitnessConfig, directory: Path, verifiers: Sequence[VerifierKey]
) -> Witnesses | None:
    """The witnesses of the log in `directory`, whose keys these are; None where none are configured.

    Asks nobody. Raises ConfigError, PolicyError naming the line.
    """
    if not config.policy:
        return None
    policy = load_own_policy(directory / config.policy, verifiers)
    secure = any(peer.url.startswith("https:") for peer in peers(policy))
    tls = trust(directory / config.ca if config.ca else None) if secure else None
    made = Witnesses(config, policy, tls)
    made.clients()  # refuses URLs that can not be used
    return made


def does_meet(policy: Policy, note: bytes) -> bool:
    """Whether a stored note meets a policy."""
    try:
        evaluate_policy(policy, parse_checkpoint(note))
    except (FormatError, SignatureError, PolicyUnmetError):
        return False
    return True


def read_witnessed_by(
    store: StoreReader, config: LogWitnessConfig, directory: Path, verifiers: Sequence[VerifierKey]
) -> Head | None:
    """The newest cosigned checkpoint of the log in `directory`, if it meets the policy as it is now.

    Raises ConfigError, PolicyError, DamagedError.
    """
    found = read_witnessed(store, str(directory))
    if found is None or not config.policy:
        return None
    policy = load_own_policy(directory / config.policy, verifiers)
    return found if does_meet(policy, found.note) else None


class Witnessing:
    """The witnesses of one open log. `prove(old, size)` gives consistency proofs of its tree.

    `wake` is called when there is something to take, `stop` with what makes going on unsafe; from any thread.
    """

    def __init__(
        self,
        witnesses: Witnesses,
        store: StoreReader,
        prove: Callable[[int, int], Sequence[Hash]],
        *,
        wake: Callable[[], None],
        stop: Callable[[BaseException], None],
    ) -> None:
        self.mode = witnesses.mode
        self.policy = witnesses.policy
        self._config = witnesses.config
        self._store = store
        self._prove = prove
        self._wake, self._stop = wake, stop
        self._clients = witnesses.clients()
        self._reached: set[int] = set()
        self._collector = Collector(
            witnesses.policy,
            self._clients,
            seconds=witnesses.config.timeout,
            done=self._done,
            alarmed=self._alarmed,
        )
        self._mutex = threading.Lock()
        self._taken: Cosigned | None = None
        self._offer: Offer | None = None
        self.offered = 0
        self._least = 0  # what witnesses were brought to at the start: they are never offered less
        self._settled = 0  # the size of the newest that was taken
        self._renew_at = 0.0

    @property
    def status(self) -> tuple[WitnessStatus, ...]:
        """Each witness."""
        return self._collector.status

    def remember(self, witnessed: Head) -> None:
        """What a quorum cosigned in an earlier life of the log: one of it that has less by now was set back."""
        cosigners = evaluate_policy(self.policy, parse_checkpoint(witnessed.note)).cosigners
        names = {each.witness.name for each in cosigners}
        for client in self._clients:
            if names.intersection(client.peer.names):
                client.known = witnessed.size

    # --- a start -------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Hold the log's newest stored checkpoint against the witnesses; call again after UnavailableError.

        Signs nothing. Raises BehindError and ForkError for a witness that has more of this log, or another tree;
        UnavailableError naming those who did not answer and could be a quorum by themselves.
        """
        size = next(iter(self._store.stored_sizes()), None)
        note = None if size is None else self._store.checkpoint(size)
        if note is None:
            return  # nothing was ever signed to be kept, so nothing was shown to a witness
        offer = Offer(parse_checkpoint(note), self._prove)
        asked = [n for n in range(len(self._clients)) if n not in self._reached]
        replies = self._ask_all(asked, offer)
        for n, reply in replies.items():
            self._judge(n, reply, offer)
        away = [n for n in range(len(self._clients)) if n not in self._reached]
        missing = [self._clients[n].peer for n in away]
        reached = [self._clients[n].peer for n in self._reached]
        if unreached(self.policy, reached, missing):
            told = "; ".join(f"witness {self._clients[n].peer.name}: {replies[n].message}" for n in away)
            later = max((replies[n].later or 0.0 for n in away), default=0.0)
            raise UnavailableError(told, later or None)
        for n in away:
            _log.warning(
                "witness %s was not compared with: %s", self._clients[n].peer.name, replies[n].message
            )

    def _ask_all(self, asked: Sequence[int], offer: Offer) -> dict[int, Reply]:
        """All at once, in threads that keep no program from ending."""
        replies: dict[int, Reply] = {}
        failed: list[BaseException] = []

        def ask(n: int) -> None:
            try:
                replies[n] = self._compare(n, offer)
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
                failed.append(error)

        threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return replies

    def _compare(self, n: int, offer: Offer) -> Reply:
        try:
            return self._clients[n].compare(offer, self._config.timeout)
        finally:
            self._clients[n].close()  # another thread will ask the next time

    def _judge(self, n: int, reply: Reply, offer: Offer) -> None:
        name, url = self._clients[n].peer.name, self._clients[n].peer.url
        if reply.means is Means.AHEAD:
            raise BehindError(f"witness {name} ({url}): {reply.message}: {_LOST}")
        if reply.means is Means.FORKED:
            raise ForkError(
                f"witness {name} ({url}): {reply.message}: two histories of one log, and this one must not sign",
                offer.note,
            )
        if reply.means is Means.COSIGNED:
            self._reached.add(n)
            self._least = offer.size

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def meets(self, note: bytes) -> bool:
        """Whether a stored note meets the policy as it is now."""
        return does_meet(self.policy, note)

    def resume(self, size: int, note: bytes | None) -> None:
        """What was witnessed in an earlier life of the log: `size` entries under `note`, None for nothing."""
        self._settled = size
        age = self._config.heartbeat
        if note is not None:  # it meets the policy as it is now, or it would not be here
            cosigners = evaluate_policy(self.policy, parse_checkpoint(note)).cosigners
            age = max(0.0, time.time() - min(each.timestamp for each in cosigners))
        self._renew_at = time.monotonic() + max(0.0, self._config.heartbeat - age)

    def offer(self, head: TreeHead, note: bytes) -> None:
        """A checkpoint that readers can fetch everything under; the newest is what witnesses are asked for."""
        if head.size < max(self.offered, self._least):
            return
        self._offer = Offer(parse_checkpoint(note), self._prove)
        self.offered = head.size
        self._renew_at = time.monotonic() + self._config.heartbeat
        self._collector.offer(self._offer)

    def prime(self, note: bytes) -> None:
        """The newest checkpoint that is there already: offered now, or at its time if a quorum has it."""
        signed = parse_checkpoint(note)
        size, root = signed.checkpoint.size, signed.checkpoint.root
        if size == 0 or size < self._least:
            return  # an empty tree says nothing, and what is larger comes when it is published
        if size > max(self._settled, self.offered):
            self.offer(TreeHead(size, root), note)
        elif not self.offered:
            self._offer, self.offered = Offer(signed, self._prove), size

    def beat(self) -> float | None:
        """Offer an unchanged checkpoint again when that is due; seconds until the next time, None for never."""
        if self._offer is None:
            return None
        left = self._renew_at - time.monotonic()
        if left > 0:
            return left
        self._renew_at = time.monotonic() + self._config.heartbeat
        self._collector.offer(self._offer)
        return self._config.heartbeat

    @property
    def is_asking(self) -> bool:
        """Whether what was offered last has no quorum yet."""
        return self.offered > self._settled

    @property
    def has_more(self) -> bool:
        """Whether a cosigned checkpoint waits to be taken."""
        return self._taken is not None

    def take(self) -> Cosigned | None:
        """The newest cosigned checkpoint that nobody has dealt with yet."""
        with self._mutex:
            taken, self._taken = self._taken, None
        return taken

    def give_back(self, taken: Cosigned) -> None:
        """It could not be dealt with: it is taken again, unless a newer one came meanwhile."""
        with self._mutex:
            self._taken = self._taken or taken

    def settle(self, size: int) -> None:
        """It was dealt with."""
        self._settled = max(self._settled, size)

    def close(self) -> None:
        """Ask nobody any more."""
        self._collector.close()

    def _done(self, cosigned: Cosigned) -> None:
        with self._mutex:
            self._taken = cosigned
        self._wake()

    def _alarmed(self) -> None:
        """A witness has more of this log than it signed, or another tree: one alone may be wrong or lie.

        When those who say so are a quorum, what this log signs from now on is a fork of what others believe.
        """
        said = self._collector.status
        loud = [n for n, each in enumerate(said) if each.alarm]
        names = {name for n in loud for name in self._clients[n].peer.names}
        if is_quorum(self.policy, names):
            told = "; ".join(f"witness {said[n].name}: {said[n].error}" for n in loud)
            self._stop(
                FencedError(
                    f"{told}: another process signs for this log (a copy of its disk, or a recovered log?), or "
                    "its history was replaced; this one stops"
                )
            )


__all__ = ["Witnesses", "Witnessing", "WitnessingStatus", "open_witnesses", "read_witnessed_by"]
