"""`merklelog freeze` and `chain`: how a log ends, and where it stands among others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command, directory_argument, target_argument, trust_options
from merklelog.cli.results import Origin, Root, Size
from merklelog.cli.server import Reach, server_options
from merklelog.cli.session import Session, visible
from merklelog.cli.trust import open_verified, read_trust
from merklelog.errors import FrozenError, StoppedError, UnavailableError

if TYPE_CHECKING:
    from merklelog.cli.sources import Reads
    from merklelog.client import VerifiedHead
    from merklelog.formats import Policy, VerifierKey
    from merklelog.log import Log
    from merklelog.log.head import Head
    from merklelog.protocol.statement import Chain

PATIENCE: Final = 60.0  # seconds for which targets may be silent

Successor = Annotated[str | None, "the origin of the log that goes on; null where none is named"]


@dataclass(frozen=True, slots=True)
class FreezeResult:
    """The log has ended."""

    origin: Origin
    index: Annotated[int, "where the statement stands: the log's last entry"]
    size: Size
    root: Root
    successor: Successor
    already: Annotated[bool, "whether it had ended before"]
    checkpoint: Annotated[str, "the last checkpoint, a signed note"]


@command("freeze", example="merklelog freeze trail --successor example.com/trail-2", result=FreezeResult)
@directory_argument()
@click.option("--successor", metavar="NAME", help="The origin of the log that goes on.")
@click.pass_obj
def freeze(session: Session, directory: str, successor: str | None) -> None:
    """End a log: its last entry says that it takes no more.

    The statement is signed by the log's keys and is the last entry, under the last checkpoint. Appends are
    refused from then on, for good: after every restart, and in a log that is recovered. Nothing undoes it. No
    other process may have the log open. A log with publish targets ends where it was published: status 3 says that
    a target did not answer, and to run it again.
    """
    from merklelog.log import open_log

    with open_log(directory, wait=PATIENCE) as log:
        already = log.statements.ended
        if already is None:
            log.freeze(successor)
        elif successor is not None and successor != already.successor:
            named = "none" if already.successor is None else visible(already.successor)
            raise FrozenError(f"{visible(log.origin)} is frozen already; the successor it names is {named}")
        head = _published(log)
        ended = log.statements.ended
        if ended is None:
            raise StoppedError(f"{directory}: the statement is not there")
        result = FreezeResult(
            origin=log.origin,
            index=ended.size,
            size=head.size,
            root=head.root.hex(),
            successor=ended.successor,
            already=already is not None,
            checkpoint=head.note.decode("utf-8"),
        )
    goes_on = "" if result.successor is None else f"; {visible(result.successor)} goes on"
    line = f"frozen: {visible(result.origin)} ends with entry {result.index}, at size {result.size}{goes_on}"
    session.show(result, [line])


def _published(log: Log) -> Head:
    """The head that readers see, with the statement in it. Raises UnavailableError when no target answers."""
    if not log.config.publish.targets:
        return log.integrated
    future: Future[Head] = log.publish_now()
    until = time.monotonic() + PATIENCE
    while not future.done():
        if time.monotonic() > until:
            status = log.publishing
            why = (status.last_error if status else None) or "no target answered"
            raise UnavailableError(f"frozen, and not published yet: {why}")
        time.sleep(0.05)
    return future.result()


@dataclass(frozen=True, slots=True)
class ChainResult:
    """Where a log stands among others, by its own signed statements."""

    origin: Origin
    size: Size
    root: Root
    frozen: Annotated[bool, "whether it has ended, with its last entry"]
    successor: Successor
    predecessor: Annotated[str | None, "the origin of the log that it follows; null: it says of none"]
    predecessor_size: Annotated[int | None, "the size with which that one ended"]
    predecessor_root: Annotated[str | None, "its root at that size"]


@command("chain", example="merklelog chain trail", result=ChainResult)
@target_argument
@trust_options
@server_options()
@click.pass_obj
def chain(session: Session, target: str, policy: str | None, vkeys: tuple[str, ...], reach: Reach) -> None:
    """Say which log this one follows, and whether it has ended.

    Its first and its last entry are read and verified as `get` does; what counts is signed by the log's own keys.
    """
    trusted = read_trust(policy, vkeys)
    with open_verified(target, trusted, reach) as reads:
        head = reads.head()
        checkpoint = head.checkpoint
        found = _chain(reads, head, _keys(target, trusted))
    follows, ended = found.follows, found.freeze
    result = ChainResult(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        frozen=ended is not None,
        successor=None if ended is None else ended.successor,
        predecessor=None if follows is None else follows.predecessor,
        predecessor_size=None if follows is None else follows.last_size,
        predecessor_root=None if follows is None else follows.root.hex(),
    )
    session.show(result, _lines(result))


def _keys(target: str, trusted: Policy | None) -> tuple[VerifierKey, ...]:
    """Whose statements count: the caller's log keys, else those of the log's own directory."""
    if trusted is not None:
        return tuple(log.key for log in trusted.logs)
    from merklelog.log import open_reader

    with open_reader(target) as reader:
        return reader.vkeys


def _chain(reads: Reads, head: VerifiedHead, keys: tuple[VerifierKey, ...]) -> Chain:
    from merklelog.protocol.statement import Chain, follows_at_start, freeze_at

    origin, size = head.checkpoint.origin, head.checkpoint.size
    if not size:
        return Chain()
    _, first = next(iter(reads.entries(head, 0, 1)))
    _, last = next(iter(reads.entries(head, size - 1, size)))
    return Chain(follows_at_start(first, origin, keys), freeze_at(last, size - 1, origin, keys))


def _lines(result: ChainResult) -> Iterator[str]:
    if result.predecessor is not None:
        yield f"follows  {visible(result.predecessor)}, which ended at size {result.predecessor_size}"
    if not result.frozen:
        yield f"goes on  {visible(result.origin)}, at size {result.size}"
        return
    yield f"frozen   {visible(result.origin)}, with entry {result.size - 1}"
    if result.successor is not None:
        yield f"then     {visible(result.successor)}"
