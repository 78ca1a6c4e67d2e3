"""`merklelog publish` and `backup`: copies of a log, for everybody and for its operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command, directory_argument
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import Origin, Root, Size
from merklelog.cli.session import Session, visible
from merklelog.errors import UsageError

if TYPE_CHECKING:
    from merklelog.publish import DirectoryStore

ENCODINGS = ("identity", "gzip")  # publish.BundleEncoding, whose import `--help` can do without


@dataclass(frozen=True, slots=True)
class PublishResult:
    """A static copy is up to date."""

    origin: Origin
    target: Annotated[str, "the copy, as a target"]
    size: Annotated[int, "the size of the checkpoint it shows"]
    previous: Annotated[int | None, "the size it showed before; null for a new copy"]
    newest: Annotated[int, "the newest size that the log has signed"]
    moved: Annotated[bool, "whether the copy's checkpoint moved"]
    created: Annotated[int, "objects written"]
    collected: Annotated[int, "partial tiles and bundles removed"]


@command("publish", example="merklelog publish trail --to dir:public", result=PublishResult)
@directory_argument()
@click.option("--to", "target", metavar="dir:PATH", help="Where the copy is, or is to be made.")
@click.option(
    "--bundle-encoding",
    "encoding",
    type=click.Choice(ENCODINGS),
    help="How a new copy stores entries: identity, which any web server serves, or gzip.  [default: identity]",
)
@click.pass_obj
def publish(session: Session, directory: str, target: str | None, encoding: str | None) -> None:
    """Publish a static copy, or bring it up to date.

    The copy (c2sp.org/tlog-tiles) has everything up to a signed checkpoint; any web server can serve it.
    Readers of the copy never see a checkpoint before what is under it. Every tile and entry is verified on
    its way. A copy of another log, or of another history of this one, is left as it is. Works beside a
    writer.
    """
    from merklelog.log import open_reader
    from merklelog.publish import publish_copy

    store = _store(target)
    with open_reader(directory) as reader, progress_bar("publishing") as advance:
        report = publish_copy(
            reader, store, verifiers=reader.vkeys, bundle_encoding=encoding, progress=advance
        )
    result = PublishResult(
        origin=report.origin,
        target=store.location,
        size=report.size,
        previous=report.previous,
        newest=report.newest,
        moved=report.moved,
        created=report.created,
        collected=report.collected,
    )
    session.show(result, [_publish_line(result)])


def _store(target: str | None) -> DirectoryStore:
    """The place of the copy. Raises UsageError for what this version can not publish to."""
    from merklelog.client import published_directory

    if target is None:
        raise UsageError("publish: this log has no publish target of its own; say where with --to dir:PATH")
    if "://" in target:
        kind = target.partition("://")[0]
        raise UsageError(f"--to {target!r}: publishing to {kind}:// is not in this version; want dir:PATH")
    return published_directory(target)


def _publish_line(result: PublishResult) -> str:
    place = visible(result.target)
    if not result.moved:
        return f"nothing new: {place} shows {visible(result.origin)} at size {result.size}"
    before = "new" if result.previous is None else f"before {result.previous}"
    what = f"size {result.size} ({before}), {result.created} objects"
    return f"published {visible(result.origin)} to {place}: {what}"


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup was made and opened."""

    origin: Origin
    path: Annotated[str, "the backup's data directory"]
    size: Size
    root: Root


@command("backup", example="merklelog backup trail /mnt/backup/trail-2026-11-21", result=BackupResult)
@directory_argument()
@directory_argument("DEST", "destination")
@click.pass_obj
def backup(session: Session, directory: str, destination: str) -> None:
    """Copy a log into DEST, without its private keys.

    The copy is one moment of the log, also beside a running writer. DEST must not exist; it is opened and its
    newest checkpoint proven before it gets its name. Every command that reads works on it. Keep the keys
    elsewhere. A backup that is appended to after the original went on signs a fork: put keys beside it only
    when the original is gone for good, and know which checkpoints others have seen.
    """
    from merklelog.log.backup import backup as make_backup

    with progress_bar("copying") as advance:
        report = make_backup(directory, destination, progress=advance)
    result = BackupResult(report.origin, str(Path(destination).absolute()), report.size, report.root.hex())
    session.show(
        result,
        [
            f"backup of {visible(report.origin)} at size {report.size}: {visible(destination)}",
            "no private keys in it",
        ],
    )
