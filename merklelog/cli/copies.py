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
    """A log is published, to its own targets or into a static copy."""

    origin: Origin
    target: Annotated[str, "the copy, as a target; of several, joined by a comma and a space"]
    size: Annotated[int, "the size of the checkpoint it shows"]
    previous: Annotated[int | None, "the size it showed before; null for a new copy"]
    newest: Annotated[int, "the newest size that the log has signed, or integrated where it has targets"]
    moved: Annotated[bool, "whether the copy's checkpoint moved"]
    created: Annotated[int | None, "objects written; null when the process that has the log open wrote them"]
    collected: Annotated[int | None, "superseded objects removed; null as above"]


@command("publish", example="merklelog publish trail --to dir:public", result=PublishResult)
@directory_argument()
@click.option("--to", "target", metavar="dir:PATH", help="Where the copy is, or is to be made.")
@click.option(
    "--bundle-encoding",
    "encoding",
    type=click.Choice(ENCODINGS),
    help="How a new copy stores entries: identity, which any web server serves, or gzip.  [default: identity]",
)
@click.option(
    "--refill",
    "refill",
    metavar="TARGET",
    multiple=True,
    help="A target that held the log and was emptied on purpose: fill it again. Only from the newest disk.",
)
@click.pass_obj
def publish(
    session: Session, directory: str, target: str | None, encoding: str | None, refill: tuple[str, ...]
) -> None:
    """Publish what the log has, or make a static copy.

    Without --to it is a publication now to the log's publish.targets, and ends when all of them show
    every entry that the log had; another process that has the log open is waited for. With --to it makes a
    static copy (c2sp.org/tlog-tiles) of everything up to the newest signed checkpoint, or brings one up to date;
    any web server can serve it. Readers never see a checkpoint before what is under it. Every tile and entry is
    verified on its way. A copy of another log, or of another history of this one, is left as it is.
    """
    from merklelog.log import open_reader
    from merklelog.publish import publish_copy

    if target is None:
        from merklelog.cli.publish_now import publish_now

        if encoding is not None:
            raise UsageError(
                "--bundle-encoding is for a new copy (--to); a target's is publish.bundle_encoding"
            )
        result = PublishResult(**publish_now(directory, refill))
        session.show(result, [_publish_line(result)])
        return
    if refill:
        raise UsageError("--refill is for the log's own targets, not for a copy (--to)")
    store = _store(target, directory)
    with open_reader(directory) as reader, progress_bar("publishing") as advance:
        _refuse_around(store, target, reader.config.keys_path(reader.path))
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


def _store(target: str, directory: str) -> DirectoryStore:
    """The place of the copy. Raises UsageError for what no static copy of that log is made in."""
    from merklelog.client import published_directory

    if "://" in target:
        raise UsageError(
            f"--to {target!r}: a static copy is made in a directory, dir:PATH. To publish there as the log grows, "
            f"set publish.targets"
        )
    store = published_directory(target)
    place, log = Path(store.location.removeprefix("dir:")).resolve(), Path(directory).resolve()
    if place.is_relative_to(log):
        raise UsageError(
            f"--to {visible(target)}: it is inside the log {visible(directory)}: a copy goes elsewhere"
        )
    if log.is_relative_to(place):
        raise UsageError(
            f"--to {visible(target)}: the log {visible(directory)} is inside it, and who serves the copy "
            f"would serve the log's keys and database: a copy goes elsewhere"
        )
    return store


def _refuse_around(store: DirectoryStore, target: str, keys: Path) -> None:
    """Raises UsageError for a copy around the log's private keys, wherever they are kept."""
    if keys.resolve().is_relative_to(Path(store.location.removeprefix("dir:")).resolve()):
        raise UsageError(
            f"--to {visible(target)}: the log's keys in {visible(str(keys))} are inside it, and who serves the "
            f"copy would serve them: a copy goes elsewhere"
        )


def _publish_line(result: PublishResult) -> str:
    place = visible(result.target)
    if not result.moved:
        return f"nothing new: {place} shows {visible(result.origin)} at size {result.size}"
    before = "new" if result.previous is None else f"before {result.previous}"
    objects = "" if result.created is None else f", {result.created} objects"
    what = f"size {result.size} ({before}){objects}"
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
    elsewhere. A backup of a log with publish targets refuses appends when more than it has was published. Without
    targets, a backup that is appended to after the original went on signs a fork: put keys beside it only when
    the original is gone for good, and know which checkpoints others have seen.
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
