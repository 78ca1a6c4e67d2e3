"""The OpenAPI 3.1 description of the HTTP door, made for the logs that a server has.

`OPERATIONS` is one table, a row a route; tests hold it against the routes themselves and against what a running
server answers. Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from merklelog.formats import MAX_ENTRY
from merklelog.version import __version__

from .openapi_audit import AUDIT, AUDIT_SCHEMAS
from .openapi_rows import Operation, Parameter
from .openapi_schemas import SCHEMAS, Schema

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_INDEX: Final = Parameter("index", "path", "The entry's index")
_SIZE: Final = Parameter(
    "size", "query", "The tree size to prove in; without it that of the newest checkpoint"
)
_FIRST: Final = "x(00[1-9]|0[1-9][0-9]|[1-9][0-9]{2})"
_WIDTH: Final = "([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_TILE_INDEX: Final = Parameter(
    "tile",
    "path",
    "The index in groups of three digits, all but the last with an x before, and for a partial one .p/ and its "
    "width: 000, x001/234, 000.p/7. Its slashes are slashes of the path.",
    {"type": "string", "pattern": f"^({_FIRST}/(x[0-9]{{3}}/){{0,4}})?[0-9]{{3}}(\\.p/{_WIDTH})?$"},
)
_LEVEL: Final = Parameter(
    "level", "path", "The tile's level", {"type": "integer", "minimum": 0, "maximum": 63}
)
_HEX: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_EVENT_ID: Final = Parameter("Last-Event-ID", "header", "The index of the last entry that the client had")
_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "The same key and bytes again give the same index; with other bytes the answer is 409",
    {"type": "string", "minLength": 1, "maxLength": 128},
)
_WAIT: Final = Parameter(
    "merklelog-wait",
    "header",
    "How far the entry must have come before the answer. integrated: durable and in the tree; published: also "
    "under the checkpoint that readers of the log's publish targets see. What takes too long is answered 202. A "
    "level that a log has not configured is refused",
    {"type": "string", "enum": ["integrated", "published"], "default": "integrated"},
)
_PREFER: Final = Parameter(
    "Prefer",
    "header",
    "wait=N: wait for publication at most N seconds (RFC 7240)",
    {"type": "string", "pattern": "^wait=[0-9]{1,6}$"},
)
_SSE: Final = "text/event-stream"
_SEARCH: Final = (
    Parameter(
        "query", "query", "The query; without it every entry is meant", {"type": "string", "maxLength": 4_096}
    ),
    Parameter("limit", "query", "How many hits at most", {"type": "integer", "minimum": 1, "maximum": 1_000}),
    Parameter(
        "cursor",
        "query",
        "The cursor of an answer, for the page behind it",
        {"type": "string", "pattern": "^[ad][0-9]{1,20}-[0-9]{1,19}$"},
    ),
    Parameter("newest_first", "query", "Newest first, instead of oldest first", {"type": "boolean"}),
    Parameter("entries", "query", "Whether each hit comes with its entry", {"type": "boolean"}),
    Parameter("proofs", "query", "Whether each hit comes with a proof", {"type": "boolean"}),
    Parameter(
        "count_by", "query", "A field whose values are to be counted", {"type": "string", "minLength": 1}
    ),
    Parameter(
        "histogram_seconds",
        "query",
        "Seconds of each span of time to count entries in; 0: as long as makes some dozens of them",
        {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    ),
)

OPERATIONS: Final = (
    Operation("checkpoint", "getCheckpoint", "The newest signed checkpoint", _TEXT, "A signed note"),
    Operation(
        "checkpoint.witnessed",
        "getWitnessedCheckpoint",
        "The newest checkpoint with the cosignatures that the log's policy asks for; 404 where there is none",
        _TEXT,
        "A signed note",
        (),
        (404,),
    ),
    Operation(
        "checkpoints/{size}",
        "getStoredCheckpoint",
        "The checkpoint stored for a size; about one a second is",
        _TEXT,
        "A signed note",
        (Parameter("size", "path", "The tree size"),),
        (400, 404),
    ),
    Operation(
        "tile/{level}/{tile}",
        "getTile",
        "Hashes of the tree (c2sp.org/tlog-tiles)",
        _BYTES,
        "32 bytes a hash, as many as the tile is wide",
        (_LEVEL, _TILE_INDEX),
        (400, 404),
    ),
    Operation(
        "tile/entries/{tile}",
        "getBundle",
        "Entries (c2sp.org/tlog-tiles); gzip where the client takes it",
        _BYTES,
        "Each entry behind its length in two bytes, big-endian",
        (_TILE_INDEX,),
        (400, 404),
    ),
    Operation("entry/{index}", "getEntry", "One entry", _BYTES, "The entry's bytes", (_INDEX,), (400, 404)),
    Operation(
        "proof/{index}.tlog-proof",
        "getProofFile",
        "A proof that verifies offline (c2sp.org/tlog-proof)",
        _TEXT,
        "The proof file",
        (_INDEX, _SIZE),
        (400, 404),
    ),
    Operation(
        "proof/inclusion",
        "getInclusionProof",
        "The inclusion proof of an entry",
        "application/json",
        "The proof",
        (Parameter("index", "query", "The entry's index", required=True), _SIZE),
        (400, 404),
        {"$ref": "#/components/schemas/InclusionProof"},
    ),
    Operation(
        "proof/by-hash",
        "getInclusionProofByHash",
        "The inclusion proof of the first entry with a leaf hash; 404 where the log keeps no lookup",
        "application/json",
        "The proof",
        (Parameter("leaf_hash", "query", "SHA-256(0x00 || entry)", _HEX, required=True), _SIZE),
        (400, 404),
        {"$ref": "#/components/schemas/InclusionProof"},
    ),
    Operation(
        "proof/range",
        "getRangeProof",
        "One proof for all entries of a range",
        "application/json",
        "The proof",
        (
            Parameter("start", "query", "The first index", required=True),
            Parameter("end", "query", "The index after the last", required=True),
            _SIZE,
        ),
        (400, 404),
        {"$ref": "#/components/schemas/RangeProof"},
    ),
    Operation(
        "proof/consistency",
        "getConsistencyProof",
        "The proof that one tree begins another",
        "application/json",
        "The proof",
        (
            Parameter("old", "query", "The smaller size", required=True),
            Parameter("new", "query", "The larger size; without it that of the newest checkpoint"),
        ),
        (400, 404),
        {"$ref": "#/components/schemas/ConsistencyProof"},
    ),
    Operation(
        "search",
        "search",
        "What the log's index finds, in order of time; 404 where the log keeps none, or has none yet",
        "application/json",
        "A page of hits, and how far the index has come",
        _SEARCH,
        (400, 404, 429),
        {"$ref": "#/components/schemas/Found"},
        revalidated=False,
    ),
    Operation(
        "events/checkpoints",
        "watchCheckpoints",
        "The newest checkpoint and each later one, as server-sent events",
        _SSE,
        "Events of type checkpoint; id is the size, data the signed note",
        refusals=(400, 429),
        revalidated=False,
    ),
    Operation(
        "events/entries",
        "watchEntries",
        "Entries from an index on, for ever, as server-sent events",
        _SSE,
        "Events of type entry; id is the index, data the entry in base64",
        (Parameter("start", "query", "The first index; without it the log's size"), _EVENT_ID),
        (400, 429),
        revalidated=False,
    ),
    Operation(
        "add",
        "addEntry",
        "Append the body as an entry; the answer comes when it is durable",
        _TEXT,
        "The entry's index as a decimal, and a newline",
        (_KEY, _WAIT, _PREFER),
        (400, 403, 409, 410, 413, 415, 429, 503),
        {"type": "string", "pattern": "^(0|[1-9][0-9]*)\n$"},
        "post",
        revalidated=False,
        also=("application/json", {"$ref": "#/components/schemas/Appended"}),
        body={
            "required": True,
            "description": f"The entry: 0 to {MAX_ENTRY:,} bytes of any kind, stored as they are",
            "content": {_BYTES: {}},
        },
    ),
    replace(AUDIT, parameters=(_WAIT, _PREFER)),
    Operation("healthz", "getHealth", "Whether the process answers", _TEXT, "ok", server=True),
    Operation(
        "openapi.json", "getDescription", "This document", "application/json", "OpenAPI 3.1", server=True
    ),
)

_PHRASES: Final = {
    400: "A parameter, a header or the path can not be taken; or a level of waiting that is not configured",
    401: "The log asks for a token that allows this, and none was shown, or one that does not count",
    403: "The token does not allow this; or a page of another site may not append",
    404: "The log has no such thing now",
    409: "The idempotency key, or the record ID, was used before with other bytes",
    410: "The log has ended: it takes no appends ever again",
    413: f"The body is too long: an entry has at most {MAX_ENTRY:,} bytes",
    415: "The body is encoded, or of another type",
    429: "More is waiting than the server takes; nothing was stored",
    503: "The log takes no appends now",
}
_RETRY: Final = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_ETAG: Final = {"ETag": {"schema": {"type": "string"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"schema": {"type": "string"}}}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of the log, where it asks for one (RFC 6750); or a client certificate it knows",
}


def describe(prefixes: Sequence[str], *, publishes: bool = False, audits: bool = False) -> bytes:
    """The document, as JSON, of a server whose logs stand below these prefixes ("/" or "/name/").

    `publishes`: one of them has publish targets; `audits`: audit records are taken.
    """
    names = [prefix.strip("/") for prefix in prefixes if prefix != "/"]
    stem = "/{log}/" if names else "/"
    log = Parameter("log", "path", "Which log", {"type": "string", "enum": names})
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        if operation.audits and not audits:
            continue
        path = ("/" if operation.server else stem) + operation.path
        extra = (log,) if names and not operation.server else ()
        paths[path] = {operation.method: _described(operation, extra, publishes=publishes)}
    return msgspec.json.encode(
        {
            "openapi": "3.1.1",
            "info": {
                "title": "merklelog",
                "version": __version__,
                "summary": "A transparency log: append, read and prove",
                "description": "GET routes answer HEAD too. Nothing in an answer needs to be believed: "
                "checkpoints are signed, and proofs lead to them.",
            },
            "paths": paths,
            "components": {"schemas": SCHEMAS | AUDIT_SCHEMAS, "securitySchemes": {"token": _BEARER}},
        }
    )


def _described(operation: Operation, extra: tuple[Parameter, ...], *, publishes: bool) -> Schema:
    answers: dict[str, Any] = {
        "200": {
            "description": operation.answer,
            "content": operation.content,
            **({"headers": _ETAG} if operation.revalidated else {}),
        }
    }
    if operation.revalidated:
        answers["304"] = {"description": "The client has it already (If-None-Match)"}
    if publishes and (operation.also is not None or operation.audits):
        waited = "The same for an entry that is durable, and was not published as soon as the client waits"
        answers["202"] = {"description": waited, "content": operation.content}
    if operation.audits:
        answers["409"] = {"description": _PHRASES[409], "content": operation.content}
    for status in operation.refusals:
        answers[str(status)] = _refusal(operation.refused, _PHRASES[status], retry=status in {429, 503})
    if not operation.server:
        answers["401"] = {**_refusal(operation.refused, _PHRASES[401]), "headers": _CHALLENGE}
        answers["403"] = _refusal(operation.refused, _PHRASES[403])
    answers["default"] = _refusal("Problem", "The server failed, or has no such path")
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        **({} if operation.server else {"security": [{}, {"token": []}]}),
        "parameters": [each.described() for each in (*extra, *_known(operation.parameters, publishes))],
        **({"requestBody": operation.body} if operation.body is not None else {}),
        "responses": answers,
    }


def _known(parameters: tuple[Parameter, ...], publishes: bool) -> tuple[Parameter, ...]:
    """Without those that no log of this server takes."""
    if publishes:
        return parameters
    wait = {**_WAIT.schema, "enum": ["integrated"]}
    return tuple(
        replace(each, schema=wait) if each is _WAIT else each for each in parameters if each is not _PREFER
    )


def _refusal(schema: str, phrase: str, *, retry: bool = False) -> Schema:
    media = "application/problem+json" if schema == "Problem" else "application/json"
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": phrase, "content": content, **({"headers": _RETRY} if retry else {})}
