"""Three real witnesses that know a few logs, which a test takes one after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import merklelog
from merklelog.formats import Policy, VerifierKey, format_vkey, parse_checkpoint, parse_policy
from merklelog.protocol.verdict import evaluate_policy
from merklelog.witness.create import create_witness
from tests.witness.support import Process, served

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
LOGS = 14


@dataclass
class OneWitness:
    """A witness' directory, the keys of its cosignatures, and its process while it runs."""

    directory: Path
    verifiers: Sequence[VerifierKey]
    process: Process | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    address: str = ""

    def start(self) -> None:
        """At the same address as before."""
        options = ["--at", self.address] if self.address else []
        self.process = self.stack.enter_context(served(self.directory, options=options))
        self.address = self.process.address

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        os.kill(self.process.popen.pid, signal.SIGKILL)
        self.stack.close()
        self.process = None


@dataclass
class Scene:
    """The witnesses, and logs that nobody used yet: (directory, verifier keys)."""

    witnesses: list[OneWitness]
    logs: list[tuple[Path, tuple[VerifierKey, ...]]]

    def rules(
        self, keys: Sequence[VerifierKey], quorum: str = "2", members: Sequence[int] = (0, 1, 2)
    ) -> str:
        """A policy: of these witnesses so many are enough; their two keys count once."""
        lines = [f"log {format_vkey(key)}" for key in keys[:2]]
        for n in members:
            witness = self.witnesses[n]
            for kind, key in zip("ab", witness.verifiers, strict=True):
                lines.append(f"witness w{n}{kind} {format_vkey(key)} http://{witness.address}")
            lines.append(f"group w{n} any w{n}a w{n}b")
        lines.append(f"group q {quorum} {' '.join(f'w{n}' for n in members)}")
        return "\n".join([*lines, "quorum q", ""])

    def log(self, **settings: Any) -> OneLog:
        """A new log whose policy wants two of the three; `settings` are of [witness], `target` its place."""
        path, keys = self.logs.pop()
        made = OneLog(path, keys, parse_policy(self.rules(keys).encode()))
        made.configure(self.rules(keys), **settings)
        return made


@dataclass
class OneLog:
    """A log's directory, its keys and its policy."""

    path: Path
    keys: tuple[VerifierKey, ...]
    policy: Policy
    target: Path | None = None

    def configure(self, rules: str | None = None, *, target: Path | None = None, **witness: Any) -> None:
        """Write its configuration anew."""
        self.target = target or self.target
        text = f'[log]\norigin = "{self.keys[0].name}"\n[store]\nmin_free_bytes = 0\n[publish]\ninterval = 0.05\n'
        if self.target is not None:
            text += f'targets = ["dir:{self.target}"]\n'
        if rules is not None:
            (self.path / "witnesses.policy").write_text(rules)
        said = {"policy": '"witnesses.policy"', "timeout": 5.0, **witness}
        text += "[witness]\n" + "".join(f"{name} = {value}\n" for name, value in said.items())
        (self.path / "merklelog.toml").write_text(text)

    def copied(self, place: Path) -> OneLog:
        """A copy of its directory, as a backup of the files of a log that is closed."""
        shutil.copytree(self.path, place)
        return OneLog(place, self.keys, self.policy, self.target)

    def names(self, note: bytes) -> set[bytes]:
        """Who cosigned, if it meets the policy. Raises PolicyUnmetError."""
        return {each.witness.name for each in evaluate_policy(self.policy, parse_checkpoint(note)).cosigners}


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Three witnesses and the logs that they know."""
    logs = []
    for n in range(LOGS):
        made = merklelog.create_log(
            folder / f"log{n}", f"witnessed.example/{n}", settings={"store.min_free_bytes": 0}
        )
        logs.append((folder / f"log{n}", made))
    with ExitStack() as stack:
        witnesses = []
        for n in range(3):
            keys = create_witness(folder / f"w{n}", f"w{n}.example/w", logs=[made[0] for _, made in logs])
            witnesses.append(OneWitness(folder / f"w{n}", keys))
            stack.enter_context(witnesses[-1].stack)
            witnesses[-1].start()
        yield Scene(witnesses, logs)


def run(*words: str, status: int = 0) -> dict[str, Any]:
    """`merklelog WORDS... --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "merklelog", *words, "--json"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == status, done.stderr.decode()
    return json.loads(done.stdout) if done.stdout else {}
