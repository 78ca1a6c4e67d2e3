"""Holds a publisher to the model: each step it passes must be one that the model can do, with the same outcome.

After every step the target is looked at as it is (its head, staging, tiles, checkpoints, pointer, and all that
was ever signed), and a way through the model's transitions of that writer must lead from the world before to a
world that looks the same. Entries are the model's entries, bundles its tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from publication_model import Root, Scope, World, Writer, check, steps, tiles_of

from merklelog.errors import FormatError, NotFoundError
from merklelog.formats import parse_checkpoint
from merklelog.formats.bundle import parse_bundle
from merklelog.protocol.publication import PublicationStep, StepName, TreeHead
from merklelog.publish.encoding import BundleEncoding, decompress
from merklelog.publish.layout import CHECKPOINTS, STAGING, parse_staging_key
from merklelog.publish.pointer import read_head
from merklelog.publish.stored import read_manifest
from merklelog.tree import BUNDLE_LEVEL, parse_path

MANY = 1_000_000
# What each step is called in the model; None: nothing that the model knows of.
VERBS: dict[StepName, str | None] = {
    StepName.STARTED: "starts",
    StepName.STAGED: "1 stages",
    StepName.HEADED: "2 moves head",
    StepName.SIGNED: "3 signs",
    StepName.PUT: None,
    StepName.FILED: "5 puts checkpoints",
    StepName.POINTED: "7 moves the pointer",
    StepName.SHOWN: None,
    StepName.COLLECTED: "8 collects",
    StepName.FENCED: "2 is fenced",
}
QUIET = ("4 puts tile", "8 collects", "8 leaves")  # what happens without a step of its own
AGAIN = (
    "3 signs",
    "5 puts",
    "7 moves",
    "8 collects",
)  # what a start may repeat of a publication that was done
ACCIDENTS = ("appends", "crashes", "is backed up", "loses")


class Departure(AssertionError):
    """The publisher did something that the model does not do."""


class Seen(NamedTuple):
    """A target as the model sees one."""

    head: tuple[int, Root]
    staging: frozenset[Root]
    full: frozenset[tuple[int, Root]]
    partial: frozenset[tuple[int, Root]]
    checkpoints: frozenset[Root]
    pointer: Root
    signed: frozenset[Root]


def look(
    store: Any,
    entries: dict[Any, Root],
    signed: list[TreeHead],
    width: int = 256,
    decode: Callable[[bytes], str] = bytes.decode,
) -> Seen:
    """What is there now. `entries` says which entries a root stands for, `decode` how one is written there."""
    found = read_head(store)
    manifest = read_manifest(store)
    staging = {entries[parse_staging_key(key)[1]] for key in store.list_keys(STAGING)}
    tiles = set()
    for key in store.list_keys("tile/entries/"):
        tile = parse_path(key)
        if store.stat(tile._replace(level=0).path) is None:
            continue  # a bundle alone is not yet the tile
        assert manifest is not None
        data = store.get(key).data
        data = decompress(data, 1 << 30) if manifest.bundles is BundleEncoding.GZIP else data
        tiles.add((tile.index, tuple(decode(entry) for entry in parse_bundle(data, tile.width))))
    assert BUNDLE_LEVEL == -1
    notes = [store.get(key).data for key in store.list_keys(CHECKPOINTS)]
    try:
        pointer = entries[parse_checkpoint(store.get("checkpoint").data).checkpoint.root]
    except (NotFoundError, FormatError):
        pointer = ()
    return Seen(
        (found.head.epoch, entries[found.head.root]) if found else (0, ()),
        frozenset(staging),
        frozenset(tile for tile in tiles if len(tile[1]) == width),
        frozenset(tile for tile in tiles if len(tile[1]) < width),
        frozenset(entries[parse_checkpoint(note).checkpoint.root] for note in notes),
        pointer,
        frozenset(entries[head.root] for head in signed),
    )


class Path:
    """The way through the model that one target's publishers took so far; `trail` are its labels."""

    def __init__(
        self,
        seen: Callable[[], Seen],
        entries: dict[Any, Root],
        width: int = 256,
        *,
        is_one_of_many: bool = False,
    ) -> None:
        self.seen = seen
        self.is_one_of_many = is_one_of_many
        self.entries = entries
        self.scope = Scope(width)
        self.world = World((Writer(None), Writer(None)), budget=(MANY,) * 4)
        self.trail: list[str] = []
        self._untold: tuple[list[str], list[str]] = ([], [])

    # --- what the world does

    def disk(self, writer: int, log: Root | None) -> None:
        """A disk as it is before a start: new, a copy, recovered, or none."""
        self._untold[writer].clear()
        self._set(writer, Writer(log), f"{'AB'[writer]} has {'no disk' if log is None else len(log)}")

    def appended(self, writer: int, log: Root) -> None:
        """Entries were appended, and a receipt was given."""
        p = self.world.writers[writer]
        receipts = self.world.receipts | {(p.epoch, log)}
        self.world = self.world._replace(receipts=receipts)
        self._set(writer, p._replace(log=log), f"{'AB'[writer]} appends up to {len(log)}")

    def crashed(self, writer: int) -> None:
        """The writer is gone. What it did without an answer was told by `quietly`."""
        if self.world.writers[writer].epoch:
            self._follow(writer, "crashes")
        self._untold[writer].clear()

    def _set(self, writer: int, p: Writer, label: str) -> None:
        a, b = self.world.writers
        self.world = self.world._replace(writers=(p, b) if writer == 0 else (a, p))
        self.trail.append(label)

    # --- what the publisher tells

    def passed(self, writer: int, step: PublicationStep) -> None:
        """The publisher passed a step. Raises Departure when the model can not."""
        p, verb = self.world.writers[writer], VERBS[step.name]
        if step.name is StepName.FENCED and (p.step != 2 or self._is_elsewhere(p)):
            if p.epoch:  # it found out from the pointer, or when it was idle, or on another target
                self._follow(writer, "crashes")
            return
        for label in self._untold[writer] if verb else ():
            if label.startswith(verb or ""):
                self._untold[writer].remove(label)
                return
        if (
            p.step == 0
            and verb is not None
            and verb.startswith(AGAIN)
            and self._is_seen(self.world, self.seen())
        ):
            return
        self._follow(writer, verb, aim=self.entries[step.root])

    def _is_elsewhere(self, p: Writer) -> bool:
        """Whether who is fenced still has this target, because it lost another one."""
        return self.is_one_of_many and self.world.head == p.known

    def quietly(self, writer: int) -> None:
        """Something of this writer's was stored, and it does not know yet."""
        labels = self._follow(writer, None, quiet=("",))
        self._untold[writer].extend(label[2:] for label in labels)

    def _follow(
        self, writer: int, verb: str | None, quiet: tuple[str, ...] = QUIET, aim: Root | None = None
    ) -> list[str]:
        """Go on to a world that looks as the target does, by a step `verb` (None: by any, or none)."""
        seen, name = self.seen(), "AB"[writer]
        aims = seen.staging | {seen.head[1]} if aim is None else frozenset({aim})
        scope = self.scope._replace(aims=aims, epochs=(seen.head[0],))
        queue: list[tuple[World, list[str]]] = [(self.world, [])]
        known = {self.world}
        while queue:
            world, labels = queue.pop(0)
            if verb is None and self._is_seen(world, seen):
                return self._arrive(world, labels)
            for label, after in steps(world, "", scope):
                what = label[2:]
                if not label.startswith(f"{name} ") or after in known or not self._may_be(what, after, seen):
                    continue
                if verb is not None and what.startswith(verb) and self._is_seen(after, seen):
                    return self._arrive(after, [*labels, label])
                if what.startswith(quiet) and not what.startswith(ACCIDENTS):
                    known.add(after)
                    queue.append((after, [*labels, label]))
        raise Departure(
            f"{name} {verb or 'changes something'}: the model can not come to {_told(seen)} from "
            f"{_told_world(self.world)}; so far: " + "; ".join(label[:60] for label in self.trail[-20:])
        )

    def _may_be(self, what: str, after: World, seen: Seen) -> bool:
        """Tiles are put in any order in truth; here only those that are there."""
        new = after.tiles - self.world.tiles if what.startswith("4 puts tile") else ()
        return all(tile in seen.full or tile in seen.partial for tile in new)

    def _arrive(self, world: World, labels: list[str]) -> list[str]:
        self.world = world
        self.trail += labels
        check(world, self.scope)
        return labels

    def _is_seen(self, world: World, seen: Seen) -> bool:
        full = frozenset(tile for tile in world.tiles if len(tile[1]) == self.scope.width)
        return (
            (world.head, world.staging, full, world.checkpoints, world.pointer, world.signed)
            == (seen.head, seen.staging, seen.full, seen.checkpoints, seen.pointer, seen.signed)
            and seen.partial <= world.tiles
            and self._has_edge(world, seen)
        )

    def _has_edge(self, world: World, seen: Seen) -> bool:
        """A partial tile goes only once the full one is there, so what the pointer needs is there or is full."""
        needed = tiles_of(world.pointer, self.scope.width)
        return all(
            tile in seen.full | seen.partial or tile[0] in {n for n, _ in seen.full} for tile in needed
        )


def _told(seen: Seen) -> str:
    return (
        f"epoch {seen.head[0]} size {len(seen.head[1])}, staging {sorted(map(len, seen.staging))}, "
        f"{len(seen.full)}+{len(seen.partial)} tiles, checkpoints {sorted(map(len, seen.checkpoints))}, "
        f"pointer {len(seen.pointer)}, signed {sorted(map(len, seen.signed))}"
    )


def _told_world(world: World) -> str:
    full = frozenset(tile for tile in world.tiles if len(tile[1]) == 256)
    shown = Seen(
        world.head, world.staging, full, world.tiles - full, world.checkpoints, world.pointer, world.signed
    )
    return f"{_told(shown)}; steps {[p.step for p in world.writers]}"
