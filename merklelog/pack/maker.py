"""A pack made: from entries that were verified on their way, and verified again on theirs into the pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final, Protocol

from merklelog.errors import DamagedError, RangeError
from merklelog.formats import Checkpoint, Policy, format_policy, parse_checkpoint
from merklelog.pack.fold import RangeFold, beside
from merklelog.pack.layout import CHECKPOINT, POLICY, PROOF, README, format_entries, spans
from merklelog.pack.page import format_page
from merklelog.pack.statement import Statement, format_statement
from merklelog.pack.zipped import ZipWriter
from merklelog.protocol import PolicyVerdict, evaluate_policy
from merklelog.tree import Hash, leaf_hashes

_ABOUT_POLICY: Final = b"""\
# The policy under which this pack was made, for information. A verifier never reads it: whoever made the
# pack could have written anything here. Bring your own.
"""


class PackSource(Protocol):
    """A log as a pack is made from it; it raises errors of this project that say what was wrong where."""

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """The entries [start, end) of the tree under the pack's checkpoint, in order."""

    def proof(self, index: int) -> Sequence[Hash]:
        """The inclusion proof of an entry in that tree, verified (RFC 9162 section 2.1.3)."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pack that was written: its entries [start, end), the checkpoint, why that meets the policy, and bytes."""

    start: int
    end: int
    checkpoint: Checkpoint
    verdict: PolicyVerdict
    size: int
    entry_bytes: int


def make_pack(
    write: Callable[[bytes], object],
    source: PackSource,
    note: bytes,
    policy: Policy,
    start: int,
    end: int,
    *,
    progress: Callable[[int], object] | None = None,
) -> Made:
    """Write the pack of the entries [start, end) under the signed checkpoint `note`.

    `policy` is what the checkpoint must meet, and what the pack says about the log for information. Holds 1,024
    entries at a time; `progress` is told how many are written. Raises RangeError for a range without entries or
    beyond the checkpoint; DamagedError when the entries do not lead to its root (what was written is no pack then,
    and has no end); and what `evaluate_policy`, `source` and `write` raise.
    """
    signed = parse_checkpoint(note)
    checkpoint = signed.checkpoint
    verdict = evaluate_policy(policy, signed)
    if not 0 <= start < end <= checkpoint.size:
        raise RangeError(
            f"entries {start}:{end}: want one or more, below the checkpoint's size {checkpoint.size}"
        )
    hashes = beside(start, end, checkpoint.size, source.proof(start), source.proof(end - 1))
    told = _ABOUT_POLICY + format_policy(policy)
    statement = Statement(start, end, Hash(sha256(told).digest()), hashes)
    out = ZipWriter(write)
    out.add(README, format_page(start, end, checkpoint))
    out.add(PROOF, format_statement(statement))
    out.add(CHECKPOINT, note)
    out.add(POLICY, told)
    fold = RangeFold(start, end, checkpoint.size, hashes)
    entries = source.entries(start, end)
    length = 0
    for first, stop in spans(start, end):
        part = list(islice(entries, stop - first))
        if len(part) != stop - first:
            raise DamagedError(f"entries {first}:{stop}: the log gave {len(part)} of them")
        fold.push(b"".join(leaf_hashes(part)))
        out.add(*format_entries(first, part))
        length += sum(map(len, part))
        if progress is not None:
            progress(stop - start)
    if (root := fold.root()) != checkpoint.root:
        raise DamagedError(
            f"entries {start}:{end}: they lead to root {root.hex()}, the checkpoint's is {checkpoint.root.hex()}"
        )
    out.close()
    return Made(start, end, checkpoint, verdict, out.length, length)
