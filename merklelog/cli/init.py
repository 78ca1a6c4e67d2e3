"""`merklelog init`: a new log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command, directory_argument
from merklelog.cli.results import Origin, Vkeys
from merklelog.cli.session import Session, visible
from merklelog.cli.settings import parse_setting
from merklelog.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from merklelog.tree import Hash

# Said by options of their own, which also check that the two halves of a log agree.
OWN_OPTION = {
    "log.origin": "--origin",
    "log.keys": "--keys",
    "log.dedupe": "--dedupe",
    "log.lookup": "--lookup",
}


@dataclass(frozen=True, slots=True)
class InitResult:
    """A log was made."""

    origin: Origin
    path: Annotated[str, "the data directory"]
    keys: Annotated[str, "where the private keys are"]
    vkeys: Vkeys
    follows: Annotated[str | None, "the origin of the log that it follows; null without --follows"]
    rollback_protection: Annotated[
        str, '"targets", or "none": nothing outside this disk holds the log to what it signed'
    ]
    protected: Annotated[
        list[str], "fields that [ingest.protect] keeps out of audit events; empty: nothing is protected"
    ]


@command(
    "init",
    example="merklelog init trail --origin example.com/trail",
    result=InitResult,
)
@directory_argument()
@click.option(
    "--origin", metavar="NAME", required=True, help="The log's name for good, like example.com/trail."
)
@click.option(
    "--keys", metavar="PATH", type=click.Path(), help="Where the private keys go.  [default: DIR/keys]"
)
@click.option(
    "--reuse-keys", is_flag=True, help="Take keys that are at PATH already; they never signed this log."
)
@click.option(
    "--follows",
    metavar="DIR",
    type=click.Path(),
    help="A frozen log's directory: say that this log goes on there.",
)
@click.option("--dedupe", is_flag=True, help="An entry that is in the log already gets its first index.")
@click.option("--lookup", is_flag=True, help="Keep an index by leaf hash.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other key of the configuration, like store.min_free_bytes=0; again for more.",
)
@click.pass_obj
def init(
    session: Session,
    directory: str,
    origin: str,
    keys: str | None,
    reuse_keys: bool,
    follows: str | None,
    dedupe: bool,
    lookup: bool,
    settings: tuple[str, ...],
) -> None:
    """Make a log in DIR.

    That is three keys, a configuration and an empty signed tree. Prints the verifier keys, which whoever
    verifies needs. Keep a copy of the private keys: no command shows them, and a log without them is
    read-only. With --set publish.targets=s3://BUCKET/PREFIX (or dir:/PATH) the log is published there as it grows
    and outlives its disk; nothing is written there before the log is opened, and a place that holds a published
    log already is refused. With --follows the first entry says which log this one follows, and how that one ended.
    """
    from merklelog.formats import format_vkey
    from merklelog.log import create_log, load_config

    chosen = dict(parse_setting(text, OWN_OPTION) for text in settings)
    for name, given in (("log.dedupe", dedupe), ("log.lookup", lookup)):
        if given:
            chosen[name] = True
    if reuse_keys and keys is None:
        raise UsageError("--reuse-keys: say where they are with --keys PATH")
    path = Path(directory)
    before = None if follows is None else _ended(follows, origin)
    verifiers = create_log(
        path, origin, keys=None if keys is None else Path(keys), reuse_keys=reuse_keys, settings=chosen
    )
    if before is not None:
        _follow(path, before)
    config = load_config(path, {})
    place = config.keys_path(path.absolute())
    settled = load_config(path)
    there = (("targets", settled.publish.targets), ("witnesses", settled.witness.policy))
    protection = " and ".join(name for name, is_there in there if is_there) or "none"
    protect = load_config(path).ingest.protect
    protected = [*protect.drop, *protect.hmac]
    vkeys = [format_vkey(key) for key in verifiers]
    lines = [
        f"made {visible(directory)}: {'an empty log' if before is None else 'a log'}, origin {visible(origin)}",
        f"private keys: {visible(str(place))}",
        f"rollback protection: {protection}",
        f"personal data: {_protection(protected)}",
        *vkeys,
    ]
    predecessor = None
    if before is not None:
        predecessor = before.origin
        lines.insert(1, f"follows: {visible(predecessor)}, which ended at size {before.size}")
    made = InitResult(origin, str(path.absolute()), str(place), vkeys, predecessor, protection, protected)
    session.show(made, lines)


def _protection(names: list[str]) -> str:
    """What enters a log stays in it, so it is said before anything did."""
    if not names:
        return "nothing is protected; what enters stays (docs/privacy.md)"
    return f"kept out of audit events: {visible(', '.join(names))}"


@dataclass(frozen=True, slots=True)
class _Ended:
    """A log that was frozen: how it ended."""

    origin: str
    size: int
    root: Hash


def _ended(directory: str, successor: str) -> _Ended:
    """The frozen log in that directory. Raises UsageError for one that goes on, or names another successor."""
    from merklelog.log import open_reader

    with open_reader(directory) as reader:
        freeze = reader.chain.freeze
        if freeze is None:
            raise UsageError(
                f"--follows {directory}: {reader.origin} is not frozen; `merklelog freeze` ends a log"
            )
        if freeze.successor not in (None, successor):
            raise UsageError(
                f"--follows {directory}: {reader.origin} says that {freeze.successor} follows it"
            )
        return _Ended(reader.origin, reader.size, reader.root)


def _follow(path: Path, before: _Ended) -> None:
    from merklelog.log import open_log

    try:
        with open_log(path) as log:
            log.statements.follow(before.origin, before.size, before.root)
    except UnavailableError as error:
        raise UnavailableError(
            f"{path} is made, and does not say yet which log it follows: remove it and try again: {error}"
        ) from error
