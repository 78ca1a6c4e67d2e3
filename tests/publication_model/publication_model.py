"""The publication protocol as an executable model: every interleaving of two writers on one target.

Appends, each step of a publication, crashes, a backup brought back, a lost disk, recovery, explored breadth
first. A root is the tuple of the entries it commits to, so "consistent" is "one is a prefix of the other". Run:

    python3 publication_model.py [A C B L]   the design, with so many appends, crashes, backups and losses
                                             (2 1 1 1): the states seen, or the shortest trace to a violation
    python3 publication_model.py sign-first  without one of its rules; each of BROKEN must be caught

What holds in every state: no two checkpoints conflict; no immutable object is asked to change; who sees the
pointer can fetch all under it; the pointer never goes back; after any loss the head can be recovered; two roots
for one size in one epoch never happen; a receipt that no checkpoint can contain is of an epoch that is over (so
it is lost, and never a fork).

`publication_path.py` holds the publisher to this model: every step it logs must be one that the model can do.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

Root = tuple[str, ...]
BROKEN = ("sign-first", "no-staging", "no-epoch-cas", "plain-pointer", "reuse-epoch")


class Scope(NamedTuple):
    """How far the model goes: leaves a tile has, and what a start and a publication may choose.

    `epochs` are those that a start may take, when they are larger than the one there (another target may have
    seen more starts than this one). `aims` None: every beginning of a writer's log that is longer than what it
    knows to be published.
    """

    width: int = 2
    epochs: tuple[int, ...] = (1, 2, 3)
    aims: frozenset | None = None


DEFAULT = Scope()


class Writer(NamedTuple):
    """One process and its disk. `log is None`: no disk. `epoch == 0`: not running."""

    log: Root | None
    epoch: int = 0
    known: tuple[int, Root] | None = None  # the head this writer last saw or wrote
    step: int = 0  # the next step of its publication, 0: idle
    aim: Root = ()


class World(NamedTuple):
    """Both writers, the target, and what was ever signed or handed out."""

    writers: tuple[Writer, Writer]
    head: tuple[int, Root] = (0, ())
    staging: frozenset = frozenset()
    tiles: frozenset = frozenset()  # (number, content); immutable when full
    checkpoints: frozenset = frozenset()
    pointer: Root = ()
    signed: frozenset = frozenset()
    receipts: frozenset = frozenset()  # (epoch, root)
    backup: Root | None = None
    budget: tuple[int, int, int, int] = (2, 1, 1, 1)  # appends, crashes, backups, losses left


class Violation(Exception):
    """Something that must always hold does not."""


def prefix(a: Root, b: Root) -> bool:
    return b[: len(a)] == a


def tiles_of(root: Root, width: int) -> set[tuple[int, Root]]:
    return {(i // width, root[i : i + width]) for i in range(0, len(root), width)}


def reachable(w: World, root: Root, scope: Scope) -> bool:
    return root in w.staging or tiles_of(root, scope.width) <= w.tiles


def steps(w: World, broken: str = "", scope: Scope = DEFAULT) -> Iterator[tuple[str, World]]:
    """Every step that can be next, with a label that begins with the writer's name."""
    for i, p in enumerate(w.writers):
        if p.log is None:
            yield from _without_disk(w, i, scope)
        elif p.epoch == 0:
            yield from _start(w, i, broken, scope)
        else:
            yield from _running(w, i, broken, scope)
        yield from _accidents(w, i)


def _with(w: World, i: int, p: Writer, **changed: object) -> World:
    writers = (p, w.writers[1]) if i == 0 else (w.writers[0], p)
    return w._replace(writers=writers, **changed)


def _spend(w: World, at: int) -> tuple[int, ...]:
    return tuple(left - (k == at) for k, left in enumerate(w.budget))


def _without_disk(w: World, i: int, scope: Scope) -> Iterator[tuple[str, World]]:
    name = "AB"[i]
    if w.backup is not None:
        yield f"{name} gets the backup {w.backup}", _with(w, i, Writer(w.backup))
    if w.head[0]:
        if not reachable(w, w.head[1], scope):
            raise Violation(f"head {w.head} can not be recovered")
        yield f"{name} recovers {w.head[1]}", _with(w, i, Writer(w.head[1]))


def _start(w: World, i: int, broken: str, scope: Scope) -> Iterator[tuple[str, World]]:
    log, root = w.writers[i].log, w.head[1]
    assert log is not None
    if not prefix(root, log) and not prefix(log, root):
        return  # beside the target: it refuses
    if len(log) < len(root):
        if not reachable(w, root, scope):
            raise Violation(f"head {w.head} can not be finished")
        log = root
    epochs = [epoch for epoch in scope.epochs if epoch > w.head[0]]
    for epoch in epochs if broken != "reuse-epoch" else [max(1, w.head[0])]:
        p = Writer(log, epoch, (epoch, root), 3 if root != w.pointer else 0, root)
        yield f"{'AB'[i]} starts epoch {epoch} at {log}", _with(w, i, p, head=(epoch, root))


def _running(w: World, i: int, broken: str, scope: Scope) -> Iterator[tuple[str, World]]:
    name, p = "AB"[i], w.writers[i]
    assert p.log is not None
    assert p.known is not None
    if w.budget[0]:
        log = (*p.log, "ab"[i])
        yield (
            f"{name} appends, receipt {p.epoch}:{log}",
            _with(w, i, p._replace(log=log), receipts=w.receipts | {(p.epoch, log)}, budget=_spend(w, 0)),
        )
    if p.step == 0:
        for aim in _aims(p.log, len(p.known[1]), scope):
            staging = w.staging if broken == "no-staging" else w.staging | {aim}
            signed = w.signed | ({aim} if broken == "sign-first" else set())
            aimed = p._replace(step=2, aim=aim)
            yield f"{name} 1 stages {aim}", _with(w, i, aimed, staging=staging, signed=signed)
        for root in w.staging:
            if len(root) <= len(
                p.known[1]
            ):  # left by whoever was killed or fenced; no head will name it again
                yield f"{name} 8 collects old staging", _with(w, i, p, staging=w.staging - {root})
    elif p.step == 2:
        if w.head == p.known or broken == "no-epoch-cas":
            head = (p.epoch, p.aim)
            yield f"{name} 2 moves head to {head}", _with(w, i, p._replace(step=3, known=head), head=head)
        else:
            yield f"{name} 2 is fenced and stops", _with(w, i, Writer(p.log))
    else:
        yield from _finishing(w, i, broken, scope)


def _aims(log: Root, published: int, scope: Scope) -> list[Root]:
    if scope.aims is not None:
        return [aim for aim in scope.aims if len(aim) > published and prefix(aim, log)]
    return [log[:size] for size in range(published + 1, len(log) + 1)]


def _finishing(w: World, i: int, broken: str, scope: Scope) -> Iterator[tuple[str, World]]:
    """From `head` on: what it names is signed, put, shown, and staging collected."""
    name, p = "AB"[i], w.writers[i]
    if p.step == 3:
        yield f"{name} 3 signs {p.aim}", _with(w, i, p._replace(step=4), signed=w.signed | {p.aim})
    elif p.step == 4:
        missing = tiles_of(p.aim, scope.width) - w.tiles
        for n, content in sorted(missing):
            if len(content) == scope.width and any(m == n and len(c) == scope.width for m, c in w.tiles):
                raise Violation(f"{name} would change immutable tile {n} to {content}")
            yield f"{name} 4 puts tile {n} {content}", _with(w, i, p, tiles=w.tiles | {(n, content)})
        if not missing:
            filed = w.checkpoints | {p.aim}
            yield (
                f"{name} 5 puts checkpoints/{len(p.aim)}",
                _with(w, i, p._replace(step=7), checkpoints=filed),
            )
    elif p.step == 7:
        moves = len(p.aim) > len(w.pointer) or broken == "plain-pointer"
        pointer = p.aim if moves else w.pointer
        if len(pointer) < len(w.pointer):
            raise Violation(f"pointer goes back from {w.pointer} to {pointer}")
        yield f"{name} 7 moves the pointer to {pointer}", _with(w, i, p._replace(step=8), pointer=pointer)
    elif p.step == 8:
        idle = p._replace(step=0, aim=())
        yield f"{name} 8 collects staging", _with(w, i, idle, staging=w.staging - {p.aim})
        yield f"{name} 8 leaves staging", _with(w, i, idle)


def _accidents(w: World, i: int) -> Iterator[tuple[str, World]]:
    name, p = "AB"[i], w.writers[i]
    if p.log is None:
        return
    if w.budget[1] and p.epoch:
        yield f"{name} crashes", _with(w, i, Writer(p.log), budget=_spend(w, 1))
    if w.budget[2]:
        yield f"{name} is backed up", w._replace(backup=p.log, budget=_spend(w, 2))
    if w.budget[3]:
        yield f"{name} loses its disk", _with(w, i, Writer(None), budget=_spend(w, 3))


def check(w: World, scope: Scope = DEFAULT) -> None:
    """What must hold in every state. Raises Violation."""
    signed = sorted(w.signed, key=len)
    for a, b in pairwise(signed):
        if not prefix(a, b):
            raise Violation(f"checkpoints {a} and {b} conflict")
    if not tiles_of(w.pointer, scope.width) <= w.tiles:
        raise Violation(f"pointer {w.pointer} without its tiles")
    sizes: dict[tuple[int, int], Root] = {}
    for epoch, root in w.receipts:
        if sizes.setdefault((epoch, len(root)), root) != root:
            raise Violation(f"two roots for size {len(root)} in epoch {epoch}")
        for cp in signed:
            if epoch == w.head[0] and not prefix(root, cp) and not prefix(cp, root):
                raise Violation(f"receipt {epoch}:{root} of the newest epoch conflicts with checkpoint {cp}")


def explore(broken: str = "", budget: tuple[int, int, int, int] = (2, 1, 1, 1)) -> tuple[int, str, list[str]]:
    """The states seen, and the violation with the shortest trace to it ("" and none: it holds in all)."""
    first = World((Writer(()), Writer(None)), budget=budget)
    seen: dict[World, tuple[str, World] | None] = {first: None}
    queue = deque([first])
    while queue:
        w = queue.popleft()
        try:
            check(w)
            nexts = list(steps(w, broken))
        except Violation as violation:
            trace, at = [], seen[w]
            while at is not None:
                trace.append(at[0])
                at = seen[at[1]]
            return len(seen), str(violation), trace[::-1]
        for label, w2 in nexts:
            if w2 not in seen:
                seen[w2] = (label, w)
                queue.append(w2)
    return len(seen), "", []


def main(words: list[str]) -> int:
    numbers = tuple(int(word) for word in words if word.isdigit())
    names = [word for word in words if not word.isdigit()]
    if len(numbers) not in (0, 4) or len(names) > 1 or set(names) - set(BROKEN):
        print(__doc__, file=sys.stderr)
        return 2
    states, violation, trace = explore("".join(names), numbers or (2, 1, 1, 1))
    if not violation:
        print(f"holds in all {states:,} states")
        return 0
    print(f"VIOLATION after {len(trace)} steps: {violation}\n  " + "\n  ".join(trace))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
