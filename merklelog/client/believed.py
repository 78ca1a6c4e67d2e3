"""Whom a client believes: what a caller says of it, as a policy and the receipt keys that no policy lists."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from merklelog.errors import KeyFormatError, PolicyError, UsageError
from merklelog.formats.algorithms import SignatureType
from merklelog.formats.keys import VerifierKey, parse_vkey
from merklelog.formats.policy import MAX_POLICY_BYTES, Policy, parse_policy, single_log_policy
from merklelog.formats.wire import quote

# A policy; verifier keys of one log, of which any is enough; or the path of a file with one or the other.
Trusted = Policy | VerifierKey | str | os.PathLike[str] | Iterable[VerifierKey | str]
# A log's receipt key, or several.
ReceiptKeys = VerifierKey | str | Iterable[VerifierKey | str]


@dataclass(frozen=True, slots=True)
class Believed:
    """Checkpoints that meet the policy, and receipt notes that one of these keys signed."""

    policy: Policy
    receipt_keys: tuple[VerifierKey, ...] = ()


def policy_of(trust: Trusted) -> Policy:
    """The policy that a caller's trust means: see `believed`."""
    return believed(trust).policy


def believed(trust: Trusted, receipt_key: ReceiptKeys | None = None) -> Believed:
    """What a caller's trust means; `receipt_key` is for who has no file of keys with it, but a policy.

    A string is a verifier key when it has the form of one, else the path of a file: a policy
    (c2sp.org/tlog-policy) or verifier keys, one a line, as `merklelog vkey` prints them, the receipt key among
    them. Raises KeyFormatError, PolicyError; UsageError when no key is given or the file can not be read.
    """
    more = _receipt_keys(receipt_key)
    if isinstance(trust, Policy):
        return Believed(trust, more)
    if isinstance(trust, VerifierKey):
        return _of_keys([trust], more)
    if isinstance(trust, str) and "+" in trust and not Path(trust).exists():
        return _of_keys([parse_vkey(trust.strip())], more)
    if isinstance(trust, str | os.PathLike):
        return _read(Path(trust), more)
    return _of_keys([parse_vkey(key) if isinstance(key, str) else key for key in trust], more)


def _receipt_keys(given: ReceiptKeys | None) -> tuple[VerifierKey, ...]:
    if given is None:
        return ()
    listed = [given] if isinstance(given, VerifierKey | str) else given
    keys = tuple(parse_vkey(key.strip()) if isinstance(key, str) else key for key in listed)
    for key in keys:
        if key.type is not SignatureType.RECEIPT:
            raise KeyFormatError(
                f"receipt key {quote(key.name)}: its type is 0x{key.type.value:02x}, want 0xff: the third line "
                f"that `merklelog vkey` prints"
            )
    return keys


def _of_keys(keys: list[VerifierKey], more: tuple[VerifierKey, ...]) -> Believed:
    receipts = tuple(key for key in keys if key.type is SignatureType.RECEIPT)
    if len(receipts) == len(keys):
        which = "only a receipt key, which signs no checkpoint," if keys else "no verifier key"
        raise UsageError(f"trust: {which} is given, so nothing could be believed")
    return Believed(single_log_policy(keys), (*receipts, *(key for key in more if key not in receipts)))


def _read(path: Path, more: tuple[VerifierKey, ...]) -> Believed:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"trust: {path}: {error.strerror or error}") from error
    try:
        lines = [line.strip() for line in data.splitlines()]
        # A line of a policy has at least two words (tlog-policy, "Format"), a verifier key has no space in it.
        if any(lines) and not any(b" " in line or b"\t" in line or line.startswith(b"#") for line in lines):
            return _of_keys([parse_vkey(line.decode("utf-8")) for line in lines if line], more)
        return Believed(parse_policy(data), more)
    except UnicodeDecodeError as error:
        raise KeyFormatError(f"{path}: not UTF-8") from error
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
    except KeyFormatError as error:
        raise KeyFormatError(f"{path}: {error}") from error
