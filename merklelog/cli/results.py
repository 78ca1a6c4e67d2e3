"""What `--json` prints, a class a command: the names here are an interface and stay.

Hashes are 64 lowercase hex digits, times POSIX seconds, signed notes their text, entries base64. Every key is
always there; what does not apply is null. docs/commands/ has a JSON schema of each, made from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

Origin = Annotated[str, "the log's name, the first line of its checkpoints"]
Size = Annotated[int, "the size of the tree that this is about"]
Root = Annotated[str, "the root hash at that size"]
Vkeys = Annotated[
    list[str], "the log's verifier keys: Ed25519, ML-DSA-44, and where it has one the key of its receipts"
]
LogKey = Annotated[str, "the verifier key of the log that signed"]


@dataclass(frozen=True, slots=True)
class CosignerResult:
    """A witness of the policy that cosigned."""

    name: Annotated[str, "its name in the policy"]
    vkey: Annotated[str, "its verifier key"]
    time: Annotated[int, "the earliest time at which it signed"]


Cosigners = Annotated[list[CosignerResult], "the policy's witnesses that cosigned"]
ExistedBy = Annotated[int | None, "a quorum had cosigned by then; null when the policy's quorum is none"]


@dataclass(frozen=True, slots=True)
class EntryResult:
    """One verified entry."""

    index: Annotated[int, "its index"]
    leaf_hash: Annotated[str, "its leaf hash (RFC 6962 section 2.1)"]
    data: Annotated[str, "its bytes, in base64"]
