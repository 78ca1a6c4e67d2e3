"""omniwitness as a process: the logs it is told of, an Ed25519 and an ML-DSA-44 key, and its database on disk."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from merklelog.formats import SignatureType, SigningKey, VerifierKey, format_signing_key, format_vkey
from tests.support import witness_programs
from tests.witness.support import Process

NAME = "omniwitness.example/w"
WHAT = "omniwitness (python3 tests/support/witness_programs.py builds it)"
_SECONDS = 60.0


def keys(name: str = NAME) -> list[SigningKey]:
    """Its keys, as cosignatures name them."""
    return [
        SigningKey(name, kind, b"\x55" * 32)
        for kind in (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44)
    ]


@contextmanager
def omniwitness(directory: Path, logs: Sequence[VerifierKey]) -> Iterator[Process]:
    """A process that takes requests. `directory` is new, or that of a process before, which goes on from there."""
    program = witness_programs.omniwitness()
    assert program is not None, WHAT
    directory.mkdir(exist_ok=True)
    # It takes an Ed25519 key under the type of a note's own, and makes the cosigner's of it by itself.
    plain = SigningKey(NAME, SignatureType.ED25519, b"\x55" * 32)
    words = []
    for number, key in enumerate((plain, keys()[1])):
        path = directory / f"key{number}"
        path.write_text(format_signing_key(key))
        words += ["--private_key_path", str(path)]
    known = [{"Origin": key.name, "URL": "http://127.0.0.1:1", "PublicKey": format_vkey(key)} for key in logs]
    listed = directory / "logs.yaml"  # JSON is YAML
    listed.write_text(json.dumps({"Logs": known}))
    address = _free_address()
    command = [str(program), "--listen", address, "--metrics_listen", "", "--additional_logs", str(listed)]
    said = directory / "stderr.txt"
    with said.open("ab") as errors:
        popen = subprocess.Popen(
            [*command, "--db_file", str(directory / "db.sqlite"), *words], stdout=errors, stderr=errors
        )
    try:
        _await(popen, address, said)
        yield Process(popen, address, "", said)
    finally:
        popen.kill()
        popen.wait(_SECONDS)


def _free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def _await(popen: subprocess.Popen[bytes], address: str, said: Path) -> None:
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + _SECONDS
    while True:
        assert popen.poll() is None, said.read_text()
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            assert time.monotonic() < ends, said.read_text()
            time.sleep(0.02)
