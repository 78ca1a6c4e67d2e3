"""What a log answers to a GET: one function a route, from the rest of the path and the request to the answer.

Tiles, bundles and checkpoints are those of c2sp.org/tlog-tiles, proofs come as JSON and as c2sp.org/tlog-proof
text. Everything is read from the log and nothing is signed. Each raises this project's errors, which
`http_api` turns into answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from merklelog.errors import FieldError, NotFoundError
from merklelog.formats.wire import quote
from merklelog.log import Log
from merklelog.publish.encoding import compress
from merklelog.tree import BUNDLE_LEVEL, TILE_WIDTH, Hash, parse_path

from .hot_tiles import HotTiles
from .http_values import (
    BYTES,
    IMMUTABLE,
    REVALIDATE,
    TEXT,
    UNCACHED,
    Request,
    Response,
    accepts_gzip,
    answer,
    decimal,
    entity_tag,
    json_answer,
    parameters,
)

# The log, the path below its prefix (for a folder's route: below the folder), the request.
Read = Callable[[Log, str, Request], Response]

TLOG_PROOF: Final = ".tlog-proof"
BUNDLES: Final = "tile/entries/"
# The upper tiles are asked for with nearly every proof that a client makes.
_parsed: Final = lru_cache(maxsize=4_096)(parse_path)
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_SIZE: Final = "the tree size to prove in; without it that of the newest checkpoint"
_INCLUSION: Final = {"index": "the entry's index", "size": _SIZE}
_BY_HASH: Final = {"leaf_hash": "the entry's leaf hash, 64 hex digits in lower case", "size": _SIZE}
_RANGE: Final = {"start": "the first index", "end": "the index after the last", "size": _SIZE}
_CONSISTENCY: Final = {"old": "the smaller tree size", "new": "the larger one; without it the newest's"}


class InclusionAnswer(msgspec.Struct, frozen=True):
    """An inclusion proof as JSON. Hashes are base64, lowest first (RFC 6962, section 2.1.1); `checkpoint` is the
    signed note of `size`, null where none is stored.
    """

    index: int
    size: int
    leaf_hash: bytes
    proof: list[Hash]
    checkpoint: str | None


class RangeAnswer(msgspec.Struct, frozen=True):
    """One proof for all entries of [start, end) as JSON: the perfect subtrees left of the range, then those right
    of it, both from left to right; with the range's leaf hashes they make the root. `checkpoint` as above.
    """

    start: int
    end: int
    size: int
    proof: list[Hash]
    checkpoint: str | None


class ConsistencyAnswer(msgspec.Struct, frozen=True):
    """A consistency proof as JSON (RFC 6962, section 2.1.2); `checkpoint` is that of `new`, or null."""

    old: int
    new: int
    proof: list[Hash]
    checkpoint: str | None


def checkpoint(log: Log, _path: str, _request: Request) -> Response:
    """The newest signed checkpoint (tlog-tiles, "Checkpoints")."""
    return answer(log.checkpoint(), TEXT, REVALIDATE)


def witnessed(log: Log, _path: str, _request: Request) -> Response:
    """The newest checkpoint that bears the cosignatures which the log's policy asks for."""
    if (head := log.witnessed) is None:
        raise NotFoundError("no checkpoint of this log bears the cosignatures that its policy asks for")
    return answer(head.note, TEXT, REVALIDATE)


def stored_checkpoint(log: Log, path: str, _request: Request) -> Response:
    """The checkpoint stored for a size. About one a second is; it never changes, but for lines of cosigners."""
    return answer(log.checkpoint(decimal(path, "size")), TEXT, REVALIDATE)


def tile(log: Log, path: str, request: Request) -> Response:
    """A tile or an entry bundle, full or partial (tlog-tiles, "Merkle Tree", "Log entries").

    Each width of a partial tile is a path of its own whose bytes never change, so all of them are immutable.
    """
    wanted = _parsed(f"tile/{path}")
    if wanted.level != BUNDLE_LEVEL and wanted.width == TILE_WIDTH:
        return _hot.get(log, wanted.level, wanted.index)
    if wanted.level != BUNDLE_LEVEL:
        return answer(log.tile(wanted.level, wanted.index, wanted.width), BYTES, IMMUTABLE)
    bundle = log.bundle(wanted.index, wanted.width)
    if not accepts_gzip(request):
        return _varying(answer(bundle, BYTES, IMMUTABLE))
    packed = answer(compress(bundle), BYTES, IMMUTABLE, entity_tag(bundle, "-gzip"))
    return _varying(packed, (b"content-encoding", b"gzip"))


def _full_tile(log: Log, level: int, index: int) -> Response:
    return answer(log.tile(level, index), BYTES, IMMUTABLE)


_hot: Final = HotTiles(_full_tile)


def _varying(response: Response, *extra: tuple[bytes, bytes]) -> Response:
    headers = (*response.headers, (b"vary", b"accept-encoding"), *extra)
    return Response(response.status, headers, response.body)


def entry(log: Log, path: str, _request: Request) -> Response:
    """The bytes of one entry."""
    return answer(log.entry(decimal(path, "index")), BYTES, IMMUTABLE)


def inclusion(log: Log, _path: str, request: Request) -> Response:
    """The inclusion proof of the entry with this index, as JSON."""
    given = parameters(request.query, _INCLUSION)
    return _inclusion(log, decimal(_required(given, "index", _INCLUSION), "index"), given)


def inclusion_by_hash(log: Log, _path: str, request: Request) -> Response:
    """The inclusion proof of the first entry with this leaf hash, as JSON; only where the log keeps a lookup."""
    given = parameters(request.query, _BY_HASH)
    leaf = _required(given, "leaf_hash", _BY_HASH)
    if _HASH.fullmatch(leaf) is None:
        raise FieldError("leaf_hash", f"got {quote(leaf)}, want 64 hex digits in lower case")
    if not (log.config.lookup or log.config.dedupe):
        # Without it the log would be read whole, which is nothing to do for a stranger.
        raise NotFoundError("this log keeps no lookup by leaf hash (log.lookup = false)")
    found = log.find(Hash(bytes.fromhex(leaf.decode())))
    if found is None:
        raise NotFoundError("no entry has this leaf hash")
    return _inclusion(log, found, given)


def _inclusion(log: Log, index: int, given: dict[str, bytes]) -> Response:
    size = decimal(given["size"], "size") if "size" in given else int(log.size)
    leaves, proofs = log.leaves_and_proofs([index], size)
    return json_answer(InclusionAnswer(index, size, leaves[0], proofs[0], _note(log, size)), UNCACHED)


def range_of_entries(log: Log, _path: str, request: Request) -> Response:
    """One proof for all entries of a range, as JSON."""
    given = parameters(request.query, _RANGE)
    start = decimal(_required(given, "start", _RANGE), "start")
    end = decimal(_required(given, "end", _RANGE), "end")
    if start >= end:
        raise FieldError("end", f"{end}: want more than start, {start}")
    size = decimal(given["size"], "size") if "size" in given else int(log.size)
    proof = log.range_proof(start, end, size)
    return json_answer(RangeAnswer(start, end, size, proof, _note(log, size)), UNCACHED)


def _required(given: dict[str, bytes], name: str, known: Mapping[str, str]) -> bytes:
    if name not in given:
        raise FieldError(name, f"want {known[name]}")
    return given[name]


def consistency(log: Log, _path: str, request: Request) -> Response:
    """The proof that the tree of one size begins that of another, as JSON."""
    given = parameters(request.query, _CONSISTENCY)
    old = decimal(_required(given, "old", _CONSISTENCY), "old")
    new = decimal(given["new"], "new") if "new" in given else int(log.size)
    proof = log.consistency_proof(old, new)
    return json_answer(ConsistencyAnswer(old, new, proof, _note(log, new)), UNCACHED)


def proof_file(log: Log, path: str, request: Request) -> Response:
    """A proof file that verifies offline (c2sp.org/tlog-proof), to the newest or to a stored checkpoint."""
    if not path.endswith(TLOG_PROOF):
        raise NotFoundError(f"proof/{path[:40]}: want proof/<index>{TLOG_PROOF}")
    index = decimal(path.removesuffix(TLOG_PROOF), "index")
    given = parameters(request.query, {"size": _SIZE})
    size = decimal(given["size"], "size") if "size" in given else None
    return answer(log.prove(index, size), TEXT, UNCACHED)


def _note(log: Log, size: int) -> str | None:
    try:
        return log.checkpoint(size).decode()
    except NotFoundError:
        return None  # about one checkpoint a second is stored; the proof stands without one


# Below a log's prefix: whole paths, and folders whose rest is the function's to read. The OpenAPI document
# names each, and a test compares.
FILES: Final[dict[str, Read]] = {
    "checkpoint": checkpoint,
    "checkpoint.witnessed": witnessed,
    "proof/inclusion": inclusion,
    "proof/by-hash": inclusion_by_hash,
    "proof/range": range_of_entries,
    "proof/consistency": consistency,
}
FOLDERS: Final[dict[str, Read]] = {
    "checkpoints": stored_checkpoint,
    "tile": tile,
    "entry": entry,
    "proof": proof_file,
}
