"""A child process that appends until it is killed, and says through its output what was acknowledged.

    python appender.py DIR SEED STEP COUNT

It kills itself with SIGKILL when STEP (a name that the sequencer passes, or "none") is passed for the COUNT-th
time. Each line it prints is one acknowledged append: the index and the entry's bytes in hex, or `head` and the
checkpoint's bytes in hex.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import deque
from concurrent.futures import Future

import merklelog
import merklelog.log


def killer(step: str, count: int):
    """A hook that ends the process at the chosen step, without any clean-up."""
    left = count

    def on_step(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return on_step


def say(line: str) -> None:
    """One whole line at once: a kill must not leave half of one."""
    os.write(1, line.encode() + b"\n")


def tell(entries: list[bytes], future: Future) -> None:
    """Wait for an append and say what was acknowledged."""
    receipt = future.result()
    for index, entry in zip(receipt.indexes, entries, strict=True):
        say(f"{index} {entry.hex()}")
    say(f"head {receipt.checkpoint.hex()}")


def main() -> None:
    """Append batches of all sizes, several in flight."""
    directory, seed, step, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    rng = random.Random(seed)
    with merklelog.log.open_log(directory, step=killer(step, count)) as log:
        say(f"head {log.checkpoint().hex()}")
        waiting: deque[tuple[list[bytes], Future]] = deque()
        for number in range(400):
            size = rng.choice((1, 1, 1, 2, 7, 100, 300))
            entries = [
                b"%d.%d.%d " % (seed, number, i) + rng.randbytes(rng.randrange(60)) for i in range(size)
            ]
            waiting.append((entries, log.submit_batch(entries)))
            if len(waiting) > 3:
                tell(*waiting.popleft())
            if rng.random() < 0.02:
                log._sequencer._keep_at = 0.0  # a kept checkpoint is due now and not in a second
        while waiting:
            tell(*waiting.popleft())
    say("closed")


if __name__ == "__main__":
    main()
