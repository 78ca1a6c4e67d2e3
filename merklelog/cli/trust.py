"""Whom a command believes: the caller's policy or keys, or for a log's own directory the keys it was made with."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

from merklelog.cli.files import name_of, read_argument
from merklelog.cli.session import visible
from merklelog.errors import KeyFormatError, PolicyError, UsageError

if TYPE_CHECKING:
    from merklelog.cli.server import Reach
    from merklelog.cli.sources import Reads
    from merklelog.client import Client, TileSource
    from merklelog.client.believed import Believed
    from merklelog.formats import Policy
    from merklelog.protocol import Cosigner

WANT_TRUST = "give --vkey KEY (what `merklelog vkey` prints, got in a way you trust) or --policy FILE"


def read_trust(policy: str | None, vkeys: tuple[str, ...]) -> Policy | None:
    """The policy that `--policy` or `--vkey` mean; None when neither was given.

    Raises UsageError for both, PolicyError and KeyFormatError naming the file or the key, OSError.
    """
    from merklelog.formats import parse_vkey, single_log_policy

    if policy is not None and vkeys:
        raise UsageError("--policy and --vkey: give one of them, a policy names its keys itself")
    if policy is not None:
        read = read_policy(policy)
        if not read.logs:
            raise PolicyError(f"{name_of(policy)}: policy: it lists no log, so no checkpoint meets it")
        return read
    if not vkeys:
        return None
    try:
        keys = [parse_vkey(text) for text in vkeys]
        trusted = single_log_policy(keys)
    except KeyFormatError as error:
        raise KeyFormatError(f"--vkey: {error}") from error
    except PolicyError as error:
        raise PolicyError(f"--vkey: {str(error).removeprefix('policy: ')}") from error
    if not trusted.logs:
        named = f"{visible(keys[0].name)} ({keys[0].key_id.hex()})"
        raise UsageError(f"--vkey: {named} is a receipt key, which signs no checkpoint; {WANT_TRUST} too")
    return trusted


def read_believed(policy: str | None, vkeys: tuple[str, ...], receipt_key: str | None) -> Believed | None:
    """The same with receipt keys: those of `--receipt-key` and among `--vkey`. Raises as `read_trust`."""
    from merklelog.client.believed import Believed, believed
    from merklelog.formats import parse_vkey
    from merklelog.formats.algorithms import SignatureType

    trusted = read_trust(policy, vkeys)
    if trusted is None:
        if receipt_key is not None:
            raise UsageError(f"--receipt-key: it signs no checkpoint; {WANT_TRUST} too")
        return None
    keys = tuple(key for text in vkeys if (key := parse_vkey(text)).type is SignatureType.RECEIPT)
    try:
        more = believed(trusted, receipt_key).receipt_keys
    except KeyFormatError as error:
        raise KeyFormatError(f"--receipt-key: {error}") from error
    return Believed(trusted, (*keys, *(key for key in more if key not in keys)))


def read_policy(path: str) -> Policy:
    """A policy file; `-` is standard input. Raises PolicyError with the file and the line, UsageError, OSError."""
    from merklelog.formats import parse_policy
    from merklelog.formats.policy import MAX_POLICY_BYTES

    try:
        return parse_policy(read_argument(path, MAX_POLICY_BYTES, "policy"))
    except PolicyError as error:
        raise PolicyError(f"{name_of(path)}: {error}") from error


def policy_for(source: TileSource, policy: Policy | None) -> Policy | None:
    """The caller's policy, else the keys that a log's own directory names; None for what has neither."""
    from merklelog.formats import single_log_policy
    from merklelog.log import LogReader

    if policy is None and isinstance(source, LogReader):
        return single_log_policy(source.vkeys)
    return policy


def is_server(target: str) -> bool:
    """Whether a target is on a server."""
    from merklelog.client.targets import GRPC_SCHEMES, HTTP_SCHEMES, scheme_of

    return scheme_of(target) in GRPC_SCHEMES | HTTP_SCHEMES


def is_bucket(target: str) -> bool:
    """Whether a target is a copy in a bucket, of which a client reads past what was put over an object."""
    from merklelog.client.targets import S3_SCHEMES, scheme_of

    return scheme_of(target) in S3_SCHEMES


@contextlib.contextmanager
def open_verified(target: str, policy: Policy | None, reach: Reach, *, poll: float = 0.2) -> Iterator[Reads]:
    """A target to read from, whom to believe about it, and how to get to it.

    Raises UsageError for a server or a published copy without a policy: what they say of themselves proves
    nothing.
    """
    from merklelog.cli.sources import ClientReads, FileReads
    from merklelog.client import VerifiedReads, open_target

    if reach.state is not None or is_server(target) or is_bucket(target):
        with open_client(target, policy, reach, poll=poll) as client:
            yield ClientReads(client)
        return
    with contextlib.closing(open_target(target)) as source:
        trust = policy_for(source, policy)
        if trust is None:
            raise UsageError(f"{visible(target)}: who signs this log? {WANT_TRUST}")
        yield FileReads(source, VerifiedReads(source, trust))


def open_client(target: str, policy: Policy | Believed | None, reach: Reach, *, poll: float = 0.2) -> Client:
    """A client of a target. Raises as `open_verified`."""
    from merklelog.client.connecting import connect_with

    if policy is None and (is_server(target) or is_bucket(target) or target.startswith("dir:")):
        raise UsageError(f"{visible(target)}: who signs this log? {WANT_TRUST}")
    return connect_with(target, policy, reach.access(), state=reach.state, poll=poll)


def utc(seconds: int) -> str:
    """POSIX seconds as people read them."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds after 1970"  # a witness may sign any time up to 2**63 - 1


def witness_name(cosigner: Cosigner) -> str:
    """The name that a witness has in the policy, which is octets, as a terminal may show it."""
    return visible(cosigner.witness.name.decode("utf-8", "backslashreplace"))
