"""The HTTP door of a witness: one ASGI application over `witness.service`, and another for its operator.

    POST /add-checkpoint            a cosignature, or why not (c2sp.org/tlog-witness)
    GET  /<origin hash>/checkpoint  the newest checkpoint that was cosigned

There is no authentication: a checkpoint is taken for its log's signature. A refusal is a sentence of plain text,
but for 409, whose body is the size that a log goes on from.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from merklelog.errors import ForbiddenError, MerklelogError
from merklelog.formats.witness import ADD_CHECKPOINT
from merklelog.witness.answer import Answer
from merklelog.witness.service import Witness

from .hosts import Hosts
from .http_append import MAX_BODY, Receive, Send
from .http_values import NO_SNIFFING, UNCACHED, refuse_socket
from .tally import RequestTally
from .witness_metrics import WitnessMetrics

_log: Final = logging.getLogger("merklelog.witness")
_CHECKPOINT: Final = "/checkpoint"
_LEFT: Final = 499
_NOT_FOUND: Final = Answer(404, b"nothing is here\n")
_NEVER: Final = Answer(404, b"this witness has cosigned no checkpoint of that log\n")
_LOCAL: Final = Answer(500, b"this witness could not do that; its log says why\n")


class WitnessApp:
    """The ASGI application for logs and monitors."""

    def __init__(self, witness: Witness, metrics: WitnessMetrics) -> None:
        self._witness = witness
        self._adding = metrics.request_tally("POST /add-checkpoint")
        self._showing = metrics.request_tally("GET /checkpoint")
        self._other = metrics.request_tally("other")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await refuse_socket(scope, send)
            return
        path, method = scope["path"], scope["method"]
        if path == ADD_CHECKPOINT:
            await self._counted(self._adding, self._add(scope, method, receive), method, send)
        elif path.endswith(_CHECKPOINT):
            await self._counted(self._showing, self._show(path, method), method, send)
        else:
            await self._counted(self._other, _nothing(), method, send)

    async def _counted(
        self, tally: RequestTally, answering: Awaitable[Answer | None], method: str, send: Send
    ) -> None:
        began, status = tally.begin(), _LEFT
        try:
            answer = await answering
            if answer is not None:
                status = answer.status
                await _send(answer, method, send)
        finally:
            tally.end(began, status)

    async def _add(self, scope: Mapping[str, Any], method: str, receive: Receive) -> Answer | None:
        if method != "POST":
            return _not_allowed("POST")
        limit = self._witness.config.request_bytes
        body = await _body(receive, limit)
        if body is None:
            return None
        if len(body) > limit:
            return Answer(413, b"the request has more than %d bytes\n" % limit)
        client = scope.get("client")
        try:
            return await self._witness.add_checkpoint(body, client[0] if client else "")
        except MerklelogError:
            _log.exception("add-checkpoint failed")
            return _LOCAL

    async def _show(self, path: str, method: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        note = self._witness.shown(path[1 : -len(_CHECKPOINT)])
        return _NEVER if note is None else Answer(200, note)


class WitnessAdminApp:
    """The ASGI application for who runs the witness: /metrics, /readyz, /livez."""

    def __init__(self, witness: Witness, metrics: WitnessMetrics, hosts: Hosts | None) -> None:
        """`hosts`: by which names it may be called; None: by any."""
        self._witness = witness
        self._metrics = metrics
        self._hosts = hosts
        self.draining = False

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """One request."""
        if scope["type"] != "http":
            await refuse_socket(scope, send)
            return
        await _send(await self._answer(scope), scope["method"], send)

    async def _answer(self, scope: Mapping[str, Any]) -> Answer:
        headers = dict(scope["headers"])
        try:
            if self._hosts is not None:
                self._hosts.check(headers.get(b"host"))
        except ForbiddenError as error:
            return Answer(403, f"{error}\n".encode())
        if scope["method"] not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        path = scope["path"]
        if path == "/metrics":
            accept = headers.get(b"accept", b"").decode("latin-1")
            media_type, body = await asyncio.to_thread(self._metrics.render, accept)
            return Answer(200, body, media_type)
        if path == "/readyz":
            return self._ready()
        if path in ("/livez", "/healthz"):
            return Answer(200, b"ok\n")
        return _NOT_FOUND

    def _ready(self) -> Answer:
        """503 while draining or stopped. A log that is sat out for leaves the others served, and is named."""
        failure = self._witness.state.failure
        lines = [f"{len(self._witness.logs)} logs known, {len(self._witness.state)} cosigned"]
        lines += [f"sitting out for {origin}: {why}" for origin, why in self._witness.sitting_out().items()]
        if failure is not None:
            return Answer(503, f"not ready: stopped: {failure}\n".encode())
        if self.draining:
            return Answer(503, b"not ready: draining\n")
        return Answer(200, "\n".join(["ready", *lines, ""]).encode())


async def _nothing() -> Answer:
    return _NOT_FOUND


def _not_allowed(allowed: str) -> Answer:
    return Answer(405, f"this path takes {allowed}\n".encode(), allow=allowed)


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The body, cut after `limit`; None when the client left. One too long is read on for a while and thrown
    away, so that its client reads the answer instead of a reset.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False):
        return body
    parts, length = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body", False) and length <= MAX_BODY:
        message = await receive()
        piece = message.get("body", b"")
        length += len(piece)
        if length - len(piece) <= limit:
            parts.append(piece)
    return b"".join(parts) if message["type"] == "http.request" else None


async def _send(answer: Answer, method: str, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", b"%d" % len(answer.body)),
        UNCACHED,
        NO_SNIFFING,
    ]
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(answer.retry_after))))
    if answer.allow is not None:
        headers.append((b"allow", answer.allow.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


__all__ = ["WitnessAdminApp", "WitnessApp"]
