"""AWS Signature Version 4, for the requests that are sent without boto3's own machinery.

Source: Amazon S3, "Authenticating Requests (AWS Signature Version 4)"; a test compares it with botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"
_ANY: Final = "surrogatepass"  # credentials may hold anything; who sends them looks at what can be sent


class Credentials(Protocol):
    """What signs: botocore's frozen credentials."""

    @property
    def access_key(self) -> str:
        """The name of the key."""

    @property
    def secret_key(self) -> str:
        """The key."""

    @property
    def token(self) -> str | None:
        """The token of a session, None for a lasting key."""


def encode_path(path: str) -> str:
    """A path as it is sent and signed: every byte but the unreserved ones and slashes in percent form."""
    return quote(path, safe=f"/{_UNRESERVED}")


def encode_query(query: Mapping[str, str]) -> str:
    """A query as it is sent and signed, by name; without the question mark."""
    pairs = ((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def sign(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: str,
    *,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """The headers to send: `headers`, what a signature needs besides, and the signature over all of them.

    `path` and `query` are encoded already; `headers` have lower-case names, `host` among them, and values
    without outer spaces; `payload` is the SHA-256 of the body in hex; `now` is in UTC.
    """
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    day = stamp[:8]
    signed = {**headers, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    lines = "".join(f"{name}:{signed[name]}\n" for name in names)
    listed = ";".join(names)
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{payload}"
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode(errors=_ANY)).hexdigest()
    key = _signing_key(credentials.secret_key, day, region)
    signature = hmac.digest(key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
    )
    return signed


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode(errors=_ANY)
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
