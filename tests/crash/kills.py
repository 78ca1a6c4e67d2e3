"""Kill a child at a step of a commit and judge what is left; used by the tests and by tools/soak.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import merklelog
from merklelog.audit import audit
from tests.support.lives import lives_of

APPENDER = Path(__file__).with_name("appender.py")
STEPS = ("drained", "planned", "hashed", "signed", "written", "gathered", "synced", "settled", "kept")


@dataclass
class Witnessed:
    """All that a log ever told its callers."""

    acknowledged: dict[int, bytes] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)

    def take(self, output: bytes) -> bool:
        """Note what a child said; True when it closed its log."""
        for line in output.splitlines():
            first, _, rest = line.decode().partition(" ")
            if first == "head":
                self.heads.append(bytes.fromhex(rest))
            elif first != "closed":
                index, entry = int(first), bytes.fromhex(rest)
                if self.acknowledged.setdefault(index, entry) != entry:
                    raise AssertionError(f"index {index} was acknowledged for two entries")
        return output.endswith(b"closed\n")


def run_child(directory: Path, seed: int, step: str, count: int) -> tuple[int, bytes, bytes]:
    """Run the appender: its exit status, what it said, and its errors."""
    done = lives_of(APPENDER).run(str(directory), str(seed), step, str(count))
    return done.returncode, done.stdout, done.stderr


def kill_once(directory: Path, seed: int, step: str, count: int, told: Witnessed) -> bool:
    """One life of the log: True when it was killed, False when it ended before the step came so often."""
    status, output, errors = run_child(directory, seed, step, count)
    closed = told.take(output)
    if status == -9:
        return True
    if status != 0 or not closed:
        raise AssertionError(f"the child ended with {status}: {errors.decode(errors='replace')}")
    return False


def judge(directory: Path, told: Witnessed, check_log) -> None:
    """The log is whole, holds all that was acknowledged, extends every head ever seen, and passes its audit."""
    with merklelog.open_reader(directory) as log:
        check_log(log, seen=told.heads, acknowledged=told.acknowledged)
        told.heads.append(log.checkpoint())
        size = log.size
    report = audit(str(directory), processes=1)
    assert (report.findings, report.entries) == ((), size), report
