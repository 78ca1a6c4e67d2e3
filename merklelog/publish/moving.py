"""A pointer of a target: an object that shows a checkpoint.

It moves by compare-and-swap, and never to a smaller size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from merklelog.errors import ForkError, UnreachableError
from merklelog.formats.keys import VerifierKey
from merklelog.protocol.publication import TreeHead, is_pointer_behind
from merklelog.publish.heads import Head, read_copy_head
from merklelog.publish.layout import CHECKPOINT_KEY, CHECKPOINT_KIND
from merklelog.publish.objects import ObjectStore

ATTEMPTS: Final = 8


class MovingPointer:
    """One pointer as its one writer sees it. `tree` is what it shows, None for nothing, `note` the bytes of it."""

    def __init__(
        self, store: ObjectStore, verifiers: Sequence[VerifierKey], key: str = CHECKPOINT_KEY, *, keeps: bool
    ) -> None:
        """`keeps` is False in tests alone: the pointer may go back then."""
        self.key = key
        self.tree: TreeHead | None = None
        self.note = b""
        self._store = store
        self._verifiers = verifiers
        self._keeps = keeps
        self._version: str | None = None

    def read(self) -> Head | None:
        """What it shows now. Raises DamagedError, SignatureError."""
        found = read_copy_head(self._store, self._verifiers, self.key)
        self.tree = TreeHead(found.size, found.root) if found else None
        self._version = found.version if found else None
        self.note = found.note if found else b""
        return found

    def move(
        self, aim: TreeHead, note: bytes, check: Callable[[TreeHead, bytes], None], *, renew: bool = False
    ) -> None:
        """Have it show `aim` unless it shows as much; with `renew` also another note of the same tree.

        `check` judges what others put there. Raises ForkError for two roots of one size, UnreachableError.
        """
        if not self._keeps:
            self._version = self._store.put(self.key, note, CHECKPOINT_KIND)
            self.tree = aim
            return
        for _ in range(ATTEMPTS):
            is_old = renew and self.tree == aim and self.note != note
            if not (is_old or is_pointer_behind(self.tree, aim)):
                break
            version = self._store.put_if_version(self.key, note, self._version, CHECKPOINT_KIND)
            if version is not None:
                self.tree, self._version, self.note = aim, version, note
                return
            if (found := self.read()) is not None:
                check(TreeHead(found.size, found.root), found.note)
        else:
            raise unsettled(self._store.location, self.key)
        if self.tree is not None and self.tree.size == aim.size and self.tree.root != aim.root:
            raise ForkError(
                f"{self._store.location}/{self.key}: two roots for size {aim.size}: {self.tree.root.hex()} is "
                f"there, and this log has {aim.root.hex()}",
                self.note,
                note,
            )


def unsettled(location: str, key: str) -> UnreachableError:
    """An object that can not be replaced though it is what was compared with."""
    return UnreachableError(
        f"{location}/{key}: {ATTEMPTS} times it was not replaced though it is what was compared with: "
        "the store shows an older state than it has"
    )


__all__ = ["ATTEMPTS", "MovingPointer", "unsettled"]
