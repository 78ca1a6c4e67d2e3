"""The boto3 client of a store, and its requests: each tried again where that helps, and counted."""

from __future__ import annotations

import functools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from merklelog.errors import ConfigError
from merklelog.publish.s3_options import S3Options
from merklelog.publish.s3_problems import BAD_CHECKSUM, TEMPORARY, Kind, Problem, error_of, problem_of_answer
from merklelog.version import __version__

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 60
_ATTEMPTS: Final = {Kind.SILENT: 4, Kind.THROTTLED: 7, Kind.CONFLICT: 12}
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 4.0
_SPARE_CONNECTIONS: Final = 4
_DETAIL: Final = 160
_AMAZON: Final = re.compile(r"^https?://[^/]*\.amazonaws\.com(\.cn)?(:[0-9]+)?/?$")

Sleep = Callable[[float], None]


def make_client(options: S3Options) -> Any:
    """A boto3 client for S3, thread safe; it asks nothing before its first request.

    Credentials, and what `options` leaves empty, come from boto3's chain: environment, shared files, SSO, a
    container's or a machine's role. Its own retries are off: `Requests` knows which attempt may have been stored.
    Raises ConfigError without botocore, which comes with boto3, for a profile that is not there and for settings
    that it does not take.
    """
    try:
        from botocore.config import Config  # takes a while to load, and only S3 targets need it
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ConfigError(f"s3:// targets need boto3 ({error}): pip install 'merklelog[s3]'") from error
    try:
        session = new_session(options.profile)
        region = options.region or session.get_config_variable("region") or "us-east-1"
        client = _client(session, options, region, options.addressing, Config)
        if options.addressing == "auto" and not _AMAZON.search(client.meta.endpoint_url):
            # A service of one's own seldom has a name for each bucket.
            client = _client(session, options, region, "path", Config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"publish.s3: {safe_text(error)}") from error
    return client


def new_session(profile: str = "") -> Any:
    """A session of botocore, boto3's core, which makes the clients; with the profile, "" for the usual one.

    Its descriptions of services are read once a process: a session of its own would read them again for each
    client, which takes most of a client's time and 13 MB. Raises what botocore raises.
    """
    from botocore.session import Session

    session = Session(profile=profile or None)
    session.register_component("data_loader", _models(session.get_config_variable("data_path")))
    return session


@functools.cache
def _models(data_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _client(
    session: Any, options: S3Options, region: str, addressing: str, config: Callable[..., Any]
) -> Any:
    settings = _settings(options, addressing)
    return session.create_client(
        "s3", endpoint_url=options.endpoint_url or None, region_name=region, config=config(**settings)
    )


def _settings(options: S3Options, addressing: str) -> dict[str, Any]:
    return {
        "signature_version": "s3v4",
        "s3": {"addressing_style": addressing},
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": options.parallel + _SPARE_CONNECTIONS,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "tcp_keepalive": True,
        "request_checksum_calculation": "when_required",  # SHA-256 is sent with every object by the store itself
        "response_checksum_validation": "when_required",
        "user_agent_extra": f"merklelog/{__version__}",
    }


def safe_text(error: object) -> str:
    """An error of boto3 as one short line; none of them holds a secret."""
    return ascii(str(error))[1:-1][:_DETAIL]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: `value`, or the `problem` that was expected.

    `doubtful`: an attempt before the last one may have been stored.
    """

    value: Any = None
    problem: Problem | None = None
    doubtful: bool = False


class Requests:
    """Sends the requests of one store, from any thread.

    `counts` has how many were sent, by operation, repeats included. Waits between attempts with full jitter,
    longer each time, and no shorter than the service asks for.
    """

    def __init__(self, client: Any, *, sleep: Sleep = time.sleep) -> None:
        self.client = client
        self.counts: Counter[str] = Counter()
        self._sleep = sleep
        self._lock = threading.Lock()
        self._date: tuple[str, float] | None = None
        self._bucket_seen = False

    def send(
        self, call: Callable[[], Any], operation: str, what: str, expected: frozenset[Kind] = frozenset()
    ) -> Answer:
        """The answer of `call`, a function that makes one request and reads all of its answer.

        A problem whose kind is `expected` is given back; any other is raised as `error_of` says, after the
        attempts its kind deserves. `what` names the object.
        """
        doubtful = False
        tries: Counter[Kind] = Counter()
        while True:
            problem, value = self._attempt(call, operation)
            if problem is None:
                self._bucket_seen = True
                return Answer(value, None, doubtful)
            tries[problem.kind] += 1
            if problem.kind not in TEMPORARY or tries[problem.kind] >= _ATTEMPTS[problem.kind]:
                break
            doubtful = doubtful or problem.may_be_stored
            self._sleep(_wait(tries.total(), problem.retry_after))
        if problem.kind in expected:
            return Answer(None, problem, doubtful)
        raise error_of(problem, what, tries.total())

    def _attempt(self, call: Callable[[], Any], operation: str) -> tuple[Problem | None, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        self.count(operation)
        try:
            value = call()
        except ClientError as error:
            return problem_of_answer(dict(error.response), operation), None
        except BotoCoreError as error:
            return _problem_of_client(error, operation), None
        if isinstance(value, dict):
            self._note_date(value)
        return None, value

    def count(self, operation: str) -> None:
        """One more request was sent."""
        with self._lock:
            self.counts[operation] += 1

    @property
    def bucket_seen(self) -> bool:
        """Whether some request succeeded, so that the bucket is there."""
        return self._bucket_seen

    # --- the service's clock --------------------------------------------------------------------------------

    def _note_date(self, response: dict[str, Any]) -> None:
        date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            self._date = (date, time.monotonic())

    def now(self) -> datetime:
        """The service's time as its last answer told it (to a second), else this machine's."""
        if self._date is not None:
            text, then = self._date
            try:
                said = parsedate_to_datetime(text)
            except ValueError:
                return datetime.now(UTC)  # a service without a readable clock: ours has to do
            return datetime.fromtimestamp(said.timestamp() + time.monotonic() - then, UTC)
        return datetime.now(UTC)


def _wait(attempt: int, asked: float | None) -> float:
    ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt)
    jitter = random.uniform(0.0, ceiling)  # noqa: S311  it spreads requests and hides nothing
    return max(jitter, min(asked or 0.0, _LONGEST_WAIT))


def _problem_of_client(error: Exception, operation: str) -> Problem:
    """What botocore could not do: reach the service, find credentials, read an answer whole."""
    from botocore import exceptions as known

    name = type(error).__name__
    inner = getattr(error, "kwargs", {}).get("error")
    detail = f"{name}: {safe_text(inner if inner is not None else error)}"
    credentials = (
        *(known.NoCredentialsError, known.PartialCredentialsError, known.CredentialRetrievalError),
        *(known.TokenRetrievalError, known.SSOError, known.NoAuthTokenError),
    )
    if isinstance(error, credentials):
        sought = "docs/s3.md says where they are looked for"
        return Problem(
            Kind.DENIED, operation, name, detail=f"no usable credentials found ({detail}): {sought}"
        )
    if isinstance(error, known.FlexibleChecksumError):
        return Problem(Kind.SILENT, operation, BAD_CHECKSUM, detail="damaged")
    if isinstance(error, known.ConnectionError | known.HTTPClientError | known.IncompleteReadError):
        return Problem(Kind.SILENT, operation, name, detail=f"no answer ({detail})")
    return Problem(Kind.REFUSED, operation, name, detail=detail)
