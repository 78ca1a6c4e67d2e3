"""What an operator says after an old copy of a witness was brought back.

The copy may be behind what the witness signed, so it sits out for every log until somebody says what was newest:
a checkpoint that bears the log's own signature, taken from the log, from a monitor, from another witness; or,
where nothing newer can be, that what the copy has is the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from merklelog.errors import DamagedError, ForkError, FormatError, PolicyUnmetError, StaleError, UsageError
from merklelog.formats import Note, format_note, parse_checkpoint
from merklelog.formats.wire import format_decimal, parse_decimal, quote
from merklelog.protocol.verdict import evaluate_policy
from merklelog.protocol.witness import policy_keys
from merklelog.store.witness_rows import WitnessRows

from .config import WitnessConfig
from .keys import load_keys
from .logs import KnownLogs, read_logs
from .state import DATABASE, log_key


@dataclass(frozen=True, slots=True)
class Resumed:
    """A log for which the witness signs again, from that size on."""

    origin: str
    size: int


def mark_restored(directory: Path) -> int:
    """From now on the witness sits out for every log, known or not; gives how often that was said before and now.

    Durable when it returns. Raises LockedError, StorageError, DamagedError.
    """
    rows = WitnessRows(directory / DATABASE)
    try:
        count = _count(rows.get(b"r")) + 1
        rows.put([(b"r", format_decimal(count, "count"))])
        rows.sync()
    finally:
        rows.close()
    return count


def resume(
    directory: Path, config: WitnessConfig, newest: Mapping[str, bytes], as_stored: Sequence[str]
) -> list[Resumed]:
    """Take the newest checkpoints known and sign again for their logs; the witness must not be running.

    `newest` has notes by the names that messages call them, `as_stored` origins whose stored checkpoint, or
    none, is the newest. All of it is taken, or nothing.

    Raises FormatError, SignatureError, PolicyUnmetError for a note that the policy for its log does not take,
    StaleError for one that is older than the stored, ForkError for another tree of its size, UsageError for a log
    that is not known or named twice, LockedError, StorageError.
    """
    own = load_keys(config.keys, config.name)
    logs = read_logs(config.logs, (key.verifier for key in own))
    rows = WitnessRows(directory / DATABASE)
    try:
        cleared = format_decimal(_count(rows.get(b"r")), "count")
        changes: list[tuple[bytes, bytes | None]] = []
        done: list[Resumed] = []
        for what, data in newest.items():
            origin, size, note = _checked(rows, logs, what, data)
            done.append(Resumed(origin, size))
            if note is not None:
                changes.append((log_key(b"c", origin), note))
        for origin in as_stored:
            if logs.policy(origin) is None:
                raise UsageError(f"{quote(origin)}: this witness knows no log of that origin")
            done.append(Resumed(origin, _stored_size(rows, origin)))
        _check_once(done)
        for each in done:
            changes += [(log_key(b"w", each.origin), None), (log_key(b"o", each.origin), cleared)]
        rows.put(changes)
        rows.sync()
    finally:
        rows.close()
    return done


def _checked(rows: WitnessRows, logs: KnownLogs, what: str, data: bytes) -> tuple[str, int, bytes | None]:
    """Origin and size of a note, and what is to be stored of it; None when that tree is stored already."""
    try:
        signed = parse_checkpoint(data)
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error
    checkpoint = signed.checkpoint
    policy = logs.policy(checkpoint.origin)
    if policy is None:
        raise UsageError(f"{what}: this witness knows no log {quote(checkpoint.origin)}")
    try:
        evaluate_policy(policy, signed)
    except PolicyUnmetError as error:
        raise PolicyUnmetError(f"{what}: {error}") from error
    stored = rows.get(log_key(b"c", checkpoint.origin))
    if stored is not None:
        before = parse_checkpoint(stored).checkpoint
        if checkpoint.size < before.size:
            raise StaleError(f"{what}: size {checkpoint.size}, the witness itself has {before.size}")
        if checkpoint.size == before.size:
            if checkpoint.root != before.root:
                text = f"{what}: another tree of size {before.size} than the witness signed"
                raise ForkError(text, stored, data)
            return checkpoint.origin, checkpoint.size, None
    known = {(key.name, key.key_id) for key in policy_keys(policy)}
    lines = tuple(line for line in signed.note.signatures if (line.name, line.key_id) in known)
    return checkpoint.origin, checkpoint.size, format_note(Note(signed.note.text, lines))


def _stored_size(rows: WitnessRows, origin: str) -> int:
    stored = rows.get(log_key(b"c", origin))
    return 0 if stored is None else parse_checkpoint(stored).checkpoint.size


def _check_once(done: Sequence[Resumed]) -> None:
    seen: set[str] = set()
    for each in done:
        if each.origin in seen:
            raise UsageError(f"{quote(each.origin)}: named twice")
        seen.add(each.origin)


def _count(value: bytes | None) -> int:
    try:
        return 0 if value is None else parse_decimal(value, "count")
    except FormatError as error:
        raise DamagedError(f"witness database: row 'r': {error}") from error
