"""A log that grows in memory, its requests to a witness, and a witness as a process of its own."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    SigningKey,
    VerifierKey,
    format_checkpoint_text,
    format_note,
    parse_vkey,
    sign_checkpoint,
)
from merklelog.formats.witness import format_add_checkpoint
from merklelog.tree import Hash, TreeSize, leaf_hash, node_hash
from merklelog.witness.create import create_witness

NAME = "witness.example/w1"
ORIGIN = "grown.example/log"
ROOT = Path(__file__).resolve().parents[2]


class GrownLog:
    """A log of leaves `b"<salt><index>"`: its checkpoints and proofs at any sizes, by RFC 6962's own recursion.

    Two of them with one origin and key and another `salt` from leaf `fork` on are a log that equivocates.
    """

    def __init__(self, origin: str = ORIGIN, *, seed: bytes = b"\x07", salt: str = "", fork: int = 0) -> None:
        self.origin = origin
        self.key = SigningKey(origin, SignatureType.ED25519, seed * 32)
        self.mldsa = SigningKey(origin, SignatureType.COSIGNATURE_MLDSA44, seed * 32)
        self._salt, self._fork = salt, fork
        self._node = lru_cache(maxsize=None)(self._make)

    def _make(self, start: int, end: int) -> Hash:
        if end - start == 1:
            salt = self._salt if start >= self._fork else ""
            return leaf_hash(f"{salt}{start}".encode())
        split = 1 << (end - start - 1).bit_length() - 1
        return node_hash(self._node(start, start + split), self._node(start + split, end))

    def root(self, size: int) -> Hash:
        """RFC 6962, section 2.1."""
        return self._node(0, size) if size else Hash(hashlib.sha256().digest())

    def proof(self, old: int, new: int) -> list[Hash]:
        """RFC 6962, section 2.1.2."""
        return self._subproof(old, 0, new, whole=True) if 0 < old < new else []

    def _subproof(self, old: int, start: int, end: int, *, whole: bool) -> list[Hash]:
        if old == end:
            return [] if whole else [self._node(start, end)]
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            return [*self._subproof(old, start, split, whole=whole), self._node(split, end)]
        return [*self._subproof(old, split, end, whole=False), self._node(start, split)]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.origin, TreeSize(size), self.root(size))

    def note(self, size: int, keys: Sequence[SigningKey] | None = None) -> bytes:
        """The signed checkpoint of that size."""
        return signed(self.checkpoint(size), [self.key] if keys is None else keys)

    def request(self, old: int, new: int) -> bytes:
        """A valid add-checkpoint."""
        return format_add_checkpoint(old, self.proof(old, new), self.note(new))


def signed(checkpoint: Checkpoint, keys: Sequence[SigningKey]) -> bytes:
    """A note of that checkpoint by these keys."""
    text = format_checkpoint_text(checkpoint)
    return format_note(Note(text, tuple(sign_checkpoint(checkpoint, key) for key in keys)))


def make_witness(directory: Path, *logs: GrownLog, name: str = NAME) -> list[VerifierKey]:
    """A new witness that knows these logs; gives its verifier keys."""
    return create_witness(directory, name, logs=[log.key.verifier for log in logs])


@dataclass
class Answered:
    """What a witness answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Process:
    """A witness that serves, in a process of its own; `said` is the file of its standard error."""

    popen: subprocess.Popen[bytes]
    address: str
    admin: str
    said: Path

    def connect(self) -> http.client.HTTPConnection:
        host, _, port = self.address.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=60)

    def ask(self, method: str, path: str, body: bytes = b"", *, admin: bool = False) -> Answered:
        """One request on a connection of its own."""
        host, _, port = (self.admin if admin else self.address).rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        try:
            return ask(connection, method, path, body)
        finally:
            connection.close()

    def add(self, body: bytes) -> Answered:
        return self.ask("POST", "/add-checkpoint", body)

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> Answered:
    connection.request(method, path, body or None)
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answered(response.status, response.read(), headers)


@contextmanager
def served(directory: Path, *, kill: str = "", options: Sequence[str] = ()) -> Iterator[Process]:
    """A process that serves the witness in `directory`, once it takes requests.

    `kill` is a step of the witness and a number, "synced:3": it kills itself with SIGKILL at that step.
    """
    said = directory / "stderr.txt"
    program = [sys.executable, "-m", "tests.witness.program", str(directory), kill, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with said.open("ab") as errors:
        popen = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, env=environment)
    try:
        assert popen.stdout is not None
        line = popen.stdout.readline().decode().split()
        assert len(line) == 2, f"the witness did not start: {said.read_text()}"
        yield Process(popen, line[0], line[1], said)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait(60)
        if popen.stdout is not None:
            popen.stdout.close()


def keys_of(process_directory: Path) -> list[VerifierKey]:
    """The verifier keys of a witness' directory."""
    from merklelog.witness.keys import load_keys

    return [key.verifier for key in load_keys(process_directory / "keys", NAME)]


__all__ = [
    "NAME",
    "ORIGIN",
    "Answered",
    "GrownLog",
    "Process",
    "ask",
    "keys_of",
    "make_witness",
    "parse_vkey",
    "served",
    "signed",
]
