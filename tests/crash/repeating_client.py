"""A child process that sends numbered batches under keys of their own, and says which were acknowledged.

    python repeating_client.py DIR START STEP COUNT

It starts from batch START, and kills itself with SIGKILL when STEP (a name that the sequencer passes) is passed
for the COUNT-th time. Entries repeat each other from batch to batch: dedupe has to know what is there, in no file
yet. Each line it prints is one acknowledged batch: its number, and its indexes with commas between them.
"""

from __future__ import annotations

import os
import random
import signal
import sys

import merklelog.log
from merklelog.log import sequencer


def main() -> None:
    """Append until the step comes, or 60 batches are done."""
    directory, start, step, left = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    sequencer.KEEP_INTERVAL = 0.0

    def kill(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with merklelog.log.open_log(directory, step=kill) as log:
        for number in range(start, start + 60):
            rng = random.Random(number)
            entries = [b"event %d" % rng.randrange(2_000) for _ in range(rng.choice((1, 2, 40, 300)))]
            receipt = log.append_batch(entries, idempotency_key=b"%d" % number)
            os.write(1, b"%d %s\n" % (number, b",".join(b"%d" % index for index in receipt.indexes)))


if __name__ == "__main__":
    main()
