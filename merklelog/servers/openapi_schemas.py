"""The values that answers of the HTTP door hold, as JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

DECIMAL: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "format": "int64"}
_HASH: Final[Schema] = {
    "type": "string",
    "contentEncoding": "base64",
    "minLength": 44,
    "maxLength": 44,
    "description": "32 bytes as base64",
}
_HASHES: Final[Schema] = {"type": "array", "items": _HASH, "maxItems": 126}
_APPENDED_NOTE: Final[Schema] = {
    "type": "string",
    "description": "The signed note over that size: a checkpoint where epoch is null, else a receipt note",
}
_EPOCH: Final[Schema] = {**DECIMAL, "type": ["integer", "null"], "minimum": 1}
_LEVEL_REACHED: Final[Schema] = {"type": "string", "enum": ["integrated", "published"]}
_NOTE: Final[Schema] = {
    "type": ["string", "null"],
    "description": "The signed checkpoint (c2sp.org/tlog-checkpoint) of that size; null where none is stored",
}


def _object(description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


_TEXT: Final[Schema] = {"type": "string"}
_HIT: Final = _object(
    "An entry that the query fits: the index of the first of the `entries` that its record stands in, its time "
    "(nanoseconds since 1970; 0 for none), its fields, and where asked for its bytes and a proof file",
    index=DECIMAL,
    entries={**DECIMAL, "minimum": 1},
    time_unix_nano={"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
    fields={"type": "object", "additionalProperties": _TEXT},
    data={"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
    proof=_TEXT,
)
SCHEMAS: Final[dict[str, Schema]] = {
    "Found": _object(
        "Hits in order of time. The index has the entries before `indexed_size`, which are under `checkpoint`; "
        "the log has `tree_size`. `total` is null on later pages, `cursor` empty on the last",
        hits={"type": "array", "items": _HIT},
        total={"type": ["integer", "null"], "format": "int64"},
        cursor=_TEXT,
        indexed_size=DECIMAL,
        tree_size=DECIMAL,
        checkpoint=_TEXT,
        counts={
            "type": "array",
            "items": _object("A value in lower case, and its entries", value=_TEXT, entries=DECIMAL),
        },
        buckets={
            "type": "array",
            "items": _object(
                "A span of time by its first second, and its entries", second=DECIMAL, entries=DECIMAL
            ),
        },
        bucket_seconds=DECIMAL,
        untimed=DECIMAL,
    ),
    "Problem": {
        "type": "object",
        "description": "What went wrong (RFC 9457)",
        "required": ["status", "reason", "message"],
        "properties": {
            "status": {"type": "integer", "description": "the status code"},
            "reason": {"type": "string", "description": "a stable word for programs, such as OUT_OF_RANGE"},
            "message": {"type": "string", "description": "what was wrong with which value"},
            "field": {
                "type": "string",
                "description": "the parameter or header to blame, where there is one",
            },
        },
        "additionalProperties": False,
    },
    "Appended": _object(
        "An entry that was appended, how far it has come, and its inclusion proof, lowest hash first",
        index=DECIMAL,
        leaf_hash=_HASH,
        size=DECIMAL,
        level=_LEVEL_REACHED,
        epoch=_EPOCH,
        note=_APPENDED_NOTE,
        proof=_HASHES,
    ),
    "InclusionProof": _object(
        "An inclusion proof, lowest hash first (RFC 6962, section 2.1.1)",
        index=DECIMAL,
        size=DECIMAL,
        leaf_hash=_HASH,
        proof=_HASHES,
        checkpoint=_NOTE,
    ),
    "RangeProof": _object(
        "One proof for all entries of [start, end): the hashes of the perfect subtrees left of the range, then of "
        "those right of it, both from left to right; with the range's leaf hashes they make the root",
        start=DECIMAL,
        end=DECIMAL,
        size=DECIMAL,
        proof=_HASHES,
        checkpoint=_NOTE,
    ),
    "ConsistencyProof": _object(
        "A consistency proof (RFC 6962, section 2.1.2)",
        old=DECIMAL,
        new=DECIMAL,
        proof=_HASHES,
        checkpoint=_NOTE,
    ),
}


__all__ = ["DECIMAL", "SCHEMAS", "Schema"]
