"""One witness as a log asks it: add-checkpoint from the size it is believed to be at, again where it says another.

A client is used by one thread at a time.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from merklelog.cosign.http import Answer, Connection, parse_url
from merklelog.errors import DamagedError, UnreachableError
from merklelog.formats.checkpoint import SignedCheckpoint
from merklelog.formats.note import format_note
from merklelog.formats.witness import ADD_CHECKPOINT, MAX_ANSWER_BYTES, format_add_checkpoint
from merklelog.protocol.cosigning import Means, Peer, Reply, understand
from merklelog.tree.hashing import Hash

_log: Final = logging.getLogger("merklelog.witnesses")
_TURNS: Final = (
    4  # requests for one checkpoint: a witness that says another size each time is not asked for ever
)

Prove = Callable[[int, int], Sequence[Hash]]


@dataclass(frozen=True, slots=True)
class Offer:
    """A checkpoint for the witnesses: as it was signed, and its proofs, `prove(old, size)`."""

    signed: SignedCheckpoint
    prove: Prove

    @property
    def size(self) -> int:
        """The size of its tree."""
        return int(self.signed.checkpoint.size)

    @property
    def note(self) -> bytes:
        """The note as the log signed it."""
        return format_note(self.signed.note)


class WitnessClient:
    """Asks one witness. `size` is what it is believed to be at: None before its first answer.

    `known` is the size that it is known to have cosigned last, 0 for none. One that says a smaller one than that
    was set back: it is brought up again, for what it cosigns from then on it has seen, but it has forgotten
    what it promised before. That is counted in `set_backs`, and logged.
    """

    def __init__(self, peer: Peer, tls: ssl.SSLContext | None) -> None:
        """Raises ConfigError for a URL that can not be used."""
        self.peer = peer
        self.size: int | None = None
        self.known = 0
        self.set_backs = 0
        what = f"witness {peer.name}"
        self._connection = Connection(parse_url(peer.url, what), tls)

    def compare(self, offer: Offer, seconds: float) -> Reply:
        """Ask whether the witness is where the log is: the newest stored checkpoint again, from its own size.

        A smaller witness is told of it with a proof. COSIGNED says that all it ever saw of this log is of the
        log's tree; AHEAD and FORKED that this log must not go on.
        """
        return self._turns(offer, offer.size, seconds)

    def add(self, offer: Offer, seconds: float) -> Reply:
        """Have the checkpoint cosigned, in at most so many seconds a request."""
        return self._turns(offer, min(self.known if self.size is None else self.size, offer.size), seconds)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _turns(self, offer: Offer, old: int, seconds: float) -> Reply:
        for _ in range(_TURNS):
            proof = offer.prove(old, offer.size) if 0 < old < offer.size else ()
            reply = self._ask(offer, old, proof, seconds)
            if reply.means is Means.COSIGNED:
                self.size = self.known = offer.size
                return reply
            if reply.means is not Means.OTHER_SIZE:
                return reply
            if reply.size < self.known:
                self._set_back(reply.size)
            old = self.size = self.known = reply.size
        return Reply(Means.LATER, f"it named another size {_TURNS} times: {reply.message}")

    def _set_back(self, size: int) -> None:
        _log.error(
            "witness %s (%s) was set back: it cosigned size %d of this log, and has %d now. An older copy of it "
            "was brought back, which may cosign a fork of what it has forgotten; whoever runs it has to know",
            self.peer.name,
            self.peer.url,
            self.known,
            size,
        )
        self.set_backs += 1

    def _ask(self, offer: Offer, old: int, proof: Sequence[Hash], seconds: float) -> Reply:
        body = format_add_checkpoint(old, proof, offer.note)
        try:
            answer: Answer = self._connection.ask(
                "POST", ADD_CHECKPOINT, body, seconds=seconds, limit=MAX_ANSWER_BYTES
            )
        except (UnreachableError, DamagedError) as error:
            return Reply(Means.LATER, str(error))
        return understand(
            self.peer, offer.signed, old, answer.status, answer.content_type, answer.body, answer.retry_after
        )


__all__ = ["Offer", "Prove", "WitnessClient"]
