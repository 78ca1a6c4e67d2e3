"""The event loop that a server runs in, and the garbage collector out of its way.

Measured with 256 clients: the collector took a quarter of the loop's time, to look again and again at what was
made at the start; uvloop saves another tenth.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

# What is made and gone within one request is freed by its counts. Cycles come from errors and cancelled tasks:
# few, so that looking for them every 50,000 containers keeps them within some megabytes.
_THRESHOLDS: Final = (50_000, 20, 100)

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run, for a server: call it once all that lives as long as the process is imported."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
