"""The two requests a store makes by the thousand, PutObject and GetObject, at a fraction of boto3's price.

boto3 takes milliseconds of processor time to make a request, and holds the interpreter while it does. So the
first of these requests goes through boto3, and shows under which address an object with that key is and in which
region; those after it are built and signed here and sent through the same connections (but not through a proxy:
then boto3 does it all). A redirect or a refusal sends the same request through boto3 once more, which knows how to
go on. An answer that can not be read here is as good as none: what was asked is doubtful, and boto3 makes the next
thousand requests, since it may make sense of what this store says.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from merklelog.errors import DamagedError, FormatError
from merklelog.formats.wire import encode_base64
from merklelog.publish.s3_sign import encode_path, encode_query, sign
from merklelog.publish.s3_wire import MAX_ERROR, Reply, Wire
from merklelog.version import __version__

_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_PART: Final = 1 << 20
_CODE: Final = re.compile(rb"<Code>([^<]{1,100})</Code>")
_SCOPE: Final = re.compile(r"^AWS4-HMAC-SHA256 Credential=[^/]+/[0-9]{8}/([^/]+)/s3/aws4_request,")
# boto3 may follow, refresh or correct what leads to these; they mean that nothing was done.
_ASK_BOTO3: Final = frozenset((301, 302, 307, 308, 400, 401, 403))
_HEADERS: Final = {
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "CacheControl": "cache-control",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "StorageClass": "x-amz-storage-class",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
}
_NAMED: Final = {
    "ETag": "etag",
    "VersionId": "x-amz-version-id",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ContentEncoding": "content-encoding",
}
_LEFT_TO_BOTO3: Final = 1000
_UNSIGNED: Final = {"user-agent": f"merklelog/{__version__}", "accept-encoding": "identity"}
_log = logging.getLogger("merklelog.publish")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a bucket answers: the URL's part before a key, the region of its signatures, and who sends there.

    `path` is "/" where the host's name has the bucket, and else "/BUCKET/".
    """

    host: str
    origin: str
    path: str
    region: str
    wire: Wire


class Transfer:
    """Puts and gets the objects of one bucket; each call is one attempt, and raises what boto3 would.

    `count` is called with the operation for a request beyond the one that the caller counts.
    """

    def __init__(self, client: Any, bucket: str, count: Callable[[str], None]) -> None:
        self._client = client
        self._bucket = bucket
        self._count = count
        self._place: _Place | None = None
        self._left_to_boto3 = 0
        self._asked = threading.local()  # `key`: what this thread asks for through boto3
        # What a client is made of is not boto3's public face: where it is not as known, boto3 does it all.
        self._credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
        self._wire = _wire_of(client)
        if self._wire is not None and self._credentials is not None:
            for operation in ("GetObject", "PutObject"):
                client.meta.events.register(f"before-send.s3.{operation}", self._learn)

    def close(self) -> None:
        """Look at no more requests of the client, which may outlive this."""
        for operation in ("GetObject", "PutObject"):
            self._client.meta.events.unregister(f"before-send.s3.{operation}", self._learn)

    def put(self, key: str, data: bytes, digest: bytes, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """PutObject of bytes whose SHA-256 is `digest`; gives ETag, VersionId, ChecksumSHA256 as boto3 does."""
        checksum = encode_base64(digest).decode("ascii")
        place = self._way()
        if place is not None:
            headers = {_HEADERS[name]: _text(value) for name, value in parameters.items()}
            headers["x-amz-checksum-sha256"] = checksum
            reply = self._send(place, "PUT", key, {}, headers, data, digest.hex(), MAX_ERROR)
            if reply.status == 200:
                return _whole(_parsed(reply))
            if reply.status not in _ASK_BOTO3:
                raise _client_error(reply, "PutObject")
            self._forget("PutObject")
        with self._asking(key):
            found: dict[str, Any] = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=checksum, **parameters
            )
        return _whole(found)

    def get(self, key: str, version_id: str | None, limit: int, name: str) -> dict[str, Any]:
        """GetObject; gives its bytes as `Body`, with ETag and ContentEncoding.

        Raises DamagedError for more than `limit` bytes, and botocore's FlexibleChecksumError for others than the
        service has a checksum of.
        """
        place = self._way()
        if place is not None:
            query = {} if version_id is None else {"versionId": version_id}
            headers = {"x-amz-checksum-mode": "ENABLED"}
            reply = self._send(place, "GET", key, query, headers, b"", _EMPTY, limit)
            if reply.status == 200:
                if reply.is_cut:
                    raise DamagedError(f"{name}: more than {limit} bytes")
                return _checked(_whole({**_parsed(reply), "Body": reply.body}))
            if reply.status not in _ASK_BOTO3:
                raise _client_error(reply, "GetObject")
            self._forget("GetObject")
        which = {} if version_id is None else {"VersionId": version_id}
        with self._asking(key):
            found: dict[str, Any] = self._client.get_object(
                Bucket=self._bucket, Key=key, ChecksumMode="ENABLED", **which
            )
        try:
            return _whole({**found, "Body": _read(found["Body"], limit, name)})
        finally:
            found["Body"].close()

    # --- where the bucket is --------------------------------------------------------------------------------

    def _way(self) -> _Place | None:
        """Where to send the next request; None: through boto3."""
        if self._left_to_boto3 > 0:
            self._left_to_boto3 -= 1  # threads may count it wrong, by some
            return None
        return self._place

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """While this thread asks for that key through boto3, see where it does."""
        self._asked.key = key
        try:
            yield
        finally:
            self._asked.key = None

    def _learn(self, request: Any, **_: Any) -> None:
        """Looks at a GetObject or PutObject that boto3 is about to send, the last of them if it was sent on.

        Only one whose key is known can tell: a bucket's name alone says nothing, since a key may begin with it,
        and so may a host.
        """
        key: str | None = getattr(self._asked, "key", None)
        authorization = request.headers.get("Authorization", b"")
        text = authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization
        scope = _SCOPE.match(text)
        if key is None or scope is None:
            return  # somebody else's request, or one that is signed in another way
        parts = urlsplit(request.url)
        for path in ("/", f"/{self._bucket}/"):
            if parts.path == encode_path(path + key):
                break
        else:
            return  # an endpoint of another form
        origin = f"{parts.scheme}://{parts.netloc}"
        if self._wire is not None and self._wire.is_direct(origin):
            self._place = _Place(parts.netloc, origin, path, scope[1], self._wire)

    def _forget(self, operation: str) -> None:
        self._place = None
        self._count(operation)

    # --- one request ----------------------------------------------------------------------------------------

    def _send(
        self,
        place: _Place,
        method: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        data: bytes,
        payload: str,
        limit: int,
    ) -> Reply:
        from botocore.exceptions import HTTPClientError

        path, asked = encode_path(place.path + key), encode_query(query)
        signed = sign(
            method,
            path,
            asked,
            {"host": place.host, **headers},
            payload,
            region=place.region,
            credentials=self._credentials.get_frozen_credentials(),
            now=datetime.now(UTC),
        )
        signed |= _UNSIGNED
        target = f"{path}?{asked}" if asked else path
        try:
            return place.wire.send(method, place.origin, target, signed, data, limit)
        except HTTPClientError as error:
            reason: Any = error.kwargs.get("error")
            if isinstance(reason, FormatError):
                self._leave_to_boto3(reason)
            raise

    def _leave_to_boto3(self, error: FormatError) -> None:
        self._left_to_boto3 = _LEFT_TO_BOTO3
        _log.warning("s3://%s: %s; boto3 makes the next %d requests", self._bucket, error, _LEFT_TO_BOTO3)


def _wire_of(client: Any) -> Wire | None:
    try:
        return Wire(client._endpoint.http_session)
    except AttributeError:
        return None


def _text(value: str | datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value


def _metadata(reply: Reply) -> dict[str, Any]:
    return {
        "RequestId": reply.headers.get("x-amz-request-id", ""),
        "HTTPStatusCode": reply.status,
        "HTTPHeaders": reply.headers,
    }


def _parsed(reply: Reply) -> dict[str, Any]:
    found = {name: reply.headers[header] for name, header in _NAMED.items() if header in reply.headers}
    return {**found, "ResponseMetadata": _metadata(reply)}


def _whole(found: dict[str, Any]) -> dict[str, Any]:
    """A success as it is taken. Raises botocore's error of an answer that is none for one without an ETag."""
    from botocore.exceptions import HTTPClientError

    if "ETag" not in found:
        raise HTTPClientError(error="an object without an ETag")
    return found


def _client_error(reply: Reply, operation: str) -> Exception:
    from botocore.exceptions import ClientError

    code = _CODE.search(reply.body)
    told = {"Code": code[1].decode("ascii", "replace") if code else str(reply.status)}
    parsed: Any = {"Error": told, "ResponseMetadata": _metadata(reply)}
    return ClientError(parsed, operation)


def _read(body: Any, limit: int, name: str) -> bytes:
    """All of a body, in parts. Raises DamagedError for one that is longer than `limit`."""
    from botocore.exceptions import ResponseStreamingError
    from urllib3.exceptions import HTTPError

    parts: list[bytes] = []
    total = 0
    try:
        # To the empty read at the end: only then does boto3 look at the checksum.
        while part := body.read(_PART):
            total += len(part)
            if total > limit:
                body.close()
                raise DamagedError(f"{name}: more than {limit} bytes")
            parts.append(part)
    except HTTPError as error:
        raise ResponseStreamingError(error=error) from error
    return b"".join(parts)


def _checked(response: dict[str, Any]) -> dict[str, Any]:
    from botocore.exceptions import FlexibleChecksumError

    said = response.get("ChecksumSHA256")
    # One of an object in parts is a checksum of checksums, and ends in their number.
    if said and "-" not in said:
        found = encode_base64(hashlib.sha256(response["Body"]).digest()).decode("ascii")
        if found != said:
            raise FlexibleChecksumError(error_msg=f"got {found}, want {said}")
    return response
