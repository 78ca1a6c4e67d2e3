"""What a trust policy amounts to: how many witnesses it needs, can lose, and what it does not protect from.

A policy file says who must have cosigned; whoever wrote it wants to know how many witnesses may be silent, and how
many would have to help a log that shows two histories. Keys of one name are one witness' here: `parse_policy` has
them in one `any` group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from merklelog.formats.keys import VerifierKey
from merklelog.formats.policy import QUORUM_NONE, Group, Policy, PolicyWitness
from merklelog.formats.wire import quote
from merklelog.protocol.verdict import is_quorum


@dataclass(frozen=True, slots=True)
class Strength:
    """What a quorum takes, in witnesses.

    `witnesses` may count toward it, `fewest` can be enough, any `spare` of them may be silent for good, and a log
    that shows two histories under one policy needs `liars` that cosign both: 0 means that none has to.
    """

    witnesses: int
    fewest: int
    spare: int
    liars: int


class Caution(Enum):
    """What is lawful in a policy and perhaps not meant; the value is a word that programs compare."""

    NO_LOG = "no-log"
    NO_QUORUM = "no-quorum"
    ONE_WITNESS = "one-witness"
    SPLIT_VIEW = "split-view"
    ED25519_SUFFICES = "ed25519-suffices"
    NOT_COUNTED = "not-counted"
    LOGS_NAME = "logs-name"


@dataclass(frozen=True, slots=True)
class Remark:
    """A caution in plain words, and the line that it is about (0: no one line)."""

    caution: Caution
    text: str
    line: int = 0


def strength_of(policy: Policy) -> Strength:
    """What the policy's quorum takes; with `quorum none` nothing, and nothing is protected."""
    if policy.quorum == QUORUM_NONE:
        return Strength(0, 0, 0, 0)
    # Of each name: all of its witnesses; the fewest that are enough, that break it, that any two quorums share.
    known = {witness.name: (1, 1, 1, 1) for witness in policy.witnesses}
    keys = {witness.name: witness.key.name for witness in policy.witnesses}
    for group in policy.groups:
        members = [known[name] for name in _parties(group, keys)]
        everyone, fewest, breaking, shared = (sorted(column) for column in zip(*members, strict=True))
        k, n = group.threshold, len(members)
        known[group.name] = (
            sum(everyone),
            sum(fewest[:k]),
            sum(breaking[: n - k + 1]),
            # Two choices of k among n have at least 2k - n in common, and any so many can be made the common ones.
            sum(shared[: max(0, 2 * k - n)]),
        )
    witnesses, fewest_of_all, breaking_all, liars = known[policy.quorum]
    return Strength(witnesses, fewest_of_all, breaking_all - 1, liars)


def _parties(group: Group, keys: dict[bytes, str]) -> Iterable[bytes]:
    """The group's members, of several keys of one witness the first."""
    parties: dict[str | bytes, bytes] = {}
    for member in group.members:
        parties.setdefault(keys.get(member, member), member)
    return parties.values()


def counted(policy: Policy) -> frozenset[bytes]:
    """The names, of witnesses and groups, that the quorum is made of."""
    below = {policy.quorum}
    for group in reversed(policy.groups):  # each comes after the groups it is made of
        if group.name in below:
            below.update(group.members)
    return frozenset(below)


def review_policy(policy: Policy) -> tuple[Remark, ...]:
    """What the policy's author may not have meant, in the order of the file's lines. Nothing here is an error."""
    remarks = [
        *_about_logs(policy),
        *_about_quorum(policy),
        *_about_key_types(policy),
        *_about_unused(policy),
    ]
    return tuple(sorted(remarks, key=lambda remark: remark.line))


def _about_logs(policy: Policy) -> Iterator[Remark]:
    if not policy.logs:
        yield Remark(Caution.NO_LOG, "it lists no log, so no checkpoint meets it")
    origins = {log.key.name.encode("utf-8") for log in policy.logs}
    for witness in policy.witnesses:
        if witness.name in origins:
            text = f"the witness {quote(witness.name)} has a log's name in this file; its key is another"
            yield Remark(Caution.LOGS_NAME, text, witness.line)


def _about_quorum(policy: Policy) -> Iterator[Remark]:
    if policy.quorum == QUORUM_NONE:
        text = "quorum none: no witness is asked for, so a log can show each reader another history"
        yield Remark(Caution.NO_QUORUM, text)
        return
    strength = strength_of(policy)
    if strength.fewest == 1:
        yield Remark(
            Caution.ONE_WITNESS,
            "one witness alone is enough: a log and that witness together can show anything",
        )
    if not strength.liars:
        yield Remark(
            Caution.SPLIT_VIEW,
            "two sets of witnesses that have none in common both meet the quorum: a log can show one history to "
            "each without any witness doing wrong; ask for more than half",
        )


def _about_key_types(policy: Policy) -> Iterator[Remark]:
    yield from _about_log_keys(policy)
    names = counted(policy)
    witnesses = {witness.name: witness for witness in policy.witnesses if witness.name in names}
    mixed = [(group, pair) for group in policy.groups for pair in _mixed(group, witnesses)]
    for group, (first, second) in mixed:
        text = (
            f"group {quote(group.name)}: the Ed25519 key {quote(first.name)} alone suffices beside the ML-DSA-44 "
            f"key {quote(second.name)} of the same witness; name only the latter to ask for it"
        )
        yield Remark(Caution.ED25519_SUFFICES, text, group.line)
    classical = [name for name, witness in witnesses.items() if not witness.key.type.is_mldsa]
    if not mixed and len(classical) < len(witnesses) and is_quorum(policy, classical):
        text = "the quorum is met by Ed25519 cosignatures alone, though ML-DSA-44 keys count toward it too"
        yield Remark(Caution.ED25519_SUFFICES, text)


def _about_log_keys(policy: Policy) -> Iterator[Remark]:
    by_origin: dict[str, list[tuple[VerifierKey, int]]] = {}
    for log in policy.logs:
        by_origin.setdefault(log.key.name, []).append((log.key, log.line))
    for origin, keys in by_origin.items():
        classical = [line for key, line in keys if not key.type.is_mldsa]
        if classical and len(classical) < len(keys):
            text = (
                f"log {quote(origin)}: its Ed25519 key alone suffices beside its ML-DSA-44 key; list only the "
                f"latter to ask for it"
            )
            yield Remark(Caution.ED25519_SUFFICES, text, classical[0])


def _mixed(
    group: Group, witnesses: dict[bytes, PolicyWitness]
) -> Iterator[tuple[PolicyWitness, PolicyWitness]]:
    """Of each witness with keys of both types in this group, one of each."""
    pairs: dict[str, dict[bool, PolicyWitness]] = {}
    for member in group.members:
        if (witness := witnesses.get(member)) is not None:
            pairs.setdefault(witness.key.name, {}).setdefault(witness.key.type.is_mldsa, witness)
    yield from ((pair[False], pair[True]) for pair in pairs.values() if len(pair) == 2)


def _about_unused(policy: Policy) -> Iterator[Remark]:
    if policy.quorum == QUORUM_NONE:
        return
    names: Collection[bytes] = counted(policy)
    unused: list[tuple[str, bytes, int]] = [("witness", w.name, w.line) for w in policy.witnesses]
    unused += [("group", group.name, group.line) for group in policy.groups]
    for kind, name, line in unused:
        if name not in names:
            yield Remark(
                Caution.NOT_COUNTED,
                f"the {kind} {quote(name)} counts toward nothing: the quorum is without it",
                line,
            )
