"""`merklelog witness`: one who watches that logs only grow, and says so under their checkpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import click

from merklelog.cli.command import command, directory_argument
from merklelog.cli.files import name_of, read_argument
from merklelog.cli.results import Origin
from merklelog.cli.session import Session, visible
from merklelog.errors import UsageError

_KINDS: Final = ("ed25519", "mldsa44")


@dataclass(frozen=True, slots=True)
class WitnessInitResult:
    """A witness was made."""

    name: Annotated[str, "its name, which is that of its keys"]
    path: Annotated[str, "its directory"]
    keys: Annotated[str, "where its private keys are"]
    vkeys: Annotated[list[str], "its verifier keys: Ed25519, ML-DSA-44"]
    logs: Annotated[list[str], "the origins of the logs that it knows"]


@dataclass(frozen=True, slots=True)
class ResumedResult:
    """A log for which the witness signs again."""

    origin: Origin
    size: Annotated[int, "the size that it goes on from"]


@dataclass(frozen=True, slots=True)
class WitnessResumeResult:
    """What an operator said was newest."""

    logs: Annotated[list[ResumedResult], "the logs for which it was said"]


@click.group("witness")
def witness() -> None:
    """Run a witness, who cosigns logs that only grow.

    A witness keeps the newest checkpoint of each log on its list, takes the next one only with a proof that the
    log has grown from there, and signs it with the time (c2sp.org/tlog-witness).
    """


@command(
    "init",
    example="merklelog witness init watcher --name witness.example.com/w1 --vkey KEY",
    result=WitnessInitResult,
)
@directory_argument()
@click.option(
    "--name", metavar="NAME", required=True, help="The witness' name for good, like witness.example.com/w1."
)
@click.option(
    "--vkey",
    "vkeys",
    metavar="KEY",
    multiple=True,
    help="A verifier key of a log that it is to know; again for more: of one log any one is enough.",
)
@click.option(
    "--keys", metavar="PATH", type=click.Path(), help="Where the private keys go.  [default: DIR/keys]"
)
@click.option(
    "--key-type",
    "kinds",
    type=click.Choice(_KINDS),
    multiple=True,
    help="Make only this key; both when not given.",
)
@click.pass_obj
def init(
    session: Session,
    directory: str,
    name: str,
    vkeys: tuple[str, ...],
    keys: str | None,
    kinds: tuple[str, ...],
) -> None:
    """Make a witness in DIR.

    That is its two keys, a configuration, an empty database, and DIR/logs with a policy (c2sp.org/tlog-policy) for
    each log that it knows. More are added as files DIR/logs/NAME.policy; a witness that is running takes them in
    at SIGHUP. Prints the verifier keys, which belong into the policies of those who trust it.
    """
    from merklelog.formats import SignatureType, format_vkey, parse_vkey
    from merklelog.witness.create import create_witness

    types = {"ed25519": SignatureType.COSIGNATURE_ED25519, "mldsa44": SignatureType.COSIGNATURE_MLDSA44}
    logs = [parse_vkey(text) for text in vkeys]
    made = create_witness(
        Path(directory),
        name,
        keys=None if keys is None else Path(keys),
        logs=logs,
        kinds=tuple(types[kind] for kind in _KINDS if not kinds or kind in kinds),
    )
    place = str((Path(directory) / "keys" if keys is None else Path(keys)).absolute())
    shown = [format_vkey(key) for key in made]
    origins = list(dict.fromkeys(key.name for key in logs))
    lines = [
        f"made {visible(directory)}: a witness, name {visible(name)}",
        f"private keys: {visible(place)}",
        f"logs known: {', '.join(map(visible, origins)) or 'none yet'}",
        *shown,
    ]
    session.show(WitnessInitResult(name, str(Path(directory).absolute()), place, shown, origins), lines)


@command(
    "serve",
    example="merklelog witness serve watcher\nmerklelog witness serve watcher --after-restore",
)
@directory_argument()
@click.option("--http", metavar="ADDRESS", help="Where it takes checkpoints.  [default: 127.0.0.1:7081]")
@click.option(
    "--admin", metavar="ADDRESS", help="Where metrics and readiness are.  [default: 127.0.0.1:7091]"
)
@click.option("--log-format", metavar="FORMAT", help="human, or json for an object a line.  [default: human]")
@click.option(
    "--after-restore",
    is_flag=True,
    help="DIR is an old copy: sit out for every log until `witness resume` says what was newest.",
)
def serve(directory: str, after_restore: bool, **addresses: str | None) -> None:
    """Take checkpoints over HTTP until SIGTERM or SIGINT.

    SIGHUP reads the list of logs and the TLS certificate again. SIGTERM drains. Its log goes to standard error.
    """
    try:
        from merklelog.servers.witness import serve_witness
    except ModuleNotFoundError as error:
        raise UsageError(f"a server needs {error.name}: install merklelog[serve]") from error
    from merklelog.witness.create import check_witness
    from merklelog.witness.restore import mark_restored

    path = Path(directory)
    check_witness(path)
    if after_restore:
        mark_restored(path)
    options = {f"witness_server.{name}": value for name, value in addresses.items() if value is not None}
    serve_witness(path, os.environ, options)


@command(
    "resume",
    example="merklelog witness resume watcher --newest newest.checkpoint\n"
    "merklelog witness resume watcher --as-stored example.com/trail",
    result=WitnessResumeResult,
)
@directory_argument()
@click.option(
    "--newest",
    metavar="FILE",
    multiple=True,
    help="The newest checkpoint known of a log, from the log, a monitor or another witness; again for more logs.",
)
@click.option(
    "--as-stored",
    metavar="ORIGIN",
    multiple=True,
    help="Nothing newer than what DIR has of this log was ever signed; again for more logs.",
)
@click.pass_obj
def resume(session: Session, directory: str, newest: tuple[str, ...], as_stored: tuple[str, ...]) -> None:
    """Say what was newest, after a copy was brought back.

    The witness in DIR must not be running. It signs again for the logs named here and goes on from these
    checkpoints; for the others it sits out as before. A checkpoint older than what DIR has is refused, and so is
    another tree of the same size: that is a fork of the log, and the error has both notes.
    """
    from merklelog.formats.note import MAX_NOTE_BYTES
    from merklelog.witness.config import load_witness_config
    from merklelog.witness.create import check_witness
    from merklelog.witness.restore import resume as take

    if not newest and not as_stored:
        raise UsageError("say what was newest: --newest FILE, or --as-stored ORIGIN")
    path = Path(directory)
    check_witness(path)
    notes = {name_of(each): read_argument(each, MAX_NOTE_BYTES, "checkpoint") for each in newest}
    if len(notes) != len(newest):
        raise UsageError("--newest: a file is named twice")
    done = take(path, load_witness_config(path, os.environ), notes, as_stored)
    logs = [ResumedResult(each.origin, each.size) for each in done]
    session.show(
        WitnessResumeResult(logs),
        [f"signs again for {visible(each.origin)} from size {each.size} on" for each in logs],
    )


for each in (init, serve, resume):
    witness.add_command(each)
