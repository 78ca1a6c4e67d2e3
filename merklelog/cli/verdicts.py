"""A verdict of the offline half, as results and lines show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from merklelog.cli.results import CosignerResult
from merklelog.cli.session import visible
from merklelog.cli.trust import utc, witness_name
from merklelog.formats import Policy, VerifierKey, format_vkey, parse_checkpoint
from merklelog.protocol import Cosigner, PolicyVerdict, evaluate_policy


def cosigner_results(cosigners: Sequence[Cosigner]) -> list[CosignerResult]:
    """For `--json`."""
    return [
        CosignerResult(witness_name(each), format_vkey(each.witness.key), each.timestamp)
        for each in cosigners
    ]


def note_verdict(note: bytes, trusted: Policy | None) -> PolicyVerdict | None:
    """What the caller's policy says of a checkpoint that was verified already; None where there is no policy.

    A log's own keys, which stand in for one at its own directory, give no cosigner and no time.
    """
    return None if trusted is None else evaluate_policy(trusted, parse_checkpoint(note))


def existed_lines(existed_by: int | None) -> Iterator[str]:
    """Since when at the latest, where a quorum said so."""
    if existed_by is not None:
        yield f"existed by {utc(existed_by)}"


def signer_lines(
    log_key: VerifierKey, cosigners: Sequence[Cosigner], existed_by: int | None
) -> Iterator[str]:
    """Who signed, and since when the entry existed."""
    kind = "ML-DSA-44" if log_key.type.is_mldsa else "Ed25519"
    yield f"signed by  {visible(log_key.name)} ({kind} key {log_key.key_id.hex()})"
    for each in cosigners:
        yield f"cosigned   {witness_name(each)} at {utc(each.timestamp)}"
    yield from existed_lines(existed_by)
