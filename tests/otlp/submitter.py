"""Submits events and ends itself at a step: `python submitter.py DIR STEP NUMBER`.

It prints the ID and the index of each event once its future says that it is stored. The steps are those of a
commit (`drained` to `settled`), and `ids before` and `ids after`: around the index of record IDs being told.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from merklelog.ingest.intake import open_intake
from merklelog.ingest.repeats import Repeats
from merklelog.log import open_log

BATCHES, EACH = 6, 4


def event(number: int) -> dict[str, Any]:
    """Every fifth is too long for one entry."""
    body = f"event {number} " + "long" * 40_000 * (number % 5 == 4)
    attribute = {"key": "audit.record.id", "value": {"stringValue": f"id-{number}"}}
    return {"attributes": [attribute], "body": {"stringValue": body}}


def main() -> None:
    """See the top."""
    path, last, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        seen += name == last
        if name == last and seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    add = Repeats.add

    def told(self: Repeats, *what: Any) -> None:
        step("ids before")
        add(self, *what)
        step("ids after")

    Repeats.add = told  # type: ignore[method-assign]
    log = open_log(path, step=step)
    intake = open_intake(log)
    for batch in range(BATCHES):
        numbers = range(batch * EACH, (batch + 1) * EACH)
        # Each batch brings the last event of the one before it again, as a sender does that heard no answer.
        events = [event(each) for each in (max(0, numbers[0] - 1), *numbers)]
        placed = intake.submit(events, "").result(60)
        for each, where in zip(numbers, placed[1:], strict=True):
            print(each, where.index, flush=True)
    intake.close()
    log.close()


if __name__ == "__main__":
    main()
