"""A log in memory, packs of it, and packs that somebody meddled with."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

from merklelog.formats import (
    Checkpoint,
    Note,
    Policy,
    SignatureType,
    SigningKey,
    format_checkpoint_text,
    format_note,
    format_vkey,
    parse_policy,
    sign_checkpoint,
)
from merklelog.pack import PackVerdict, make_pack, verify_pack
from merklelog.tree import Hash, NodeId, TreeSize, leaf_hash, node_hash, prove_inclusion, root_hash

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "verify_pack.py"
ORIGIN = "packs.example/log"

Files = list[tuple[str, bytes]]


def key(name: str, kind: SignatureType, seed: int) -> SigningKey:
    """The same key at each run."""
    return SigningKey(name, kind, bytes([seed]) * 32)


LOG = key(ORIGIN, SignatureType.ED25519, 1)
LOG_MLDSA = key(ORIGIN, SignatureType.COSIGNATURE_MLDSA44, 2)
OTHER = key(ORIGIN, SignatureType.ED25519, 3)
WITNESSES = [key(f"witness{i}.example", SignatureType.COSIGNATURE_ED25519, 10 + i) for i in range(3)]
WITNESS_MLDSA = key("witness0.example", SignatureType.COSIGNATURE_MLDSA44, 20)


def vkey(signer: SigningKey) -> str:
    return format_vkey(signer.verifier)


def policy_text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


KEY_ALONE = policy_text(f"log {vkey(LOG)}", "quorum none")
TWO_OF_THREE = policy_text(
    f"log {vkey(LOG)}",
    *(f"witness w{i} {vkey(witness)}" for i, witness in enumerate(WITNESSES)),
    "group most 2 w0 w1 w2",
    "quorum most",
)


@dataclass
class MemoryLog:
    """Entries, and the tree over them; `signers` with their times (None for the log's own) sign it."""

    entries: Sequence[bytes]
    signers: Sequence[tuple[SigningKey, int]] = ((LOG, 0),)
    origin: str = ORIGIN
    note: bytes = field(init=False)

    def __post_init__(self) -> None:
        leaves = [leaf_hash(entry) for entry in self.entries]

        @cache
        def node(height: int, index: int) -> Hash:
            if height == 0:
                return leaves[index]
            return node_hash(node(height - 1, 2 * index), node(height - 1, 2 * index + 1))

        self._node = node
        size = TreeSize(len(leaves))
        self.checkpoint = Checkpoint(self.origin, size, root_hash(size, self.read))
        lines = tuple(sign_checkpoint(self.checkpoint, signer, time) for signer, time in self.signers)
        self.note = format_note(Note(format_checkpoint_text(self.checkpoint), lines))

    def read(self, nodes: Sequence[NodeId]) -> list[Hash]:
        return [self._node(height, index) for height, index in nodes]

    def proof(self, index: int) -> list[Hash]:
        return prove_inclusion(index, len(self.entries), self.read)

    def pack(self, start: int, end: int, policy: bytes = KEY_ALONE) -> bytes:
        """A pack of [start, end)."""
        out = io.BytesIO()
        make_pack(out.write, _Source(self), self.note, parse_policy(policy), start, end)
        return out.getvalue()


class _Source:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.proof = log.proof

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        return iter(self._log.entries[start:end])


def lines_log(count: int, **more: object) -> MemoryLog:
    """Entries that are lines of text."""
    return MemoryLog([b'{"event":%d}' % i for i in range(count)], **more)  # type: ignore[arg-type]


def mixed_log(count: int, **more: object) -> MemoryLog:
    """Lines at first, and from index 1500 on some that are none."""
    return MemoryLog(
        [b"line %d" % i if i < 1500 or i % 3 else bytes([i % 256, 10]) * (i % 5) for i in range(count)],
        **more,  # type: ignore[arg-type]
    )


def judge(pack: bytes, policy: bytes | Policy = KEY_ALONE) -> PackVerdict:
    """What merklelog says of a pack."""
    return verify_pack(io.BytesIO(pack), parse_policy(policy) if isinstance(policy, bytes) else policy)


def files_of(pack: bytes) -> Files:
    """A pack's files in their order, as any ZIP tool reads them."""
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of these files, as an ordinary tool writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


def changed(files: Files, name: str, data: bytes) -> Files:
    """The files, one of them with other bytes."""
    assert name in dict(files)
    return [(each, data if each == name else old) for each, old in files]


@lru_cache(maxsize=1)
def script() -> ModuleType:
    """The stand-alone program as a module, for what would take too long as processes."""
    spec = importlib.util.spec_from_file_location("verify_pack_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script_says(pack: bytes, policy: bytes = KEY_ALONE) -> tuple[int, str]:
    """The status and the words of the stand-alone program, called in this process."""
    module = script()
    try:
        return 0, "\n".join(module.verify(io.BytesIO(pack), module.read_policy(policy)))
    except module.Disproven as error:
        return 1, str(error)
    except module.BadCall as error:
        return 2, str(error)
    except module.Unknown as error:
        return 3, str(error)


def run_script(*words: object) -> subprocess.CompletedProcess[str]:
    """The stand-alone program as its users run it: isolated, and without this project's packages."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
