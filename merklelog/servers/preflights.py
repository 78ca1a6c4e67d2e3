"""What a server asks of its logs' buckets before they publish there: only what writes nothing.

What can be found out by writing alone is in the dated record of a preflight, which is trusted. A bucket that is
silent keeps no log from being served: its log takes no appends until it answers. It is judged within half a minute
of that, and until then its log publishes by the record of the preflight alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, MerklelogError
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
        self._told: set[tuple[Path, str]] = set()

    @property
    def silent(self) -> set[Path]:
        """The logs whose buckets are to be asked again."""
        return set(self._silent)

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
            self._tell(directory, f"not protected: {text}")
        for text in found.warnings:
            self._tell(directory, text)
        if found.refusals:
            raise ConfigError(f"{directory}: {'; '.join(found.refusals)}")
        self._silent.discard(directory)
        if found.unknown:
            self._tell(directory, f"not known, asked again: {'; '.join(found.unknown)}")
            self._silent.add(directory)

    def _tell(self, directory: Path, text: str) -> None:
        """Once, however often it is found."""
        if (directory, text) not in self._told:
            self._told.add((directory, text))
            event(_log, logging.WARNING, text, directory=directory)

    def check_again(self, directory: Path) -> None:
        """`check` of a bucket that was silent. A log whose settings can not be read any more is judged no more."""
        from merklelog.publish.preflight_record import read_record

        try:
            load_config(directory, self._environment)
            read_record(directory, "", "")
        except MerklelogError as error:
            self._silent.discard(directory)
            event(
                _log,
                logging.ERROR,
                f"its bucket is not judged before a restart: {error}",
                directory=directory,
            )
            return
        self.check(directory)

    async def again(self) -> None:
        """Ask those again that were silent, for ever. Raises ConfigError for a bucket not to be published to."""
        while True:
            await asyncio.sleep(self._again_seconds)
            for directory in sorted(self._silent):
                await asyncio.to_thread(self.check_again, directory)


__all__ = ["Preflights"]
