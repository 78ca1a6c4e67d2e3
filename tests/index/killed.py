"""A process that brings an index up to its log, and is killed at a step: `killed.py DIR STEP COUNT`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tantivy

from merklelog.index import indexer as module
from merklelog.index import update as updating
from merklelog.index.files import search_directory
from merklelog.log import open_reader


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Writer:
    """tantivy's writer, which ends the process at a step."""

    def __init__(self, inner: Any, step: str, count: int) -> None:
        self._inner, self._step, self._left = inner, step, count

    def _reach(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if not self._left:
                die()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self._reach(f"before {name}")
            answer = getattr(self._inner, name)(*given)
            self._reach(f"after {name}")
            return answer

        return call


def main() -> None:
    directory, step, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    updating.COMMIT_ENTRIES = 40  # type: ignore[misc]
    updating._CHUNK = 16  # type: ignore[misc]
    begin = module.Indexer._begin

    def wrapped(self: Any, index: tantivy.Index, state: Any) -> None:
        begin(self, index, state)
        self._writer = Writer(self._writer, step, count)

    module.Indexer._begin = wrapped  # type: ignore[method-assign]
    if step == "adopt":
        module.make_current = die  # type: ignore[assignment, attr-defined]
    with open_reader(directory) as log:
        indexer = module.Indexer(search_directory(directory), 16 << 20)
        updating.update(indexer, log)
        indexer.close()


if __name__ == "__main__":
    main()
