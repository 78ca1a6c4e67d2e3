"""Bodies of HTTP requests that are as long as a gRPC message may be: bounded one by one, and all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .asgi_grpc import Receive, Scope
from .calls import Admission
from .grpc_wire import GZIP, Decoder, check_encoding, too_large
from .http_append import GoneError

_ENCODING: Final = "content-encoding"


class Bodies:
    """Reads bodies of at most `most` bytes, before and after they are decompressed.

    `admission` bounds the bytes of all that have not come whole. It belongs to one event loop.
    """

    def __init__(self, most: int, admission: Admission, decoders: Mapping[bytes, Decoder] = GZIP) -> None:
        self._most = most
        self._admission = admission
        self._decoders = decoders

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body as its sender had it.

        Raises CallError for one that is too long or of an encoding not known here, FormatError for what is not of
        its encoding, OverloadedError, GoneError.
        """
        encoding = b"identity"
        for name, value in scope["headers"]:
            if name == _ENCODING.encode():
                encoding = value.strip().lower() or encoding
        decode = check_encoding(encoding, self._decoders, header=_ENCODING)
        data = await self._whole(receive)
        return data if decode is None else decode(data, self._most)

    async def _whole(self, receive: Receive) -> bytes:
        parts, length, more = [], 0, True
        try:
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise GoneError
                part = message.get("body", b"")
                if length + len(part) > self._most:
                    raise too_large(length + len(part), self._most)
                self._admission.hold(len(part))
                length += len(part)
                parts.append(part)
                more = message.get("more_body", False)
        finally:
            self._admission.unread -= length
        return parts[0] if len(parts) == 1 else b"".join(parts)


__all__ = ["Bodies"]
