"""Which logs a witness knows: a directory of policies, one file for one log or for several.

Each file is a tlog-policy. Its `log` lines say the keys of a log (the key's name is the origin); its quorum,
mostly `none`, says which other witnesses must have cosigned before this one does. The list is read whole at the
start and at each reload: one wrong file, and what was in force stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, PolicyError
from merklelog.formats import Policy, PolicyLog, VerifierKey, parse_policy
from merklelog.formats.policy import MAX_POLICY_BYTES

SUFFIX: Final = ".policy"


@dataclass(frozen=True, slots=True)
class KnownLogs:
    """The policy of every log, by its origin."""

    policies: Mapping[str, Policy]

    def __len__(self) -> int:
        return len(self.policies)

    def policy(self, origin: str) -> Policy | None:
        """What a checkpoint of that log must meet; None for a log that is not known."""
        return self.policies.get(origin)


def read_logs(folder: Path, own: Iterable[VerifierKey]) -> KnownLogs:
    """Every policy in `folder`. `own` are the witness' keys, which no log may have, nor their name.

    Raises ConfigError naming the file, and PolicyError with the line.
    """
    keys = tuple(own)
    taken = {key.public for key in keys}, {key.name for key in keys}
    policies: dict[str, Policy] = {}
    where: dict[str, Path] = {}
    for path in _files(folder):
        policy = _read(path)
        for log in policy.logs:
            _check(path, log, taken)
            if where.setdefault(log.key.name, path) != path:
                raise ConfigError(f"{path}: the log {log.key.name!r} is in {where[log.key.name]} too")
            policies[log.key.name] = policy
    return KnownLogs(policies)


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error


def _read(path: Path) -> Policy:
    try:
        with path.open("rb") as file:
            policy = parse_policy(file.read(MAX_POLICY_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
    if not policy.logs:
        raise ConfigError(f"{path}: it names no log")
    return policy


def _check(path: Path, log: PolicyLog, taken: tuple[set[bytes], set[str]]) -> None:
    publics, names = taken
    if log.key.public in publics or log.key.name in names:
        raise ConfigError(f"{path}:{log.line}: the log {log.key.name!r} has this witness' own name or key")
