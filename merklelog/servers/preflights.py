"""What a server asks of its logs' buckets before they publish there: only what writes nothing.

What can be found out by writing alone is in the dated record of a preflight, which is trusted. A bucket that is
silent keeps no log from being served: its log takes no appends until it answers, and then it is judged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError
from merklelog.log import load_config
from merklelog.publish.s3_options import SCHEME

from .logging import event

AGAIN_SECONDS: Final = 30.0

_log: Final = logging.getLogger("merklelog.server")


class Preflights:
    """The buckets of one server's logs. `environment` is what overrides the logs' configurations."""

    def __init__(self, environment: Mapping[str, str], *, again_seconds: float = AGAIN_SECONDS) -> None:
        self._environment = environment
        self._again_seconds = again_seconds
        self._silent: set[Path] = set()

    def check(self, directory: Path) -> None:
        """Judge the buckets of the log there, and say what is to be known of them. Blocks while they are asked.

        Raises ConfigError for a bucket that the log must not publish to, and for settings that can not be used.
        """
        config = load_config(directory, self._environment).publish
        if not any(target.startswith(SCHEME) for target in config.targets):
            return
        # Brings boto3, which a server without such a target does without.
        from merklelog.log.publishing_targets import s3_options
        from merklelog.publish.preflight_start import check_targets

        found = check_targets(directory, config.targets, s3_options(config), time.time())
        for text in found.fallbacks:
            event(_log, logging.WARNING, f"not protected: {text}", directory=directory)
        for text in found.warnings:
            event(_log, logging.WARNING, text, directory=directory)
        if found.refusals:
            raise ConfigError(f"{directory}: {'; '.join(found.refusals)}")
        self._silent.discard(directory)
        if found.unknown:
            event(
                _log,
                logging.WARNING,
                f"not known, asked again: {'; '.join(found.unknown)}",
                directory=directory,
            )
            self._silent.add(directory)

    async def again(self) -> None:
        """Ask those again that were silent, for ever. Raises ConfigError as `check` does."""
        while True:
            await asyncio.sleep(self._again_seconds)
            for directory in sorted(self._silent):
                await asyncio.to_thread(self.check, directory)


__all__ = ["Preflights"]
