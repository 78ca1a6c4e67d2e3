"""A verdict of the offline half, as results and lines show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from merklelog.cli.results import CosignerResult
from merklelog.cli.session import visible
from merklelog.cli.trust import utc, witness_name
from merklelog.formats import VerifierKey, format_vkey
from merklelog.protocol import Cosigner


def cosigner_results(cosigners: Sequence[Cosigner]) -> list[CosignerResult]:
    """For `--json`."""
    return [
        CosignerResult(witness_name(each), format_vkey(each.witness.key), each.timestamp)
        for each in cosigners
    ]


def signer_lines(
    log_key: VerifierKey, cosigners: Sequence[Cosigner], existed_by: int | None
) -> Iterator[str]:
    """Who signed, and since when the entry existed."""
    kind = "ML-DSA-44" if log_key.type.is_mldsa else "Ed25519"
    yield f"signed by  {visible(log_key.name)} ({kind} key {log_key.key_id.hex()})"
    for each in cosigners:
        yield f"cosigned   {witness_name(each)} at {utc(each.timestamp)}"
    if existed_by is not None:
        yield f"existed by {utc(existed_by)}"
