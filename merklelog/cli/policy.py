"""`merklelog policy check`: what a trust policy means, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command
from merklelog.cli.session import Session, visible

if TYPE_CHECKING:
    from merklelog.formats import Policy, VerifierKey
    from merklelog.protocol.policy_review import Remark, Strength

Vkey = Annotated[str, "the verifier key"]
Url = Annotated[str | None, "where it is reached; null when the policy does not say"]
Line = Annotated[int | None, "the line of the file; null for no one line"]


@dataclass(frozen=True, slots=True)
class LogResult:
    """A log key of the policy; any one key of a log is enough."""

    origin: Annotated[str, "the log's name"]
    vkey: Vkey
    url: Url
    line: Line


@dataclass(frozen=True, slots=True)
class WitnessResult:
    """A witness of the policy."""

    name: Annotated[str, "its name in the file"]
    vkey: Vkey
    url: Url
    line: Line


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A group of witnesses and groups."""

    name: Annotated[str, "its name in the file"]
    threshold: Annotated[int, "so many of its members are enough"]
    members: Annotated[list[str], "their names"]
    line: Line


@dataclass(frozen=True, slots=True)
class WarningResult:
    """What is lawful and perhaps not meant."""

    warning: Annotated[
        str,
        "no-log, no-quorum, one-witness, split-view, ed25519-suffices, not-counted or logs-name",
    ]
    text: Annotated[str, "the same in a sentence"]
    line: Line


@dataclass(frozen=True, slots=True)
class PolicyCheckResult:
    """A policy that can be used, and what it amounts to."""

    path: Annotated[str, "the policy file"]
    logs: Annotated[list[LogResult], "whose checkpoints are accepted"]
    witnesses: Annotated[list[WitnessResult], "who may cosign"]
    groups: Annotated[list[GroupResult], "how they count together"]
    quorum: Annotated[str, "who must have cosigned: a witness, a group, or none"]
    counting: Annotated[int, "how many witnesses count toward the quorum"]
    fewest: Annotated[int, "how many of them can be enough"]
    spare: Annotated[int, "how many may be silent, whichever they are, and the quorum can still be met"]
    liars: Annotated[int, "how many have to cosign two histories before a log can show both; 0: none has to"]
    warnings: Annotated[list[WarningResult], "what its author should look at"]


@click.group("policy")
def policy() -> None:
    """Trust policies: whom a verifier believes."""


@command("check", example="merklelog policy check trail.policy", result=PolicyCheckResult)
@click.argument("file", metavar="FILE", type=click.Path())
@click.pass_obj
def check(session: Session, file: str) -> None:
    """Explain a trust policy, and warn of what its author may not have meant.

    FILE is a policy (c2sp.org/tlog-policy); - is standard input. A file that can not be used is refused with the
    line, status 2; warnings, printed after the explanation, change no status.
    """
    from merklelog.cli.trust import read_policy
    from merklelog.protocol.policy_review import review_policy, strength_of

    read = read_policy(file)
    strength, remarks = strength_of(read), review_policy(read)
    session.show(_result(file, read, strength, remarks), _lines(read, strength, remarks))


def _result(path: str, read: Policy, strength: Strength, remarks: tuple[Remark, ...]) -> PolicyCheckResult:
    from merklelog.formats import format_vkey

    return PolicyCheckResult(
        path=path,
        logs=[LogResult(log.key.name, format_vkey(log.key), _url(log.url), log.line) for log in read.logs],
        witnesses=[
            WitnessResult(_shown(w.name), format_vkey(w.key), _url(w.url), w.line) for w in read.witnesses
        ],
        groups=[
            GroupResult(_shown(g.name), g.threshold, [_shown(name) for name in g.members], g.line)
            for g in read.groups
        ],
        quorum=_shown(read.quorum),
        counting=strength.witnesses,
        fewest=strength.fewest,
        spare=strength.spare,
        liars=strength.liars,
        warnings=[WarningResult(r.caution.value, r.text, r.line or None) for r in remarks],
    )


def _lines(read: Policy, strength: Strength, remarks: tuple[Remark, ...]) -> Iterator[str]:
    origins: dict[str, list[str]] = {}
    for log in read.logs:
        origins.setdefault(log.key.name, []).append(_kind(log.key))
    for origin, kinds in origins.items():
        enough = ": any one of them is enough" if len(kinds) > 1 else ""
        yield f"log      {visible(origin)}, signing with its {' or its '.join(kinds)}{enough}"
    for witness in read.witnesses:
        where = "" if witness.url is None else f", at {_shown(witness.url)}"
        yield f"witness  {_shown(witness.name)}: {visible(witness.key.name)}, {_kind(witness.key)}{where}"
    for group in read.groups:
        names = ", ".join(map(_shown, group.members))
        when = _how_many(group.threshold, len(group.members))
        yield f"group    {_shown(group.name)}: has cosigned when {when}: {names}"
    yield from _quorum(read, strength)
    for remark in remarks:
        where = f"line {remark.line}: " if remark.line else ""
        yield f"warning: {where}{remark.text}"


def _quorum(read: Policy, strength: Strength) -> Iterator[str]:
    if not strength.witnesses:
        yield "quorum   none: the log's signature is enough, whoever cosigned"
        return
    yield f"quorum   {_shown(read.quorum)} must have cosigned"
    count, fewest, spare, liars = strength.witnesses, strength.fewest, strength.spare, strength.liars
    yield f"enough   {fewest} of {_count(count)} can be enough"
    lost = f"any {spare} of them may be silent" if spare else "none of them may be silent"
    if spare == 0 and count > fewest:
        lost = "there is one whose silence stops it"
    yield f"silent   {lost}"
    if liars:
        yield f"forks    a log that shows two histories needs at least {_count(liars)} to cosign both"


def _how_many(threshold: int, members: int) -> str:
    if threshold == members:
        return "each of these has" if members > 1 else "this one has"
    return f"{threshold} of these {members} have" if threshold > 1 else f"one of these {members} has"


def _count(number: int) -> str:
    return "1 witness" if number == 1 else f"{number} witnesses"


def _kind(key: VerifierKey) -> str:
    return f"{'ML-DSA-44' if key.type.is_mldsa else 'Ed25519'} key {key.key_id.hex()}"


def _shown(name: bytes) -> str:
    """A name or a URL, which is octets, as a terminal may show it."""
    return visible(name.decode("utf-8", "backslashreplace"))


def _url(url: bytes | None) -> str | None:
    return None if url is None else _shown(url)


policy.add_command(check)
