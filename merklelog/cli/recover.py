"""`merklelog recover`: a log made anew from its published copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command, directory_argument
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import Origin, Root, Size
from merklelog.cli.session import Session, visible
from merklelog.cli.settings import parse_setting
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from merklelog.formats import VerifierKey
    from merklelog.log.head import Signers
    from merklelog.log.recover import RecoveryReport
    from merklelog.log.table import Value
    from merklelog.publish import ObjectStore

NOT_REBUILT: Final = (
    "not rebuilt: idempotency keys and identities that callers gave (an append sent again is stored again), "
    "tokens (nobody is asked for one until one is added), settings"
)
_OWN_OPTION: Final = {"log.keys": "--keys"}
_DIRECTORY_READS: Final = 2  # at a time: a directory answers at once, and what is read is hashed here


@dataclass(frozen=True, slots=True)
class RecoverResult:
    """A log was made anew from what was published of it."""

    origin: Origin
    path: Annotated[str, "the new data directory"]
    source: Annotated[str, "the copy it was made from"]
    size: Size
    root: Root
    staged: Annotated[int, "entries that no checkpoint was signed for yet, finished from a staging object"]
    resumed: Annotated[int, "entries that an earlier run, which was stopped, had brought in"]
    checkpoints: Annotated[int, "published checkpoints that were verified and kept"]
    epoch: Annotated[int | None, "the last epoch of the log; null when the copy is no publish target"]
    start: Annotated[int | None, "the size with which that epoch began"]
    published: Annotated[list[int], "the newest sizes published in that epoch, at most 20, largest first"]
    read_only: Annotated[bool, "whether it was recovered without private keys"]
    left_out: Annotated[bool, "whether head names more than was recovered: then the log does not start on it"]
    not_rebuilt: Annotated[str, "what no copy has"]
    remarks: Annotated[list[str], "what of the copy was set back, damaged or left out"]


@command(
    "recover",
    example="merklelog recover trail --from s3://bucket/trail --keys /etc/merklelog/trail/keys",
    result=RecoverResult,
)
@directory_argument()
@click.option(
    "--from",
    "source",
    metavar="TARGET",
    required=True,
    help="Where it was published: dir:PATH or s3://bucket/prefix.",
)
@click.option(
    "--keys", metavar="PATH", type=click.Path(), help="Where the log's private keys are; they stay there."
)
@click.option(
    "--vkey",
    "vkeys",
    metavar="KEY",
    multiple=True,
    help="Without --keys: a verifier key, as `merklelog vkey` prints it; again for each that it prints.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="A key of the new configuration, like log.dedupe=true; again for more.",
)
@click.option(
    "--static-copy", is_flag=True, help="TARGET has no head because no log ever published to it by itself."
)
@click.option(
    "--epoch",
    metavar="N",
    type=int,
    help="Where a target's head is damaged or gone: the largest epoch that the log is known to have had.",
)
@click.option(
    "--without-staged",
    is_flag=True,
    help="Bring back the newest checkpoint, and not what a publication had begun beyond it.",
)
@click.option(
    "--witness",
    metavar="URL",
    help="For a copy that was set back: take the checkpoint of this witness' monitoring endpoint, if it is newer.",
)
@click.pass_obj
def recover(
    session: Session,
    directory: str,
    source: str,
    keys: str | None,
    vkeys: tuple[str, ...],
    settings: tuple[str, ...],
    static_copy: bool,
    epoch: int | None,
    without_staged: bool,
    witness: str | None,
) -> None:
    """Rebuild a log in DIR from its published copy.

    Every entry, tile, root and signature is verified on the way. The copy is only read: what a publication had
    begun is finished by the log's next start, which also takes the next epoch. Can be stopped and run again,
    and goes on where it was. Without the private keys the log is for reading only. What lies in entries is
    rebuilt, dedupe included; idempotency keys, tokens and settings are not.
    """
    from merklelog.cosign.monitoring import monitored_checkpoint
    from merklelog.log.head import Signers
    from merklelog.log.recover import recover_log
    from merklelog.publish.past import VersionedStore

    chosen = dict(parse_setting(text, _OWN_OPTION) for text in settings)
    trusted = _keys(keys, vkeys, chosen)
    origin = trusted.origin if isinstance(trusted, Signers) else trusted[0].name
    note = None if witness is None else monitored_checkpoint(witness, origin)
    store, parallel = _store(source, chosen)
    held = closing(store) if isinstance(store, VersionedStore) else nullcontext()
    with held, progress_bar("recovering") as advance:
        report = recover_log(
            directory,
            store,
            trusted,
            settings=chosen,
            static_copy=static_copy,
            epoch=epoch,
            without_staged=without_staged,
            witnessed=note,
            parallel=parallel,
            progress=advance,
        )
    session.show(_result(report), _lines(report, directory))


def _store(source: str, chosen: dict[str, Value]) -> tuple[ObjectStore, int]:
    """The copy, and how many of its objects are read at a time; S3 as the new configuration will have it."""
    from merklelog.client.targets import s3_options
    from merklelog.log import KEYS
    from merklelog.publish.targets import DIRECTORY_SCHEME, open_store

    if source.startswith(DIRECTORY_SCHEME) and source != DIRECTORY_SCHEME:
        path = Path(source.removeprefix(DIRECTORY_SCHEME)).absolute()  # as the new configuration needs it
        return open_store(f"{DIRECTORY_SCHEME}{path}"), _DIRECTORY_READS
    said = {key.variable: _text(chosen[key.dotted]) for key in KEYS if key.dotted in chosen}
    options = s3_options({**said, **os.environ})
    return open_store(source, options), options.parallel


def _text(value: Value) -> str:
    """A setting as a variable has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keys(
    keys: str | None, vkeys: tuple[str, ...], chosen: dict[str, Value]
) -> Signers | Sequence[VerifierKey]:
    """The log's keys: the private ones, or those that verify."""
    from merklelog.formats import load_signing_key, parse_vkey
    from merklelog.log.create import ED25519_FILE, load_signers

    if keys is not None and vkeys:
        raise UsageError("recover: the private keys verify too: give --keys or --vkey, not both")
    if keys is not None:
        path = Path(keys).absolute()
        chosen["log.keys"] = str(path)
        return load_signers(path, load_signing_key(path / ED25519_FILE).name)
    if not vkeys:
        raise UsageError(
            "recover: by which keys is it verified? --keys PATH, where the log's private keys are, or --vkey for "
            "each of the verifier keys that `merklelog vkey` printed for it"
        )
    return [parse_vkey(text) for text in vkeys]


def _lines(report: RecoveryReport, directory: str) -> Iterator[str]:
    origin, source = visible(report.origin), visible(report.source)
    yield f"recovered {origin} at size {report.size} from {source}: {visible(directory)}"
    if report.resumed:
        yield f"gone on with: {report.resumed} entries were there from a run that was stopped"
    yield f"verified: {report.size} entries, their tiles and root, {report.checkpoints} checkpoints"
    if report.staged:
        yield f"finished from staging: {report.staged} entries; the next start publishes their checkpoint"
    if report.epoch is None:
        yield "no epochs: this copy has no head that can be read"
    else:
        sizes = ", ".join(map(str, report.published)) or "nothing"
        yield f"epoch {report.epoch} began at size {report.start} and published {sizes}"
        yield (
            f"not known here: what only clients saw. Receipts of epoch {report.epoch} or before for entries from "
            f"{report.size} on are lost; producers' outboxes send them again"
        )
    yield NOT_REBUILT
    if not report.can_append:
        yield "read-only: no private keys"
    if report.left_out:
        yield "does not start on this target: its head names more than was recovered"
    for remark in report.remarks:
        yield f"remark: {visible(remark)}"


def _result(report: RecoveryReport) -> RecoverResult:
    return RecoverResult(
        origin=report.origin,
        path=str(report.path),
        source=report.source,
        size=report.size,
        root=report.root.hex(),
        staged=report.staged,
        resumed=report.resumed,
        checkpoints=report.checkpoints,
        epoch=report.epoch,
        start=report.start,
        published=list(report.published),
        read_only=not report.can_append,
        left_out=report.left_out,
        not_rebuilt=NOT_REBUILT,
        remarks=list(report.remarks),
    )
