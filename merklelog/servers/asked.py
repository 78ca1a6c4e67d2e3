"""Reading requests: what a field may hold, and which field was wrong when it does not hold that."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from merklelog.errors import FieldError, LevelError
from merklelog.formats import MAX_ENTRY
from merklelog.log import Log
from merklelog.tree import HASH_SIZE, Hash
from merklelog.v1 import log_pb2 as pb

from .reserved import WHY as RESERVED
from .reserved import any_reserved, is_reserved
from .served import MAX_BATCH_ENTRIES, has_targets, has_witnesses

MAX_KEY_BYTES: Final = 128
IDENTITY_BYTES: Final = 32
SIZE_LIMIT: Final = 2**63
_LEVELS: Final[dict[int, str]] = {value: name for name, value in pb.Level.items()}
_identity, _key = attrgetter("identity"), attrgetter("idempotency_key")


class Appended(NamedTuple):
    """What a batch asks a log to append; None where no entry has an identity or a key of its own."""

    entries: list[bytes]
    identities: list[bytes | None] | None
    keys: list[bytes | None] | None
    key: bytes | None


def check_level(field: str, level: int, log: Log) -> int:
    """The level asked for, its default filled in.

    Raises FieldError for what is no level, LevelError for one that the log has not.
    """
    if level in (pb.LEVEL_UNSPECIFIED, pb.LEVEL_INTEGRATED):
        return pb.LEVEL_INTEGRATED
    if level not in _LEVELS:
        raise FieldError(field, f"{level} is no level: want one of {', '.join(_LEVELS.values())}")
    if level == pb.LEVEL_PUBLISHED and has_targets(log):
        return pb.LEVEL_PUBLISHED
    if level == pb.LEVEL_WITNESSED and has_witnesses(log):
        return pb.LEVEL_WITNESSED
    missing = "publish target" if level == pb.LEVEL_PUBLISHED else "witness policy"
    raise LevelError(f"{field}: {_LEVELS[level]}: this log has no {missing}")


def check_detail(detail: int, *, proofs: bool = True) -> int:
    """The detail asked for, its default filled in. Raises FieldError."""
    if detail in (pb.DETAIL_UNSPECIFIED, pb.DETAIL_INDEX):
        return pb.DETAIL_INDEX
    allowed = (pb.DETAIL_INDEX, pb.DETAIL_CHECKPOINT, *((pb.DETAIL_PROOF,) if proofs else ()))
    if detail not in allowed:
        names = ", ".join(name for name, value in pb.Detail.items() if value in allowed)
        raise FieldError("detail", f"{detail} is not to be had here: want one of {names}")
    return detail


def check_size(field: str, value: int) -> int:
    """Raises FieldError unless it is below 2**63, as every index and size is."""
    if value >= SIZE_LIMIT:
        raise FieldError(field, f"{value}: want less than 2**63")
    return value


def check_hash(field: str, value: bytes) -> Hash:
    """Raises FieldError unless it is 32 bytes."""
    if len(value) != HASH_SIZE:
        raise FieldError(field, f"{len(value)} bytes: want {HASH_SIZE}")
    return Hash(value)


def check_data(field: str, data: bytes) -> bytes:
    """Raises FieldError for an entry that is too long, or one that the log alone may write."""
    if len(data) > MAX_ENTRY:
        raise FieldError(field, f"{len(data):,} bytes: an entry has at most {MAX_ENTRY:,}")
    if is_reserved(data):
        raise FieldError(field, RESERVED)
    return data


def check_key(field: str, key: bytes) -> bytes | None:
    """An idempotency key, None for an empty one. Raises FieldError."""
    if len(key) > MAX_KEY_BYTES:
        raise FieldError(field, f"{len(key)} bytes: a key has 1 to {MAX_KEY_BYTES}")
    return key or None


def check_identity(field: str, identity: bytes, log: Log) -> bytes | None:
    """An entry's identity, None for an empty one. Raises FieldError."""
    if not identity:
        return None
    if not log.config.dedupe:
        raise FieldError(field, "this log does not dedupe (log.dedupe = false): want none")
    if len(identity) != IDENTITY_BYTES:
        raise FieldError(field, f"{len(identity)} bytes: want {IDENTITY_BYTES}")
    return identity


def appended(entries: Sequence[pb.NewEntry], key: bytes, log: Log) -> Appended:
    """What a batch asks for. Raises FieldError.

    Entries are looked at one by one only when one of them has more than its bytes: a thousand of them cost a few
    passes in C.
    """
    items = list(entries)
    if not 1 <= len(items) <= MAX_BATCH_ENTRIES:
        raise FieldError("entries", f"{len(items):,} of them: want 1 to {MAX_BATCH_ENTRIES:,}")
    data = [item.data for item in items]
    if max(map(len, data)) > MAX_ENTRY or any_reserved(data):
        for i, each in enumerate(data):
            check_data(f"entries[{i}].data", each)
    whole = check_key("idempotency_key", key)
    identities = keys = None
    if any(map(_identity, items)):
        identities = [
            check_identity(f"entries[{i}].identity", item.identity, log) for i, item in enumerate(items)
        ]
    if any(map(_key, items)):
        if whole is not None:
            raise FieldError("idempotency_key", "the entries have keys of their own: want one or the other")
        keys = [
            check_key(f"entries[{i}].idempotency_key", item.idempotency_key) for i, item in enumerate(items)
        ]
    return Appended(data, identities, keys, whole)
