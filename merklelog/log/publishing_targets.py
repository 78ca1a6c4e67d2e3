"""The publish targets that a log's configuration names, as stores, and the publication of a log to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from merklelog.errors import ConfigError, NotALogError, UsageError
from merklelog.publish import BundleEncoding, ObjectStore
from merklelog.publish.layout import CHECKPOINT_KEY, HEAD_KEY
from merklelog.publish.partitions import PartitionWriter
from merklelog.publish.partitions_layout import Partitioning
from merklelog.publish.publisher import Publisher
from merklelog.publish.publishing import Beside, Witnessed
from merklelog.publish.retention_policy import check_understood
from merklelog.publish.s3 import S3Store
from merklelog.publish.s3_options import Retention, S3Options
from merklelog.publish.stored import refuse_lost_pointers
from merklelog.publish.targets import DIRECTORY_SCHEME, open_store

from .head import read_epoch
from .published_log import PublishedRows
from .publishing import Publishing
from .quorums import Publishes
from .witnessed_alone import Alone

if TYPE_CHECKING:
    from merklelog.protocol.publication import PublicationStep
    from merklelog.store import StoreReader

    from .config import PublishConfig
    from .head import Head, Signers
    from .log import Log
    from .sequencer import Sequencer
    from .witnessing import Witnesses
    from .world import World

Step = Callable[["PublicationStep"], None]


def s3_options(config: PublishConfig) -> S3Options:
    """What [publish.s3] says, as the S3 store takes it. Raises ConfigError naming the setting."""
    said = config.s3
    retention = (
        None
        if said.retention_mode == "none"
        else Retention(
            "GOVERNANCE" if said.retention_mode == "GOVERNANCE" else "COMPLIANCE", said.retention_days
        )
    )
    return S3Options(
        endpoint_url=said.endpoint_url,
        region=said.region,
        profile=said.profile,
        addressing=said.addressing,
        sse=said.sse,
        sse_kms_key_id=said.sse_kms_key_id,
        storage_class=said.storage_class,
        retention=retention,
        parallel=said.parallel,
    )


@dataclass(frozen=True, slots=True)
class Targets:
    """The stores that a log is published to, in their order, and its witnesses; nothing is asked of them yet.

    There is at least one store, or there are witnesses: a log without stores shows its readers what it signs in
    each commit, or what those witnesses cosigned of it.
    """

    config: PublishConfig
    stores: tuple[ObjectStore, ...]
    step: Step
    witnesses: Witnesses | None = None

    @property
    def mode(self) -> Witnessed:
        """What witnesses have to do with what readers are shown."""
        return Witnessed.NOBODY if self.witnesses is None else self.witnesses.mode

    def publishing(
        self, log: Log, store: StoreReader, sequencer: Sequencer, signers: Signers, shown: Head, world: World
    ) -> Publishing:
        """The publication of this log, not begun yet."""
        locations = [target.location for target in self.stores]
        rows = PublishedRows(log, store, sequencer, signers, shown, world.seconds, locations, mode=self.mode)

        def step(done: PublicationStep) -> None:
            self.step(done)
            publishing.check_left()

        publisher: Publishes = Alone(rows, self.mode, step)
        if self.stores:
            begun = read_epoch(store, log.origin)
            publisher = Publisher(
                rows,
                self.stores,
                encoding=self._encoding,
                now=world.seconds,
                step=step,
                beside=self._beside(log),
                filled=begun.places if begun else (),
                witnesses=self.mode,
            )
        publishing = Publishing(
            rows,
            publisher,
            locations,
            sequencer,
            interval=self.config.interval,
            ticks=bool(self.stores) and self.config.partitions != "none",
            requests=self._requests,
            follows=not self.stores and self.mode is Witnessed.CONTINUE,
            witnesses=self.witnesses,
        )
        return publishing

    def _encoding(self, store: ObjectStore) -> BundleEncoding:
        if self.config.bundle_encoding != "auto":
            return BundleEncoding(self.config.bundle_encoding)
        return BundleEncoding.GZIP if isinstance(store, S3Store) else BundleEncoding.IDENTITY

    def _beside(self, log: Log) -> Callable[[ObjectStore], Beside | None]:
        every = Partitioning(self.config.partitions)
        return lambda store: None if every is Partitioning.NONE else PartitionWriter(store, every, log.origin)

    def _requests(self) -> int:
        return sum(sum(store.requests.values()) for store in self.stores if isinstance(store, S3Store))

    def close(self) -> None:
        """End what the stores hold."""
        for store in self.stores:
            if isinstance(store, S3Store):
                store.close()


def open_targets(config: PublishConfig, step: Step, witnesses: Witnesses | None = None) -> Targets:
    """The stores of the configured targets, and the log's witnesses; nothing is asked of them.

    Raises ConfigError naming the target, also for a lock that was not said to be understood.
    """
    try:
        options = s3_options(config)
    except ConfigError as error:
        raise ConfigError(f"publish.s3: {error}") from error
    stores = []
    for target in config.targets:
        try:
            stores.append(open_store(target, options))
        except UsageError as error:
            raise ConfigError(f"publish.targets: {error}") from error
        if not target.startswith(DIRECTORY_SCHEME):
            check_understood(options.retention, understood=config.s3.i_understand_compliance, place=target)
    return Targets(config, tuple(stores), step, witnesses)


def refuse_nested(config: PublishConfig, path: Path, keys: Path) -> None:
    """Refuse targets inside the log's own directory, around it or around its `keys`. Raises ConfigError naming it.

    What brings back an old copy of the directory would bring a target inside it back too, unnoticed; and a web
    server that serves a target serves all that is inside it, a log's keys and unpublished entries too.
    """
    own = os.path.realpath(path)
    for target in config.targets:
        if not target.startswith(DIRECTORY_SCHEME):
            continue
        place = os.path.realpath(target.removeprefix(DIRECTORY_SCHEME))
        if Path(place).is_relative_to(own):
            raise ConfigError(
                f"publish.targets: {target} is inside the log's own directory {path}: name another"
            )
        if Path(own).is_relative_to(place):
            raise ConfigError(
                f"publish.targets: the log's own directory {path} is inside {target}, and who serves that "
                f"to readers would serve the log's keys and database: name another"
            )
        if Path(os.path.realpath(keys)).is_relative_to(place):
            raise ConfigError(
                f"publish.targets: the log's keys in {keys} are inside {target}, and who serves that to readers "
                f"would serve them: name another"
            )


def refuse_published(config: PublishConfig, origin: str) -> None:
    """Refuse to make a log whose target holds one already: a second history under its name would be a fork.

    Raises NotALogError naming the target, DamagedError where only kept checkpoints are left, ConfigError,
    UnreachableError for a target that does not answer.
    """
    targets = open_targets(config, lambda _step: None)
    try:
        for store in targets.stores:
            for key in (HEAD_KEY, CHECKPOINT_KEY):
                if store.stat(key) is not None:
                    raise NotALogError(
                        f"{store.location} has `{key}` already: a log is published there, and a new one with the "
                        f"origin {origin!r} would fork it. `merklelog recover DIR --from {store.location}` brings "
                        f"back what is there; else choose another target"
                    )
            refuse_lost_pointers(store)
    finally:
        targets.close()


__all__ = ["Targets", "open_targets", "refuse_nested", "refuse_published", "s3_options"]
