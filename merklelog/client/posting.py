"""Appending over HTTP: an entry's bytes posted, its index answered; the proof comes with a later checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from merklelog.client.transport import Appended, Batch
from merklelog.errors import DamagedError, FormatError, UnavailableError, UsageError
from merklelog.formats.wire import parse_decimal

if TYPE_CHECKING:
    from merklelog.client.http_source import HttpObjects

_KEY: Final = "idempotency-key"
_WAIT: Final = "merklelog-wait"
_INDEX_BYTES: Final = 64
_ACCEPTED: Final = 202


def post_to(objects: HttpObjects) -> Callable[[Batch, float], Appended]:
    """How an entry is appended over HTTP."""

    def append(batch: Batch, seconds: float) -> Appended:
        if len(batch.entries) != 1 or batch.keys is not None:
            raise UsageError(f"{objects.location}: HTTP appends one entry at a time; batches take grpc://")
        if batch.identities is not None:
            raise UsageError(f"{objects.location}: an identity of its own takes grpc://")
        key = batch.key or b""
        if not key.isascii() or not key.decode("ascii").isprintable():
            raise UsageError("idempotency key: over HTTP it is a header, so want printable ASCII")
        headers = {_KEY: key.decode("ascii"), "Content-Type": "application/octet-stream"}
        if batch.published:
            headers[_WAIT] = batch.wait  # past its deadline the answer has the index all the same
        answer = objects.ask(
            "POST", "add", headers=headers, body=batch.entries[0], limit=1 << 16, seconds=seconds
        )
        if batch.wait == "witnessed" and answer.status == _ACCEPTED:
            raise UnavailableError(
                f"{objects.location}/add: appended, and no quorum of the log's witnesses has cosigned it yet"
            )
        try:
            return Appended((parse_decimal(answer.body[:_INDEX_BYTES].removesuffix(b"\n"), "index"),))
        except FormatError as error:
            raise DamagedError(f"{objects.location}/add: {error}") from error

    return append
