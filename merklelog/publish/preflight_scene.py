"""The scratch prefix of a preflight: raw requests in it, and how everything in it is removed again.

The requests are S3's own, below the promises of S3Store, since it is those that are looked into.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from math import floor
from typing import Any, Final

from merklelog.formats.wire import encode_base64, parse_decimal
from merklelog.publish.preflight_report import DefaultRetention
from merklelog.publish.s3_client import Requests, new_session
from merklelog.publish.s3_locks import SHORTEST
from merklelog.publish.s3_options import S3Options
from merklelog.publish.s3_problems import Kind, Problem, error_of

MAX_LOCK_SECONDS: Final = 120
BRIEF_LOCK_SECONDS: Final = 10  # of what is locked as the log's objects are, while another thing is tried
SHORT_LOCK_SECONDS: Final = SHORTEST.seconds
BESIDE_SECONDS: Final = 900  # a preflight that began so lately may still be running
_RUN: Final = re.compile("([1-9][0-9]{0,11})-[0-9a-f]{8}/")  # the scratch folder of one: when it began
_READ: Final = 1 << 20
_MARGIN: Final = 2.0  # seconds before a lock's end within which a refusal proves nothing

Clock = Callable[[], float]
Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered to one request: a success with its fields, or an error's code."""

    ok: bool
    status: int
    code: str = ""
    request_id: str = ""
    fields: dict[str, Any] = field(default_factory=dict, repr=False)
    date: float | None = None  # the store's clock, POSIX seconds
    problem: Problem | None = None

    def __str__(self) -> str:
        """For people: "403 AccessDenied (request 8F3A)"."""
        return self.short if self.ok or not self.request_id else f"{self.short} (request {self.request_id})"

    @property
    def short(self) -> str:
        """Without the request's ID: for what was to be."""
        return f"{self.status} {self.code}".strip()

    @property
    def version(self) -> str | None:
        """The version it wrote; None in a bucket without versions."""
        found = self.fields.get("VersionId")
        return found if isinstance(found, str) and found else None


def ask(requests: Requests, place: str, operation: str, **arguments: Any) -> Answer:
    """One request by boto3's name for it; an error that the store answered is an answer.

    A body is read up to a MiB of it. Repeated when the store asks for patience, as the log's own requests are.
    Raises UnreachableError where no answer came, or one that the store is out of order.
    """
    call = getattr(requests.client, operation)

    def send() -> dict[str, Any]:
        fields: dict[str, Any] = call(**arguments)
        if "Body" in fields:
            fields["Body"] = fields["Body"].read(_READ)
        return fields

    name = "".join(part.title() for part in operation.split("_"))
    sent = requests.send(send, name, place, frozenset(Kind))
    problem = sent.problem
    if problem is None:
        meta = sent.value.get("ResponseMetadata", {})
        date = _date(meta.get("HTTPHeaders", {}).get("date", ""))
        return Answer(True, meta.get("HTTPStatusCode", 0), fields=sent.value, date=date)
    # A store that is out of order says nothing of what it enforces; 501 says that it lacks something.
    if problem.status == 0 or (problem.status >= 500 and problem.status != 501):
        raise error_of(problem, place)
    return Answer(False, problem.status, problem.code, problem.request_id, problem=problem)


def _date(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Until:
    """A lock's end: as the store is told, and by this clock."""

    date: datetime
    local: float


class Scene:
    """Requests below one scratch prefix of a bucket.

    `client` is boto3's; `skew` is the store's clock less this one, in seconds; `default` the bucket's default
    retention: where there is one, everything that is not locked on purpose carries a lock of a few seconds.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        scratch: str,
        options: S3Options,
        *,
        default: DefaultRetention,
        skew: float = 0.0,
        lock_seconds: int = 60,
        clock: Clock = time.time,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.scratch = scratch
        self.options = options
        self.default = default
        self.skew = skew
        self.lock_seconds = min(lock_seconds, MAX_LOCK_SECONDS)
        self.clock = clock
        self.sleep = sleep
        self.latest = 0.0  # when the last lock is over, by this clock
        self._requests = Requests(client)
        self.written: list[tuple[str, str]] = []  # keys and versions, for where nothing may be listed

    @property
    def place(self) -> str:
        """How a person names it."""
        return f"s3://{self.bucket}/{self.scratch.removesuffix('/')}"

    def key(self, name: str) -> str:
        """The whole key of a scratch object."""
        return self.scratch + name

    def ask(self, operation: str, name: str | None = None, **arguments: Any) -> Answer:
        """One request to the bucket, about the scratch object of that name where there is one."""
        if name is not None:
            arguments["Key"] = self.key(name)
        return ask(self._requests, self.place, operation, Bucket=self.bucket, **arguments)

    def without_credentials(self) -> Scene:
        """The same scene for somebody who has none; what it writes is removed with this one's."""
        from botocore import UNSIGNED
        from botocore.config import Config

        meta = self.client.meta
        client = new_session().create_client(
            "s3",
            endpoint_url=meta.endpoint_url,
            region_name=meta.region_name,
            config=meta.config.merge(Config(signature_version=UNSIGNED)),
        )
        scene = Scene(client, self.bucket, self.scratch, self.options, default=self.default, skew=self.skew)
        scene.written = self.written
        return scene

    # --- objects --------------------------------------------------------------------------------------------

    def put(self, name: str, data: bytes, lock: tuple[str, Until] | None = None, **extra: Any) -> Answer:
        """Write a scratch object, with that mode and end of a lock."""
        if lock is None and self.default.mode is not None:
            lock = ("GOVERNANCE", self.until(SHORT_LOCK_SECONDS))  # as the log's own store does it
        if lock is not None:
            extra |= {"ObjectLockMode": lock[0], "ObjectLockRetainUntilDate": lock[1].date}
        extra.setdefault("ChecksumSHA256", encode_base64(sha256(data).digest()).decode("ascii"))
        done = self.ask("put_object", name, Body=data, **extra)
        if lock is not None and done.ok:
            self.locked_until(lock[1])
        return self._remember(name, done)

    def _remember(self, name: str, done: Answer) -> Answer:
        if done.ok:
            self.written.append((self.key(name), done.version or "null"))
        return done

    def read(self, name: str, version: str | None = None) -> tuple[Answer, bytes]:
        """A scratch object and the first MiB of its bytes."""
        extra = {} if version is None else {"VersionId": version}
        found = self.ask("get_object", name, **extra)
        if not found.ok:
            return found, b""
        data = found.fields.get("Body", b"")
        return found, data if isinstance(data, bytes) else b""

    def delete(self, name: str, version: str | None = None, *, bypass: bool = False) -> Answer:
        """Delete a version, or put a delete marker over the object."""
        extra: dict[str, Any] = {} if version is None else {"VersionId": version}
        if bypass:
            extra["BypassGovernanceRetention"] = True
        done = self.ask("delete_object", name, **extra)
        return self._remember(name, done) if version is None else done

    def is_there(self, name: str, version: str | None = None) -> bool:
        """Whether a version is still there."""
        extra = {} if version is None else {"VersionId": version}
        return self.ask("head_object", name, **extra).ok

    # --- locks ----------------------------------------------------------------------------------------------

    def until(self, seconds: float) -> Until:
        """The moment so many seconds from now, whole by the store's clock."""
        moment = floor(self.clock() + self.skew + seconds)
        return Until(datetime.fromtimestamp(moment, UTC), moment - self.skew)

    def locked_until(self, until: Until) -> None:
        """A lock was set: it is waited for before everything is removed."""
        self.latest = max(self.latest, until.local)

    def is_close(self, until: Until) -> bool:
        """Whether the lock is over or nearly so: what happens now proves nothing of it."""
        return self.clock() > until.local - _MARGIN

    def wait_for(self, until: Until) -> None:
        """Sleep until a lock is surely over."""
        if (seconds := until.local + 1.5 - self.clock()) > 0:
            self.sleep(seconds)


# --- removing ------------------------------------------------------------------------------------------------


def remove_below(scene: Scene, prefix: str) -> int:
    """Delete every version below a prefix of the bucket, delete markers too; how many stayed.

    What another preflight wrote that began less than a quarter of an hour ago may still be needed: it is left out.
    Where versions can not be listed, those that this scene wrote.
    """
    left = 0
    for key, version in _versions_below(scene, prefix):
        run = _RUN.match(key.removeprefix(prefix))
        if not key.startswith(scene.scratch) and run and _began(run[1]) > scene.clock() - BESIDE_SECONDS:
            continue
        left += not scene.ask("delete_object", Key=key, VersionId=version).ok
    return left


def _versions_below(scene: Scene, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        page = scene.ask("list_object_versions", Prefix=prefix, **more)
        if not page.ok:
            return [each for each in scene.written if each[0].startswith(prefix)]
        rows = [*page.fields.get("Versions", []), *page.fields.get("DeleteMarkers", [])]
        found += [(row["Key"], row["VersionId"]) for row in rows]
        if not page.fields.get("IsTruncated"):
            return found
        more = {"KeyMarker": page.fields.get("NextKeyMarker", "")}
        if marker := page.fields.get("NextVersionIdMarker"):
            more["VersionIdMarker"] = marker


def _began(digits: str) -> int:
    return parse_decimal(digits.encode("ascii"), "a preflight's folder")
