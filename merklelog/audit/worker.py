"""A worker process of an audit: tasks come in on standard input, results go out on standard output.

One JSON value a line. The first line in is a `Setup`, every other one a task; each line out answers one task, or
is `{"error": [class, text]}`, after which the worker ends. It ends quietly when its input ends: then the audit is
over, or its process is gone.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from merklelog.audit.heads import HeadClaim, HeadReader
from merklelog.audit.report import AuditFinding, FindingKind, Findings
from merklelog.audit.rows import open_rows
from merklelog.audit.scan import Scanned, Task, scan
from merklelog.client.access import Access
from merklelog.client.retry import Retry
from merklelog.errors import MerklelogError
from merklelog.formats import format_vkey, parse_vkey
from merklelog.formats.keys import VerifierKey
from merklelog.publish.s3_options import S3Options
from merklelog.tree import Hash

ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker has to know before its first task."""

    target: str
    size: int
    origin: str
    keys: tuple[VerifierKey, ...]
    access: Access = field(default_factory=Access)
    pinned: Mapping[str, str] = field(default_factory=dict)


def format_setup(setup: Setup) -> bytes:
    """One line."""
    keys = [format_vkey(key) for key in setup.keys]
    told = {"target": setup.target, "size": setup.size, "origin": setup.origin, "keys": keys}
    return _line({**told, "access": _words(setup.access), "pinned": dict(setup.pinned)})


def parse_setup(line: bytes) -> Setup:
    """Reads a line that this module wrote, in another process."""
    raw = json.loads(line)
    keys = tuple(parse_vkey(text) for text in raw["keys"])
    access = raw["access"]
    s3 = None if access["s3"] is None else S3Options(**access["s3"])
    return Setup(
        raw["target"],
        raw["size"],
        raw["origin"],
        keys,
        Access(**{**access, "retry": Retry(**access["retry"]), "s3": s3}),
        raw["pinned"],
    )


def _words(access: Access) -> dict[str, object]:
    """An access as JSON has it: paths as text, and where this process is at home in them."""
    paths = {name: getattr(access, name) for name in ("ca", "cert", "key")}
    # Locks are for who writes, and nothing here does.
    s3 = None if access.s3 is None else asdict(replace(access.s3, retention=None))
    return {
        **{name: None if path is None else str(Path(path).absolute()) for name, path in paths.items()},
        "token": access.token,
        "token_in_clear": access.token_in_clear,
        "retry": asdict(access.retry),
        "s3": s3,
    }


def format_task(task: Task) -> bytes:
    """One line."""
    return _line([task.first, task.last, task.sizes])


def parse_task(line: bytes) -> Task:
    """Reads a line that this module wrote, in another process."""
    first, last, sizes = json.loads(line)
    return Task(first, last, tuple(sizes))


def format_scanned(found: Scanned) -> bytes:
    """One line; the task itself stays with who gave it."""
    return _line(
        {
            "roots": [_hex(root) for root in found.roots],
            "peaks": [(height, _hex(digest)) for height, digest in found.peaks],
            "heads": [(head.size, _hex(head.root), _hex(head.tail)) for head in found.heads],
            "findings": [(f.kind, f.where, f.detail, f.entries, f.disproven) for f in found.findings],
            "counts": [found.unlisted, found.bundles, found.tiles, found.bytes],
        }
    )


def parse_scanned(line: bytes, task: Task) -> Scanned:
    """Reads a line that this module wrote, in another process."""
    raw = json.loads(line)
    return Scanned(
        task,
        tuple(_hash(root) for root in raw["roots"]),
        tuple((height, _hash(digest)) for height, digest in raw["peaks"]),
        tuple(HeadClaim(size, _hash(root), _hash(tail)) for size, root, tail in raw["heads"]),
        tuple(
            AuditFinding(FindingKind(kind), where, detail, tuple(entries) if entries else None, disproven)
            for kind, where, detail, entries, disproven in raw["findings"]
        ),
        *raw["counts"],
    )


def _hex(digest: Hash | None) -> str | None:
    return None if digest is None else digest.hex()


def _hash(text: str | None) -> Hash | None:
    return None if text is None else Hash(bytes.fromhex(text))


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def main() -> None:
    """Answer tasks until the input ends."""
    # Ctrl-C reaches every process of the terminal; the audit's own process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = sys.stdout.buffer
    try:
        for answer in _answers():
            out.write(answer)
            out.flush()
    except MerklelogError as error:
        out.write(_line({ERROR: [type(error).__name__, str(error)]}))
        out.flush()
    except BrokenPipeError:
        # The audit is gone. Python would complain of the same once more when it flushes at exit.
        sys.stdout = None


def _answers() -> Iterator[bytes]:
    lines = sys.stdin.buffer
    first = lines.readline()
    if not first:
        return
    setup = parse_setup(first)
    # What stands in the way of opening is told by the audit's own process, which opened the same target before.
    with closing(open_rows(setup.target, Findings(), setup.access, pinned=setup.pinned)) as rows:
        heads = HeadReader(rows, setup.origin, setup.keys)
        for line in lines:
            yield format_scanned(scan(rows, setup.size, parse_task(line), heads))
