"""The newest checkpoint of a log that a witness shows to whoever asks (tlog-witness, "Monitor Retrieval")."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from merklelog.cosign.http import Connection, parse_url, trust
from merklelog.errors import ConfigError, NotFoundError, UnavailableError, UsageError
from merklelog.formats.note import MAX_NOTE_BYTES
from merklelog.formats.wire import quote
from merklelog.formats.witness import checkpoint_path

_OK: Final = 200
_NOT_FOUND: Final = 404


def monitored_checkpoint(url: str, origin: str, *, seconds: float = 30.0) -> bytes:
    """The signed note at that witness' monitoring URL; nothing of it is verified. It may lag an hour.

    Raises UsageError for a URL that is none, NotFoundError for a log that it never cosigned, UnavailableError and
    CertificateError when it can not be asked, DamagedError for an answer that is too long or no HTTP.
    """
    try:
        parts = parse_url(url, "witness")
    except ConfigError as error:
        raise UsageError(str(error)) from error
    with closing(Connection(parts, trust(None) if parts.scheme == "https" else None)) as connection:
        answer = connection.ask("GET", checkpoint_path(origin), None, seconds=seconds, limit=MAX_NOTE_BYTES)
    if answer.status == _NOT_FOUND:
        raise NotFoundError(f"{url}: it shows no checkpoint of {quote(origin)}")
    if answer.status != _OK:
        raise UnavailableError(f"{url}: it answered {answer.status}", answer.retry_after)
    return answer.body


__all__ = ["monitored_checkpoint"]
