"""The section [witness] of a log's configuration: who cosigns its checkpoints, and what it does without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, PolicyError
from merklelog.formats import Policy, VerifierKey, format_vkey, parse_policy
from merklelog.formats.policy import MAX_POLICY_BYTES, QUORUM_NONE
from merklelog.formats.wire import quote
from merklelog.protocol.cosigning import can_be_met

from .table import Key, Settings

HOLD: Final = "hold"
CONTINUE: Final = "continue"

WITNESS_CONFIG_KEYS: Final = (
    Key(
        "witness",
        "policy",
        "",
        "the file that says who cosigns this log's checkpoints and how many are enough (c2sp.org/tlog-policy), "
        "absolute or below the data directory; none: nobody is asked",
    ),
    Key(
        "witness",
        "mode",
        HOLD,
        "what readers are shown while the quorum is missing: hold, the newest checkpoint that has it; continue, "
        "the newest of all",
        choices=(HOLD, CONTINUE),
    ),
    Key(
        "witness",
        "timeout",
        10.0,
        "seconds that one checkpoint is offered before a newer one is, and that a witness has for an answer",
        low=0.1,
        high=3_600,
    ),
    Key(
        "witness",
        "heartbeat",
        3_600.0,
        "seconds after which an unchanged checkpoint is cosigned again",
        low=1,
        high=31_536_000,
    ),
    Key(
        "witness",
        "ca",
        "",
        "certificates that https witnesses are believed by, PEM, absolute or below the data directory; none: the "
        "system's",
    ),
)


@dataclass(frozen=True, slots=True)
class LogWitnessConfig:
    """What [witness] says: `policy` and `ca` are paths as they were written, empty for none; times in seconds."""

    policy: str = ""
    mode: str = HOLD
    timeout: float = 10.0
    heartbeat: float = 3_600.0
    ca: str = ""

    @property
    def holds(self) -> bool:
        """Whether what readers are shown waits for witnesses."""
        return bool(self.policy) and self.mode == HOLD


def witness_config(got: Settings) -> LogWitnessConfig:
    """The checked values of WITNESS_CONFIG_KEYS."""
    return LogWitnessConfig(
        policy=got.text("witness.policy"),
        mode=got.text("witness.mode"),
        timeout=got.fraction("witness.timeout"),
        heartbeat=got.fraction("witness.heartbeat"),
        ca=got.text("witness.ca"),
    )


def load_own_policy(path: Path, verifiers: Sequence[VerifierKey]) -> Policy:
    """The policy that a log with these keys wants its checkpoints to meet.

    Raises ConfigError for a file that can not be read, that does not list a key of this log, or whose quorum its
    witnesses can not make as they are reached; PolicyError naming the line for one that is no policy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"witness.policy: {path}: {error.strerror or error}") from error
    try:
        policy = parse_policy(data)
    except PolicyError as error:
        raise PolicyError(f"witness.policy: {path}: {error}") from error
    if not any(log.key in verifiers for log in policy.logs):
        own = " or ".join(f"`log {format_vkey(key)}`" for key in verifiers)
        raise ConfigError(f"witness.policy: {path}: it lists no key of this log: want a line {own}")
    if policy.quorum == QUORUM_NONE:
        raise ConfigError(
            f"witness.policy: {path}: `quorum none` asks for no witness: name a quorum, or leave witness.policy "
            "empty"
        )
    if not can_be_met(policy):
        lines = ", ".join(str(witness.line) for witness in policy.witnesses if witness.url is None)
        raise ConfigError(
            f"witness.policy: {path}: the quorum {quote(policy.quorum)} can not be made by the witnesses that "
            f"have a URL, and the others can not be asked: see line {lines}"
        )
    return policy


__all__ = ["WITNESS_CONFIG_KEYS", "LogWitnessConfig", "load_own_policy", "witness_config"]
