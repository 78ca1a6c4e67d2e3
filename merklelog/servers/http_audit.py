"""POST /v1/audit: audit records of the draft OpenTelemetry audit signal, each answered with its receipt.

The request is an ExportLogsServiceRequest, protobuf or JSON, of one record or several, for one log. It is answered
when all are durable, with what `ingest.audit_signal` says of each. The door stands on the HTTP port below each
log's prefix, and on the OTLP port, where the token, the header or an attribute decides which log.

Statuses are those of the draft: 200; 202 when what was to be waited for did not come in time; 409 with the
receipts when a record ID had other content before, both kept; 400 for what can not be parsed or is refused by
`ingest.refuse`; 401, 403, 413, 415; 429 and 503 for what may pass, with Retry-After.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any, Final

import msgspec

from merklelog.errors import (
    ClosedError,
    DamagedError,
    FieldError,
    ForbiddenError,
    FormatError,
    LevelError,
    MerklelogError,
    OverloadedError,
    RangeError,
)
from merklelog.formats import parse_bundle
from merklelog.formats.receipt import is_receipt, parse_receipt
from merklelog.formats.wire import quote
from merklelog.ingest.audit_signal import (
    CONFLICT,
    FAILED,
    REFUSED_CALLER,
    REFUSED_SCHEMA,
    BatchTold,
    Proven,
    RecordTold,
    RefusalTold,
    batch_told,
    missing,
    record_told,
    refusals,
)
from merklelog.ingest.choose import HEADER, Asked, Chooser
from merklelog.ingest.entry import Entry
from merklelog.ingest.intake import Intake, Placed
from merklelog.ingest.otlp_json import records_from_json
from merklelog.ingest.placed import Placements
from merklelog.ingest.record import Record
from merklelog.ingest.split import join_entries
from merklelog.log import Log
from merklelog.log.head import Head
from merklelog.tree import TILE_WIDTH

from .bodies import Bodies
from .caller import Caller
from .caller import Scope as Permission
from .calls import DEFAULT_LIMITS, Admission
from .grpc_wire import CallError, Decoder, gunzip
from .http_append import MAX_BODY, GoneError, Receive
from .http_values import JSON, NO_SNIFFING, UNCACHED, Request, Response, unauthenticated
from .http_wishes import OPTIONS, RefusedError, option, wishes
from .intakes import Intakes
from .otlp import granted
from .otlp_problems import otlp_told
from .problems import Code, Problem, problem_of
from .served import ServedLogs
from .waits import Waits

PROTOBUF: Final = b"application/x-protobuf"
Scope = dict[str, Any]
Decode = Callable[[bytes], Sequence[Record]]
# So many bytes of requests wait to be parsed at most; one is parsed at a time.
_MAX_WAITING: Final = 64 << 20
_WAIT: Final = b"merklelog-wait"
_INTEGRATED: Final = b"integrated"
_NOT_OURS: Final = frozenset((b"content-encoding", b"idempotency-key"))


class AuditDoor:
    """Takes audit records for the logs of a server; belongs to one event loop.

    `attribute` is the resource attribute that may name a record's log. A request has at most `max_bytes`, before
    and after it is decompressed.
    """

    def __init__(
        self,
        logs: ServedLogs,
        intakes: Intakes,
        *,
        attribute: str = "",
        max_bytes: int = MAX_BODY,
        waits: Waits | None = None,
    ) -> None:
        self._logs = logs
        self._intakes = intakes
        self._chooser = Chooser(attribute)
        self._waits = Waits() if waits is None else waits
        self._parsing = asyncio.Semaphore(1)
        self._waiting = 0
        self._bodies = Bodies(max_bytes, Admission(DEFAULT_LIMITS), _decoders())
        self._decodes = _decodes()

    async def answer(
        self, find: Callable[[], tuple[Caller | None, str, Log | None]], scope: Scope, receive: Receive
    ) -> Response:
        """The answer to a request. `find` says who asks, under which name, and for which log, None where this door
        is to choose it; what it raises is told. Raises GoneError for a client that went away.
        """
        try:
            caller, name, log = find()
            told, status = await self._answer(caller, name, log, scope, receive)
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001 - each becomes the answer of one request
            return _refusal(error, scope)
        return _response(status, told)

    async def answer_called(self, scope: Scope, receive: Receive, identify: Callable[[], Caller]) -> Response:
        """`answer` where this door chooses the log; `identify` raises for who may not call at all."""

        def find() -> tuple[Caller, str, None]:
            caller = identify()
            return caller, caller.name, None

        return await self.answer(find, scope, receive)

    async def _answer(
        self, caller: Caller | None, name: str, log: Log | None, scope: Scope, receive: Receive
    ) -> tuple[RecordTold | BatchTold | RefusalTold, int]:
        decode = self._decode_of(scope)
        data = await self._bodies.read(scope, receive)
        options = _options(scope)
        if self._waiting and self._waiting + len(data) > _MAX_WAITING:
            raise OverloadedError("more requests wait to be parsed than this server keeps: try again")
        self._waiting += len(data)
        try:
            async with self._parsing:
                records = await asyncio.to_thread(decode, data)
                if not records:
                    raise FormatError("request: it has no records")
                log = self._chosen(caller, scope, records) if log is None else log
                asked = wishes(options, scope["headers"], name, log)
                intake = await self._intakes.ready(log.origin)
                sent = await asyncio.to_thread(_send, intake, log.config.ingest.refuse, records, name)
        finally:
            self._waiting -= len(data)
        if isinstance(sent, RefusalTold):
            return sent, 400
        # It is not kept here: one that failed has this frame in its traceback.
        placed = await asyncio.wrap_future(sent.pop())
        head = await self._reached(log, placed, options.get(_WAIT, _INTEGRATED), asked.seconds)
        late = head is None and options.get(_WAIT, _INTEGRATED) != _INTEGRATED
        answers = await asyncio.to_thread(_told, log, placed, head, options.get(_WAIT, b"").decode())
        conflicts = any(each.status == CONFLICT for each in answers)
        status = 409 if conflicts else 202 if late else 200
        return (answers[0] if len(answers) == 1 else batch_told(log.origin, answers)), status

    async def _reached(
        self, log: Log, placed: Sequence[Placed], level: bytes, seconds: float | None
    ) -> Head | None:
        """The head that all are under at the level that was to be waited for; None when it did not come."""
        size = max(each.index + each.entries for each in placed)
        if level == b"published":
            return await self._waits.published(log, size, seconds)
        return await self._waits.witnessed(log, size, seconds) if level == b"witnessed" else None

    # --- the request -------------------------------------------------------------------------------------------

    def _decode_of(self, scope: Scope) -> Decode:
        found = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        kind = bytes(found).partition(b";")[0].strip().lower()
        decode = self._decodes.get(kind)
        if decode is None:
            known = " or ".join(each.decode() for each in self._decodes)
            message = f"content-type: got {quote(kind[:64])}, want {known}"
            if kind == PROTOBUF:
                message = "content-type: protobuf is not understood here: install merklelog[otlp]"
            raise CallError(Problem(Code.INVALID_ARGUMENT, 415, "UNKNOWN_CONTENT_TYPE", message))
        return decode

    def _chosen(self, caller: Caller | None, scope: Scope, records: Sequence[Record]) -> Log:
        """The one log of a request. Raises UnauthenticatedError, FieldError, ForbiddenError, ClosedError."""
        served = {each.log.origin for each in self._logs}
        if not served:
            raise ClosedError("no log is served yet")
        header = next((value for name, value in scope["headers"] if name == HEADER.encode()), None)
        allowed = None if caller is None else granted(caller)
        asked = Asked(allowed, None if header is None else header.decode("utf-8", "replace"))
        origin = self._chooser.by_request(asked, served)
        if origin is None:
            origins = list(self._chooser.by_records(asked, served, records))
            if len(origins) > 1:
                raise FieldError("resource", "the records of one request are for several logs, want one")
            origin = origins[0]
        if caller is not None and not caller.may(Permission.APPEND, origin):
            raise ForbiddenError(f"{caller.name or 'an unnamed caller'} may not {Permission.APPEND} here")
        return self._logs.find(origin).log


def _send(
    intake: Intake, refuse: str, records: Sequence[Record], name: str
) -> list[Future[Placements]] | RefusalTold:
    """Hand all to the intake, together; or what is refused of them."""
    refused = refusals(records, refuse)
    if refused is not None:
        return RefusalTold(refused[0], "; ".join(refused[1][:10]), records=tuple(refused[1]))
    return [intake.submit(records, name, lacking=missing)]


def _told(log: Log, placed: Sequence[Placed], reached: Head | None, wanted: str) -> list[RecordTold]:
    """What is said of each record, read back from the log, with its proof to the head that it is under."""
    head, level = (log.integrated, "integrated") if reached is None else (reached, wanted)
    tiles = log.integrated_tiles()
    bundles: dict[int, list[bytes]] = {}

    def read(index: int) -> bytes:
        number, at = divmod(index, TILE_WIDTH)
        if number not in bundles:
            width = min(TILE_WIDTH, tiles.head.size - number * TILE_WIDTH)
            if width <= at:
                raise RangeError(f"entry {index}: the log has {tiles.head.size}")
            bundles[number] = parse_bundle(tiles.bundle(number, width), width)
        return bundles[number][at]

    proofs = log.inclusion_proofs([each.index for each in placed], head.size)
    epoch = parse_receipt(head.note)[0].epoch if is_receipt(head.note) else None
    told = []
    for each, proof in zip(placed, proofs, strict=True):
        try:
            entry: Entry = join_entries(read, each.index)
        except FormatError as error:  # what was stored a moment ago; no fault of the sender's
            raise DamagedError(f"{log.path}: {error}") from error
        proven = Proven(each.index, entry, each.duplicate, level, epoch, head.note, proof)
        told.append(record_told(log.origin, proven))
    return told


def _options(scope: Scope) -> dict[bytes, bytes]:
    """What `http_wishes` reads; the idempotency key of an audit record is its ID."""
    options: dict[bytes, bytes] | None = None
    for header in scope["headers"]:
        if header[0] in OPTIONS and header[0] not in _NOT_OURS:
            options = option(options, header)
    return options or {}


def _decodes() -> dict[bytes, Decode]:
    """How the content types are read; protobuf where its package is installed."""
    found: dict[bytes, Decode] = {JSON: records_from_json}
    try:
        found[PROTOBUF] = import_module("merklelog.ingest.otlp_protobuf").records_from_protobuf
    except ModuleNotFoundError:
        return found  # the extra `otlp` is not installed: JSON needs none of it
    return found


def _decoders() -> Mapping[bytes, Decoder]:
    try:
        decoders: Mapping[bytes, Decoder] = import_module("merklelog.servers.otlp_encodings").DECODERS
    except ModuleNotFoundError:
        return {b"gzip": gunzip}  # as with protobuf: gzip needs nothing from outside
    return decoders


# --- the answer --------------------------------------------------------------------------------------------------


def _response(status: int, told: RecordTold | BatchTold | RefusalTold) -> Response:
    body = msgspec.json.encode(told)
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", JSON), length, UNCACHED, NO_SNIFFING]
    if isinstance(told, RefusalTold) and told.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(told.retry_after))))
    return Response(status, tuple(headers), body)


def _refusal(error: Exception, scope: Scope) -> Response:
    """What a sender is told whose request was not stored, or not all of it."""
    if isinstance(error, CallError | RefusedError):
        problem = error.problem
    elif isinstance(error, LevelError):
        problem = problem_of(error)  # a wish that no later attempt could meet
    else:
        problem = otlp_told(scope["path"], error)
    status = FAILED
    if problem.http in {401, 403}:
        status = REFUSED_CALLER
    elif problem.retry_after is None and isinstance(error, CallError | RefusedError | MerklelogError):
        status = REFUSED_SCHEMA
    response = _response(problem.http, RefusalTold(status, problem.message, problem.retry_after))
    if problem.http != 401:
        return response
    request = Request(scope["method"], scope["path"], b"", scope["headers"])
    challenge = [each for each in unauthenticated(problem, request).headers if each[0] == b"www-authenticate"]
    return Response(401, (*response.headers, *challenge), response.body)


__all__ = ["AuditDoor"]
