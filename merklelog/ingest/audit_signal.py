"""POST /v1/audit of the draft OpenTelemetry audit signal: what its records must have, and what a sender is told.

Values and decisions only; `servers.http_audit` is the door. Source: "Audit Record Data Model" and "Audit Logging
Collector (Tier-2)" of the draft, open-telemetry/opentelemetry-specification pull request 5059, with the names of
its answers. What is ours beside them: `index`, `receipt` and what the entry says of the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from merklelog.errors import FormatError
from merklelog.formats import ProofFile, format_proof
from merklelog.formats.wire import quote
from merklelog.tree import Hash

from .canonical import decode_record
from .content_hash import judge_content
from .entry import Entry
from .model import content_hash_of, record_id_of
from .values import text_of
from .verdict import INCOMPLETE, Verdict, conflict_of, content_verdict

PATH: Final = "/v1/audit"
MANDATORY: Final = ("audit.record.id", "audit.actor.id", "audit.actor.type", "audit.action", "audit.outcome")
# The draft's words for what became of a record, and two that it has not.
DELIVERED: Final = "delivered_all_sinks"
CONFLICT: Final = "conflict"
REFUSED_HASH: Final = "rejected_verify_failed"
REFUSED_SCHEMA: Final = "rejected_schema_invalid"
REFUSED_CALLER: Final = "rejected_authz"
FAILED: Final = "failed_internal"
_VERIFIED: Final[Mapping[Verdict | None, str]] = {Verdict.OK: "passed", Verdict.MISMATCH: "failed"}


class RecordTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender of one record is told. `receipt` is a proof file's text, which may lead to a receipt note;
    `sink_timestamp` is the intake time in nanoseconds, `integrity_hash` the SHA-256 of the record as it is stored.
    """

    record_id: str
    status: str
    integrity_hash: str
    sink_timestamp: str
    verify_status: str
    sink_status_map: dict[str, str]
    index: int
    level: str
    receipt: str
    entries: int = 1
    epoch: int | None = None
    duplicate: bool = False
    content_hash: str | None = None
    conflict_with: int | None = None
    incomplete: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    reason: str | None = None


class BatchTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender of several is told; `other_records` are those that the map can not hold: a record without an
    ID, or of one that came before it.
    """

    batch_id: str
    status: str
    record_status_map: dict[str, RecordTold]
    sink_status_aggregate: str
    other_records: tuple[RecordTold, ...] = ()


class RefusalTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sender is told whose request was not stored. `retry_after` is in seconds."""

    status: str
    reason: str
    retry_after: float | None = None
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry of a record as it stands in the log, and its proof to a signed note at one level."""

    index: int
    entry: Entry
    duplicate: bool
    level: str
    epoch: int | None
    note: bytes
    proof: Sequence[Hash]


def missing(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What the draft demands and the record has not or has empty: its names, in the draft's order."""
    there = {each["key"] for each in record.get("attributes", ()) if text_of(each.get("value"))}
    fields = [name for name in ("timeUnixNano", "eventName") if not record.get(name)]
    return (*fields, *(name for name in MANDATORY if name not in there))


def refusals(records: Sequence[Mapping[str, Any]], setting: str) -> tuple[str, list[str]] | None:
    """What of a request is refused by `ingest.refuse`: the draft's status, and why for each record; None: nothing.

    A direct caller hears of it and can mend it, so nothing of the request is stored.
    """
    if setting in {"mismatch", "both"} and (wrong := _mismatches(records)):
        return REFUSED_HASH, wrong
    if setting in {"incomplete", "both"}:
        lacking = [(at, names) for at, record in enumerate(records) if (names := missing(record))]
        if lacking:
            return REFUSED_SCHEMA, [f"record {at}: without {', '.join(names)}" for at, names in lacking]
    return None


def _mismatches(records: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for at, record in enumerate(records):
        claimed = content_hash_of(record)
        if claimed is not None and (judged := judge_content(record, claimed)).verdict is Verdict.MISMATCH:
            found.append(f"record {at}: audit.content_hash: {judged.reason}")
    return found


def record_told(origin: str, stored: Proven) -> RecordTold:
    """The answer for one record. Raises FormatError for an entry without a log part."""
    entry, part = stored.entry, stored.entry.part
    record = decode_record(entry.record_bytes)
    verdicts = {} if part is None else part.verdicts
    verdict, conflict = content_verdict(verdicts), conflict_of(verdicts)
    reasons = []
    if conflict is not None:
        reasons.append(f"entry {conflict} has this record ID and other content; both are kept")
    if verdict is Verdict.MISMATCH:
        reasons.append("the content hash is not that of the body; kept, with this verdict")
    incomplete = tuple(verdicts.get(INCOMPLETE, ()))
    if incomplete:
        reasons.append(f"kept, though it came without {', '.join(incomplete)}")
    proof = format_proof(ProofFile(stored.index, tuple(stored.proof), stored.note))
    return RecordTold(
        record_id=record_id_of(record) or "",
        status=DELIVERED if conflict is None else CONFLICT,
        integrity_hash=hashlib.sha256(entry.record_bytes).hexdigest(),
        sink_timestamp=str(0 if part is None else part.time),
        verify_status=_VERIFIED.get(verdict, "deferred"),
        sink_status_map={origin: "success"},
        index=stored.index,
        level=stored.level,
        receipt=proof.decode("utf-8"),
        entries=1 if part is None or part.split is None else part.split.parts,
        epoch=stored.epoch,
        duplicate=stored.duplicate,
        content_hash=None if verdict is None else verdict.value,
        conflict_with=conflict,
        incomplete=incomplete,
        protected=() if part is None else part.protected,
        reason="; ".join(reasons) or None,
    )


def batch_told(origin: str, told: Sequence[RecordTold]) -> BatchTold:
    """The answer for several records, in the order in which they came."""
    by_id: dict[str, RecordTold] = {}
    for each in told:
        if each.record_id:
            by_id.setdefault(each.record_id, each)
    others = [each for each in told if by_id.get(each.record_id) is not each]
    conflicts = any(each.status == CONFLICT for each in told)
    return BatchTold(
        batch_id=f"{origin}:{told[0].index}-{told[-1].index}",
        status=CONFLICT if conflicts else DELIVERED,
        record_status_map=by_id,
        sink_status_aggregate="success",
        other_records=tuple(others),
    )


def receipt_in(answer: bytes, record_id: str | None = None) -> bytes:
    """The proof file in an answer of POST /v1/audit, of the record of that ID where the answer is for several.

    Raises FormatError for bytes that are no such answer, and naming the IDs where it is not clear which is meant.
    """
    try:
        told = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"an answer of {PATH}: not JSON: {error}") from None
    rows = _rows(told)
    if record_id is not None:
        rows = [row for row in rows if row.get("record_id") == record_id]
        if not rows:
            raise FormatError(f"an answer of {PATH}: no record of ID {quote(record_id[:255].encode())} in it")
    if not rows:
        raise FormatError(f"an answer of {PATH}: it has no receipt")
    if len(rows) > 1:
        ids = ", ".join(str(row.get("record_id", "")) for row in rows[:5])
        raise FormatError(f"an answer of {PATH}: {len(rows)} records, say which by its ID: {ids[:500]}")
    return str(rows[0]["receipt"]).encode("utf-8", "surrogatepass")


def _rows(told: object) -> list[dict[str, Any]]:
    """What an answer says of each record that it has a receipt of."""
    if not isinstance(told, dict):
        return []
    by_id, others = told.get("record_status_map"), told.get("other_records")
    rows = [told]
    rows += list(by_id.values()) if isinstance(by_id, dict) else []
    rows += others if isinstance(others, list) else []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("receipt"), str)]


__all__ = [
    "CONFLICT",
    "DELIVERED",
    "FAILED",
    "MANDATORY",
    "PATH",
    "REFUSED_CALLER",
    "REFUSED_HASH",
    "REFUSED_SCHEMA",
    "BatchTold",
    "Proven",
    "RecordTold",
    "RefusalTold",
    "batch_told",
    "missing",
    "receipt_in",
    "record_told",
    "refusals",
]
