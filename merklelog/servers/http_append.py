"""POST /add: the bytes of an entry in, its index as a decimal and a newline out, once it is durable.

This is the path that carries the load, so it does nothing twice: headers are looked at in one pass, the answers'
headers are made beforehand, and a body that came whole is not copied. What few clients ask for is `http_wishes`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from merklelog.formats import MAX_ENTRY
from merklelog.log import Log, Receipt
from merklelog.log.head import Head

from .http_values import JSON, NO_SNIFFING, TEXT, UNCACHED
from .http_wishes import OPTIONS, RefusedError, Wishes, option, wishes
from .problems import Code, Problem
from .reserved import WHY as RESERVED
from .reserved import is_reserved
from .waits import Waits

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A client that sends too much is listened to this long, so that it reads the answer instead of a reset.
MAX_BODY: Final = 2 << 20
TOO_LARGE: Final = Problem(
    Code.INVALID_ARGUMENT,
    413,
    "ENTRY_TOO_LARGE",
    f"the body has more than {MAX_ENTRY:,} bytes, which is the most an entry has (c2sp.org/tlog-tiles)",
    "body",
)
_RESERVED: Final = Problem(Code.INVALID_ARGUMENT, 400, "ENTRY_REFUSED", f"the body {RESERVED}", "body")
_ACCEPTED: Final = 202  # RFC 7240, section 4.3: what was to be waited for is not done yet


class GoneError(Exception):
    """The client went away before its body was whole: nothing was stored and nobody waits for an answer."""


class AppendAnswer(msgspec.Struct, frozen=True):
    """An append's answer as JSON. `level` is how far the entry has come: "integrated", "published" or "witnessed".
    `note` is the signed note over `size` entries that `proof` leads to, lowest hash first: a checkpoint where
    `epoch` is null, else the receipt note of that epoch. Hashes are base64.
    """

    index: int
    leaf_hash: bytes
    size: int
    level: str
    epoch: int | None
    note: str
    proof: list[bytes]


def _started(digits: int, status: int) -> Message:
    length = (b"content-length", b"%d" % (digits + 1))
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", TEXT), length],
    }


_STARTS: Final = tuple(_started(digits, 200) for digits in range(20))
_ACCEPTED_STARTS: Final = tuple(_started(digits, _ACCEPTED) for digits in range(20))


async def add(
    log: Log,
    headers: Iterable[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
    submitter: str = "",
    waits: Waits | None = None,
) -> None:
    """Append the request's body and answer with its index. `submitter` is the caller's name, empty for none.

    A wait that takes too long is answered 202, with the index all the same: the entry is durable.
    Raises RefusedError, GoneError and what `Log.append` raises; then nothing was sent.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise GoneError
    body = message.get("body", b"")
    if message.get("more_body", False):
        body = await _whole(body, receive)
    if len(body) > MAX_ENTRY:
        raise RefusedError(TOO_LARGE)
    if is_reserved(body):
        raise RefusedError(_RESERVED)
    options = None
    for header in headers:
        if header[0] in OPTIONS:
            options = option(options, header)
    if options is None:
        receipt = await log.append_async(body)
        text = b"%d\n" % receipt.index
        await send(_STARTS[len(text) - 1])
        await send({"type": "http.response.body", "body": text})
        return
    asked = wishes(options, headers, submitter, log)
    receipt = await log.append_async(body, idempotency_key=asked.key, submitter=submitter)
    head = None
    if asked.level == "published":
        head = await (waits or Waits()).published(log, receipt.size, asked.seconds)
    elif asked.level == "witnessed":
        head = await (waits or Waits()).witnessed(log, receipt.size, asked.seconds)
    await _answer(log, receipt, head, asked, send)


async def _answer(log: Log, receipt: Receipt, head: Head | None, asked: Wishes, send: Send) -> None:
    late = asked.level != "integrated" and head is None
    if asked.json:
        body = _as_json(log, receipt, head, asked.level)
        length = (b"content-length", b"%d" % len(body))
        status = _ACCEPTED if late else 200
        fields = [(b"content-type", JSON), length, UNCACHED, NO_SNIFFING]
        await send({"type": "http.response.start", "status": status, "headers": fields})
    else:
        body = b"%d\n" % receipt.index
        await send((_ACCEPTED_STARTS if late else _STARTS)[len(body) - 1])
    await send({"type": "http.response.body", "body": body})


def _as_json(log: Log, receipt: Receipt, head: Head | None, wanted: str) -> bytes:
    if head is None:
        level, size, note, proof = "integrated", receipt.size, receipt.note, receipt.proof
    else:
        level, size, note = wanted, head.size, head.note
        proof = log.inclusion_proof(receipt.index, size)
    epoch = receipt.epoch if head is None else None
    told = AppendAnswer(
        receipt.index, receipt.leaf_hash, size, level, epoch, note.decode(), [bytes(each) for each in proof]
    )
    return msgspec.json.encode(told)


async def _whole(first: bytes, receive: Receive) -> bytes:
    parts, length, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise GoneError
        body = message.get("body", b"")
        length += len(body)
        if length <= MAX_ENTRY:
            parts.append(body)
        more = message.get("more_body", False) and length <= MAX_BODY
    if length > MAX_ENTRY:
        raise RefusedError(TOO_LARGE)
    return b"".join(parts)
