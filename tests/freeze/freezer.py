"""A child process that ends its log, and kills itself with SIGKILL at a step of that commit or its publication.

    python freezer.py DIR STEP COUNT

STEP is one that the sequencer or the publisher passes once the log is told to end. Prints `frozen INDEX` when the
statement is durable, and `closed` at the end.
"""

from __future__ import annotations

import os
import signal
import sys

from merklelog.log import open_log


def main() -> None:
    """Append a little, end the log, close it."""
    directory, step, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
    armed = False

    def passed(name: str) -> None:
        nonlocal left
        if armed and name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with open_log(directory, step=passed, publication_step=lambda each: passed(each.name)) as log:
        if log.statements.ended is None:
            log.append_batch([b"a", b"b", b"c"])
            if log.config.publish.targets:
                log.publish_now().result(60)
            armed = True
            os.write(1, b"frozen %d\n" % log.freeze("killed.example/next").index)
        armed = True
        if log.config.publish.targets:
            log.publish_now().result(60)
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main()
