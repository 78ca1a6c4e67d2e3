"""Records made ready for a log: checked, protected and in their canonical bytes, before anything waits for a lock.

Most records have no ID and claim nothing about their content, and nothing of them is protected: of these there are
the bytes and no more. A record never fails here for what it says: a check that breaks is a verdict like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from merklelog.errors import FormatError, MerklelogError
from merklelog.log.ingest_config import IngestConfig

from .canonical import RecordEncoder, record_identity
from .content_hash import judge_content
from .ids import id_key
from .model import content_hash_of, record_id_of
from .protect import Protect
from .record import Record
from .verdict import Verdict, make_verdicts

_log: Final = logging.getLogger("merklelog.ingest")
_ID: Final = b'"audit.record.id"'
_HASH: Final = b'"audit.content_hash"'
Lacking = Callable[[Record], tuple[str, ...]]


class Special(msgspec.Struct, frozen=True):
    """What is known of a record beside its bytes.

    `key` is what a repeat is found by: of its ID, else its identity where the log looks for those; None where
    nothing is looked for. `identity` is the hash of its bytes, empty without a key.
    """

    record_id: str | None = None
    key: bytes | None = None
    identity: bytes = b""
    content: Verdict | None = None
    protected: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()

    def verdicts(self, conflict_with: int | None) -> dict[str, Any]:
        """The `verdicts` of its entry."""
        return make_verdicts(self.content, conflict_with, self.incomplete)


@dataclass(frozen=True, slots=True)
class Ready:
    """Records as canonical bytes, and by position what is special about one."""

    data: list[bytes]
    specials: dict[int, Special]


class Maker:
    """Makes records ready as a log's configuration says. Any thread may use it.

    `protect` is None where nothing is protected.
    """

    def __init__(self, config: IngestConfig, protect: Protect | None = None) -> None:
        self._checks = config.check_content
        self._by_identity = config.dedupe_seconds > 0
        self._protect = protect

    def make(self, records: Iterable[Record], lacking: Lacking | None = None) -> Ready:
        """All of them, in their order, each done with before the next one is asked for.

        `lacking` says what a record lacks. Raises what `records` raises, and MerklelogError for a record with a
        value that is not of JSON.
        """
        data: list[bytes] = []
        specials: dict[int, Special] = {}
        encode = RecordEncoder().encode
        for record in records:
            stored, told = (record, ()) if self._protect is None else self._protect.apply(record)
            try:
                encoded = encode(stored)
            except FormatError as error:  # no sender's fault: what it said was parsed
                raise MerklelogError(f"a record that was parsed can not be written: {error}") from error
            # What arrived is checked, not what is stored of it.
            lacks = () if lacking is None else lacking(record)
            content = None
            if self._checks and (told or _HASH in encoded):
                content = _check(record)
            has_id = _ID in encoded
            if has_id or content is not None or told or lacks or self._by_identity:
                special = self._special(stored, encoded, content, told, lacks, has_id)
                specials[len(data)] = special
            data.append(encoded)
        return Ready(data, specials)

    def _special(
        self,
        record: Record,
        encoded: bytes,
        content: Verdict | None,
        protected: tuple[str, ...],
        incomplete: tuple[str, ...],
        has_id: bool,
    ) -> Special:
        record_id = record_id_of(record) if has_id else None
        if record_id is None and not self._by_identity:
            return Special(None, None, b"", content, protected, incomplete)
        identity = record_identity(encoded)
        key = identity if record_id is None else id_key(record_id)
        return Special(record_id, key, identity, content, protected, incomplete)


def _check(record: Record) -> Verdict | None:
    try:
        claimed = content_hash_of(record)
        return None if claimed is None else judge_content(record, claimed).verdict
    except Exception:  # noqa: BLE001 - a record that breaks a check is stored like any other, and the log says what broke
        _log.exception("a content hash could not be checked")
        return Verdict.NOT_CHECKABLE


__all__ = ["Lacking", "Maker", "Ready", "Special"]
