"""A real S3 server made weaker: its client, with some requests changed on their way or some answers on theirs.

So a preflight is shown a store that lacks exactly one thing, and that thing alone is not played.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., dict[str, Any]]
Change = Callable[[Call, dict[str, Any]], dict[str, Any]]


class WeakClient:
    """boto3's client; `changes` has, by operation, a function of (the real call, its arguments)."""

    def __init__(self, client: Any, **changes: Change) -> None:
        self._client = client
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        change = self._changes.get(name)
        return real if change is None else lambda **arguments: change(real, arguments)


def without(*names: str) -> Change:
    """The request loses these arguments: the store does not know them."""
    return lambda call, given: call(**{key: value for key, value in given.items() if key not in names})


def with_other(**values: Any) -> Change:
    """Where the request has these arguments it gets other values."""

    def change(call: Call, given: dict[str, Any]) -> dict[str, Any]:
        return call(**{key: values.get(key, value) for key, value in given.items()})

    return change


def answering(**fields: Any) -> Change:
    """The answer gets these fields."""
    return lambda call, given: {**call(**given), **fields}


def stale() -> Change:
    """Reads that come from a cache, which keeps the first answer for each key."""
    kept: dict[str, bytes] = {}

    def change(call: Call, given: dict[str, Any]) -> dict[str, Any]:
        import io

        answer = call(**given)
        body = kept.setdefault(given["Key"], answer["Body"].read())
        return {**answer, "Body": io.BytesIO(body)}

    return change


def refused(code: str = "AccessDenied", status: int = 403) -> Change:
    """The store answers with an error, whatever is asked."""

    def change(call: Call, given: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        meta = {"HTTPStatusCode": status, "RequestId": "R1", "HTTPHeaders": {}}
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": meta}, call.__name__)

    return change


def silent() -> Change:
    """No answer comes."""

    def change(call: Call, given: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import EndpointConnectionError

        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    return change
