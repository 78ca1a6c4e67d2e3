"""Witness: add-checkpoint a second for growing logs, each answer durable, and latency at half of that.

Every log has a connection and grows by 1 to 50 leaves a request, from a million on (proofs of about 20 hashes).
The server is a process of its own, and so is who asks; both share this machine's cores. The reference is what
one core does of the signatures alone, in the same run: one Ed25519 verification, and the cosignatures. Beside the
slow answers stands what small fsyncs on the same disk took meanwhile: a witness answers when its disk has, and p99
of the disk alone is for requests that wait for the fsync under way and for nothing else.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

from common import ROOT, Row, await_rest, directory, print_table
from stalls import Stalls

from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    SigningKey,
    format_checkpoint_text,
    format_note,
    sign_checkpoint,
)
from merklelog.formats.cosignature import cosignature_message, subtree_message
from merklelog.formats.witness import format_add_checkpoint
from merklelog.tree import Hash, TreeSize, node_hash
from merklelog.witness.create import create_witness

BASE = 1 << 20
NAME = "bench.example/witness"
KINDS = {
    "Ed25519": (SignatureType.COSIGNATURE_ED25519,),
    "Ed25519 and ML-DSA-44": (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--logs", type=int, default=100)
    parser.add_argument("--requests", type=int, default=150, help="requests for each log in a measurement")


def run(args: argparse.Namespace) -> None:
    """Measure the table."""
    table = {
        name: [
            Row(f"{name}: add-checkpoint", "a second"),
            *[Row(f"{name}, at half of that: {what}", "ms") for what in ("p50", "p99", "slowest")],
            *[Row(f"{name}, meanwhile the disk alone: {what}", "ms") for what in ("p99", "slowest")],
        ]
        for name in KINDS
    }
    for _ in range(args.runs):
        for name, kinds in KINDS.items():
            await_rest()
            rate, *latencies = table[name]
            rate.floors.append(_reference(kinds))
            full = _measure(args, kinds, 0.0)
            rate.values.append(full["answers"] / full["seconds"])
            half = _measure(args, kinds, rate.values[-1] / 2)
            keys = ("p50", "p99", "max", "disk p99", "disk max")
            for row, key in zip(latencies, keys, strict=True):
                row.values.append(half[key])
            print("\n".join(row.line() for row in table[name]), flush=True)
    print_table(row for rows in table.values() for row in rows)


def _measure(args: argparse.Namespace, kinds: tuple[SignatureType, ...], rate: float) -> dict[str, float]:
    """One new witness, all requests of all logs. Ends the benchmark at an answer that is not 200."""
    keys = [SigningKey(f"bench.example/{n}", SignatureType.ED25519, n.to_bytes(32)) for n in range(args.logs)]
    with directory() as path:
        create_witness(path / "w", NAME, kinds=kinds, logs=[key.verifier for key in keys])
        file = path / "requests"
        file.write_bytes(pickle.dumps(list(_requests(keys, args.requests))))
        with _served(path / "w") as (host, port):
            program = [
                sys.executable,
                str(ROOT / "bench" / "witness_load.py"),
                str(file),
                host,
                port,
                str(rate),
            ]
            with Stalls(path) as stalls:
                done = subprocess.run(program, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    told |= {"disk p99": 1000 * stalls.percentile(0.99), "disk max": 1000 * stalls.slowest}
    if told["wrong"] or told["missing"]:
        raise SystemExit(f"bench: answers that were not 200: {told}")
    return told


@contextmanager
def _served(path: Path) -> Iterator[tuple[str, str]]:
    program = [sys.executable, "-m", "tests.witness.program", str(path), ""]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        host, _, port = server.stdout.readline().decode().split()[0].rpartition(":")
        try:
            yield host, port
        finally:
            server.terminate()


# --- the logs ----------------------------------------------------------------------------------------------------


@cache
def _node(start: int, end: int) -> Hash:
    """All logs have the same leaves; the first million are one node that nothing looks into."""
    if end - start == 1 or (start, end) == (0, BASE):
        return Hash(random.Random(start << 64 | end).randbytes(32))
    split = start + (1 << (end - start - 1).bit_length() - 1)
    return node_hash(_node(start, split), _node(split, end))


def _subproof(old: int, start: int, end: int, *, whole: bool) -> list[Hash]:
    """RFC 6962, section 2.1.2."""
    if old == end:
        return [] if whole else [_node(start, end)]
    split = start + (1 << (end - start - 1).bit_length() - 1)
    if old <= split:
        return [*_subproof(old, start, split, whole=whole), _node(split, end)]
    return [*_subproof(old, split, end, whole=False), _node(start, split)]


def _requests(keys: list[SigningKey], count: int) -> Iterator[list[bytes]]:
    """The requests of each log, as they go over the wire."""
    source = random.Random(7)
    sizes = [0, BASE + 1]
    while len(sizes) <= count:
        sizes.append(sizes[-1] + source.randint(1, 50))
    grown = [
        (old, new, _subproof(old, 0, new, whole=True) if old else [], _node(0, new))
        for old, new in pairwise(sizes)
    ]
    for key in keys:
        yield [_request(key, *each) for each in grown]


def _request(key: SigningKey, old: int, new: int, proof: list[Hash], root: Hash) -> bytes:
    checkpoint = Checkpoint(key.name, TreeSize(new), root)
    note = format_note(Note(format_checkpoint_text(checkpoint), (sign_checkpoint(checkpoint, key),)))
    body = format_add_checkpoint(old, proof, note)
    head = f"POST /add-checkpoint HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _reference(kinds: tuple[SignatureType, ...]) -> float:
    """Requests a second of one core that only verified and signed."""
    log = SigningKey("bench.example/0", SignatureType.ED25519, bytes(32))
    own = [SigningKey(NAME, kind, bytes(32)) for kind in kinds]
    checkpoint = Checkpoint(log.name, TreeSize(BASE), Hash(bytes(32)))
    text = format_checkpoint_text(checkpoint)
    messages = {
        SignatureType.COSIGNATURE_ED25519: cosignature_message(text, 1_700_000_000),
        SignatureType.COSIGNATURE_MLDSA44: subtree_message(NAME, 1_700_000_000, checkpoint),
    }
    signature, count = log.sign(text), 500
    begun = time.perf_counter()
    for _ in range(count):
        log.verifier.is_signature(signature, text)
        for key in own:
            key.sign(messages[key.type])
    return count / (time.perf_counter() - begun)
