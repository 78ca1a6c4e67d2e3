"""Lives of a log that publishes to directories, in child processes, and the judgement of what they leave."""

from __future__ import annotations

import pickle
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import merklelog
from merklelog.audit.run import audit
from merklelog.errors import MerklelogError
from merklelog.formats import format_vkey, parse_checkpoint, parse_receipt, verify_note
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.publish import DirectoryStore
from merklelog.publish.pointer import read_head
from tests.support.lives import lives_of

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(
    0, str(ROOT / "tests" / "publication_model")
)  # what the child keeps of the model is read here
APPENDER = Path(__file__).with_name("publishing_appender.py")
ORIGIN = "crash.example/published"


@dataclass
class Line:
    """One lineage: the log's disk, its targets, and all that it ever told anybody."""

    folder: Path
    targets: int = 1
    acked: dict[int, set[bytes]] = field(default_factory=dict)
    shown: list[bytes] = field(default_factory=list)
    receipts: list[Any] = field(default_factory=list)
    saved: list[bytes] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.directory = self.folder / "log"
        self.stores = [DirectoryStore(self.folder / f"target{n}") for n in range(self.targets)]
        vkeys = merklelog.create_log(self.directory, ORIGIN, settings=self.settings)
        (self.folder / "vkeys").write_text("".join(f"{format_vkey(key)}\n" for key in vkeys))
        shutil.copytree(self.directory / "keys", self.folder / "keys")

    @property
    def settings(self) -> dict[str, Any]:
        places = tuple(store.location for store in self.stores)
        return {"store.min_free_bytes": 0, "publish.targets": places, "publish.interval": 0.05}

    def live(self, seed: int, step: str = "none", count: int = 1, directory: Path | None = None) -> list[str]:
        """One life; whether it was killed is for the caller to know. Gives what it said besides the usual."""
        world = self.folder / f"world-{(directory or self.directory).name}"
        words = [str(directory or self.directory), str(world), str(seed), step, str(count)]
        done = lives_of(APPENDER).run(*words)
        said = [self._hear(line) for line in done.stdout.decode().splitlines()]
        rest = [line for line in said if line]
        if done.returncode not in (0, -9):
            raise AssertionError(f"the child ended with {done.returncode}: {done.stderr.decode()[-3000:]}")
        assert (done.returncode == 0) == bool(rest and rest[-1].split(" ")[0] in ("closed", "refused")), rest
        return rest

    def _hear(self, line: str) -> str:
        word, _, rest = line.partition(" ")
        if word == "acked":
            index, _, entry = rest.partition(" ")
            self.acked.setdefault(int(index), set()).add(bytes.fromhex(entry))
        elif word == "receipt":
            self.receipts.append(parse_receipt(bytes.fromhex(rest))[0])
        elif word == "saved":
            self.saved.append(bytes.fromhex(rest))
        elif word == "shown":
            self.shown.append(bytes.fromhex(rest))
        elif word == "epoch":
            self.epochs.append(int(rest))
        else:
            return line
        return ""

    def becomes(self, saved: bytes) -> str:
        """What a client is told of a receipt that it kept: "proven", or the error's class."""
        with merklelog.connect(self.stores[0].location, trust=self.folder / "vkeys") as client:
            try:
                client.upgrade(saved)
            except MerklelogError as error:
                return type(error).__name__
        return "proven"

    def recover(self, target: int = 0) -> Any:
        """The disk is gone; another one is made of what a target holds."""
        shutil.rmtree(self.directory)
        signers = load_signers(self.folder / "keys", ORIGIN)
        settings = {**self.settings, "log.keys": str(self.folder / "keys")}
        report = recover_log(self.directory, self.stores[target], signers, settings=settings, parallel=2)
        self.lost |= {index for index in self.acked if index >= report.size}
        for number in range(self.targets):
            self._relearn(self.folder / f"world-log.{number}", report.size)
        return report

    def _relearn(self, world: Path, size: int) -> None:
        """For the model, the disk of this writer is another one now."""
        if not world.exists():
            return
        known, entries, signed = pickle.loads(world.read_bytes())
        a, b = known.writers
        newest = next(each for each in entries.values() if len(each) == size)
        world.write_bytes(
            pickle.dumps((known._replace(writers=(a._replace(log=newest), b)), entries, signed))
        )

    def judge(self) -> int:
        """All is published, whole and one history with whatever was ever shown; gives the size."""
        vkeys = []
        with merklelog.open_reader(self.directory) as log:
            entries, size, vkeys = list(log.entries(0, log.size)), log.size, log.vkeys
            for note in self.shown:
                checkpoint = parse_checkpoint(note).checkpoint
                assert checkpoint.size <= size, "a checkpoint was shown that is not there any more"
                proof = log.consistency_proof(checkpoint.size, size)
                merklelog.tree.verify_consistency(checkpoint.size, size, checkpoint.root, log.root, proof)
        for index, told in self.acked.items():
            if index not in self.lost:
                assert told == {entries[index]}, f"entry {index} is not the one that was acknowledged"
        for store in self.stores:
            found = read_head(store)
            assert found is not None
            assert found.head.size == size
            signed = parse_checkpoint(store.get("checkpoint").data)
            verify_note(signed.note, vkeys)
            assert signed.checkpoint.size == size
            assert list(store.list_keys("staging/")) == []
            report = audit(store.location, processes=1)
            assert report.findings == (), report.findings
            assert report.entries == size
        report = audit(str(self.directory), processes=1)
        assert report.findings == (), report.findings
        assert self.epochs == sorted(set(self.epochs)), "an epoch was used twice"
        self._judge_receipts(size)
        return int(size)

    def _judge_receipts(self, size: int) -> None:
        """Two roots for a size only in two epochs; what is not in the tree is of an epoch that is over."""
        roots: dict[tuple[int, int], bytes] = {}
        for receipt in self.receipts:
            assert roots.setdefault((receipt.epoch, receipt.size), receipt.root) == receipt.root
            if receipt.size > size:
                assert receipt.epoch < max(self.epochs)
