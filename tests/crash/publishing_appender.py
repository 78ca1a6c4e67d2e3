"""A child process whose log publishes to directories until it is killed at a step of a publication.

    python publishing_appender.py DIR WORLD SEED STEP COUNT

It kills itself with SIGKILL when STEP (a step of a publication, or "none") is passed for the COUNT-th time. Every
step is held to the model of the protocol, whose state lives in the file WORLD from one life to the next; a step
that the model can not do ends the child with an error. Each line it prints is a fact: `epoch E`, `acked I HEX` (an
entry by index), `receipt HEX` (its note), `saved HEX` (the last entry's, as a file), `shown HEX` (a checkpoint
that readers saw), `refused CLASS MESSAGE`, `closed`.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "publication_model"))
sys.path.insert(0, str(HERE.parent.parent))

from publication_path import Path as ModelPath  # noqa: E402 - found by the line above
from publication_path import look  # noqa: E402

import merklelog.log.publishing_targets  # noqa: E402, F401 - or each life would load it
from merklelog.errors import MerklelogError  # noqa: E402
from merklelog.formats.bundle import parse_bundle  # noqa: E402
from merklelog.log import open_log  # noqa: E402
from merklelog.log.config import load_config  # noqa: E402
from merklelog.protocol.publication import EMPTY_TREE, StepName, TreeHead  # noqa: E402
from merklelog.publish import BundleEncoding, DirectoryStore  # noqa: E402
from merklelog.publish.encoding import decompress  # noqa: E402
from merklelog.publish.layout import STAGING  # noqa: E402
from merklelog.publish.pointer import read_head  # noqa: E402
from merklelog.publish.staging import parse_staging  # noqa: E402
from merklelog.publish.stored import StoredTiles, copy_encoding  # noqa: E402
from merklelog.tree import bundles_of  # noqa: E402


def say(line: str) -> None:
    """One whole line at once: a kill must not leave half of one."""
    os.write(1, line.encode() + b"\n")


class Held:
    """One target's publications, held to the model over several lives of the log."""

    def __init__(self, store: DirectoryStore, place: Path) -> None:
        self.store = store
        self.place = place
        self.entries: dict[Any, tuple[str, ...]] = {EMPTY_TREE.root: ()}
        self.signed: list[TreeHead] = []
        self.path = ModelPath(self._look, self.entries)
        self.path.disk(0, ())
        if place.exists():
            self.path.world, known, self.signed = pickle.loads(place.read_bytes())
            self.entries.update(known)
            if self.path.world.writers[0].epoch:
                self.path.crashed(0)

    def passed(self, step: Any) -> None:
        """A step was passed; `step.target` may be another target's."""
        if step.target not in ("", self.store.location):
            return
        head = TreeHead(step.size, step.root)
        self._learn()
        if step.name is StepName.SIGNED and head not in self.signed:
            self.signed.append(head)
        p = self.path.world.writers[0]
        if step.name is StepName.STAGED and len(p.log or ()) < step.size:
            self.path.appended(0, self.entries[step.root])
        self.path.passed(0, step)
        self.save()

    def save(self) -> None:
        made = self.place.with_suffix(".new")
        made.write_bytes(pickle.dumps((self.path.world, self.entries, self.signed)))
        made.replace(self.place)

    def _look(self) -> Any:
        self._learn()
        return look(self.store, self.entries, self.signed, decode=bytes.hex)

    def _learn(self) -> None:
        """Which entries the roots there stand for, from the target alone."""
        found = read_head(self.store)
        trees = {} if found is None else {found.head.root: (found.head.size, {})}
        for key in self.store.list_keys(STAGING):
            staged = parse_staging(self.store.get(key).data)
            trees[staged.root] = (staged.size, dict(staged.objects))
        for root, (size, staged_objects) in trees.items():
            if root not in self.entries:
                self.entries[root] = self._read(size, staged_objects)

    def _read(self, size: int, staged: dict[str, bytes]) -> tuple[str, ...]:
        encoding = copy_encoding(self.store)
        stored = StoredTiles(self.store, encoding)
        entries: list[str] = []
        for tile in bundles_of(size):
            data = staged.get(tile.path)
            if data is None:
                data = stored.bundle(tile.index, tile.width)
            elif encoding is BundleEncoding.GZIP:
                data = decompress(data, 1 << 30)
            entries += [entry.hex() for entry in parse_bundle(data, tile.width)]
        return tuple(entries)


def main() -> None:
    """Append and publish batches of all sizes."""
    directory, world, seed, step, count = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
    rng = random.Random(int(seed))
    targets = load_config(directory).publish.targets
    helds = [
        Held(DirectoryStore(Path(target.removeprefix("dir:"))), world.with_name(f"{world.name}.{number}"))
        for number, target in enumerate(targets)
    ]
    left = int(count)

    def on_step(passed: Any) -> None:
        nonlocal left
        for held in helds:
            held.passed(passed)
        if passed.name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        log = open_log(directory, publication_step=on_step)
    except MerklelogError as error:
        say(f"refused {type(error).__name__} {error}")
        return
    with log:
        say(f"epoch {log.epoch}")
        for number in range(8):
            size = rng.choice((1, 2, 60, 300))
            entries = [b"%s.%d.%d %s" % (seed.encode(), number, i, rng.randbytes(9)) for i in range(size)]
            receipt = log.append_batch(entries)
            for index, entry in zip(receipt.indexes, entries, strict=True):
                say(f"acked {index} {entry.hex()}")
            say(f"receipt {receipt.note.hex()}")
            say(f"saved {receipt[-1].to_bytes().hex()}")
            if rng.random() < 0.7:
                log.publish_now().result(60)
                say(f"shown {log.checkpoint().hex()}")
    say("closed")


if __name__ == "__main__":
    main()
