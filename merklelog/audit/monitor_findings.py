"""What a monitor finds: kinds, one finding, and the line of JSON that stands for it everywhere."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from merklelog.formats.wire import encode_base64


class MonitorKind(StrEnum):
    """What a finding of a monitor is about."""

    SPLIT = "split"  # two signed checkpoints of one log that can not both be true
    ROLLBACK = "rollback"  # a target shows less than it showed before
    DAMAGED = "damaged"  # what a target shows does not lead to the root that was signed
    SIGNATURE = "signature"  # a checkpoint that is none, or that nobody trusted signed
    QUORUM = "quorum"  # the newest checkpoint is not cosigned as the policy wants it
    STALE = "stale"  # the newest cosignatures of a quorum are too old
    UNREACHABLE = "unreachable"  # a target or a witness does not answer, or has nothing to show
    LAG = "lag"  # a target or a witness is behind for too long
    AHEAD = "ahead"  # a witness cosigned more than the log shows
    STATEMENT = "statement"  # what the log says of itself in an entry: that it ends, or goes on another one
    THAWED = "thawed"  # a log that said that it ended, and went on
    MATCHER = "matcher"  # the caller's matcher failed; its entry is given to it again
    MATCH = "match"  # an entry that the caller's matcher picked


# Bytes that prove what they are: everything else may be a network's fault, or a clock's.
DISPROVEN = frozenset((MonitorKind.SPLIT, MonitorKind.DAMAGED, MonitorKind.SIGNATURE, MonitorKind.THAWED))


@dataclass(frozen=True, slots=True)
class MonitorFinding:
    """One finding. `time` is when it was found (POSIX seconds).

    `source` is the target or the witness that it is about; `origin` the log, None where that is not known.
    `disproven`: what was shown is not what it claims to be. `over`: what was found before is so no more.
    `evidence` are files in the monitor's state; `index` and `data` are a matched entry's, `data` in base64.
    """

    time: int
    kind: MonitorKind
    origin: str | None
    source: str
    detail: str
    disproven: bool
    over: bool = False
    evidence: tuple[str, ...] = ()
    index: int | None = None
    data: str | None = None

    def line(self) -> bytes:
        """One JSON object and a newline."""
        return (
            json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode(
                "utf-8", "backslashreplace"
            )
            + b"\n"
        )


def of_entry(
    kind: MonitorKind, time: int, origin: str, source: str, detail: str, index: int, entry: bytes
) -> MonitorFinding:
    """The finding of an entry: that the caller's matcher picked, or that is a statement."""
    data = encode_base64(entry).decode("ascii")
    return MonitorFinding(time, kind, origin, source, detail, False, index=index, data=data)


@dataclass(frozen=True, slots=True)
class Observation:
    """Something that is so now; it becomes a finding when it lasts for longer than its kind may.

    `mark` tells apart what would be one otherwise: two splits of one target, two logs of one witness.
    """

    kind: MonitorKind
    origin: str | None
    source: str
    detail: str
    evidence: tuple[str, ...] = ()
    mark: str = ""

    @property
    def disproven(self) -> bool:
        """Whether it proves what it is."""
        return self.kind in DISPROVEN

    @property
    def key(self) -> str:
        """What it is, apart from its words."""
        return json.dumps([self.kind, self.source, self.mark], ensure_ascii=True)


__all__ = ["DISPROVEN", "MonitorFinding", "MonitorKind", "Observation", "of_entry"]
