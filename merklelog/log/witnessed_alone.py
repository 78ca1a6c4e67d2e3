"""What stands in a publisher's place for a log without publish targets whose checkpoints witnesses cosign.

There is nothing to write but the log's own rows: a publication is a checkpoint, signed by both keys and kept, that
witnesses are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from merklelog.protocol.publication import EMPTY_TREE, PublicationStep, StepName, TreeHead
from merklelog.publish.publishing import PublicationReport, Witnessed

from .published_log import PublishedRows


class Alone:
    """See Publisher: its methods, for no targets."""

    behind: tuple[str, ...] = ()
    unwritten: str | None = None

    def __init__(self, rows: PublishedRows, mode: Witnessed, step: Callable[[PublicationStep], None]) -> None:
        self._rows = rows
        self._mode = mode
        self._step = step
        self._offered = EMPTY_TREE
        self._is_begun = False

    def compare(self) -> None:
        """There is no target to compare with."""

    def start(self) -> int:
        """From now on what readers are shown is held, or is not."""
        if not self._is_begun:
            self._rows.hold(held=self._mode is Witnessed.HOLD)
            self._is_begun = True
        return 0

    def publish(self) -> PublicationReport | None:
        """Sign and keep what is integrated, and have witnesses asked; None: there is nothing new."""
        newest = self._rows.integrated()
        if newest.size <= self._offered.size:
            return None
        note = self._rows.sign(newest)
        self._emit(StepName.SIGNED, newest)
        self._offered = newest
        self._rows.offered(newest, note)
        backlog = self._rows.integrated().size - newest.size
        return PublicationReport(0, newest, True, 0, 0, 0, backlog)

    def confirm(self, tree: TreeHead, note: bytes) -> bool:
        """See Publisher."""
        self._rows.record_witnessed(tree, note)
        self._emit(StepName.WITNESSED, tree)
        return True

    def _emit(self, name: StepName, tree: TreeHead) -> None:
        self._step(PublicationStep(name, "", 0, *tree))


__all__ = ["Alone"]
