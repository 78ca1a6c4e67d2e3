"""Recovers a copy and is killed at one of its steps: `python killed_recovery.py COPY PLACE KEYS STEP`.

Steps are the calls of `progress`, and what comes before and after each note of how far it is, the closing of
the database, and the last renaming; counted from 1, and 0 is none.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from merklelog.log import recover_build, recover_draft
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore


def main(copy: str, place: str, keys: str, step: str) -> None:
    """Recover, unless killed first."""
    left = int(step)

    def passed() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_and_after(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            passed()
            found = plain(*args, **options)
            passed()
            return found

        setattr(owner, name, counted)

    recover_build.COMMIT_BUNDLES = 1  # type: ignore[misc]
    before_and_after(recover_draft.Draft, "saved")
    before_and_after(recover_draft.Draft, "close_store")
    before_and_after(recover_draft.Draft, "finish")
    before_and_after(Path, "rename")
    settings = {"store.min_free_bytes": 0, "log.keys": keys}
    signers = load_signers(Path(keys), "recover.example/log")
    report = recover_log(
        place,
        DirectoryStore(Path(copy)),
        signers,
        settings=settings,
        static_copy=True,
        parallel=2,
        progress=lambda *_: passed(),
    )
    print(report.size, report.resumed)


if __name__ == "__main__":
    main(*sys.argv[1:])
