"""`merklelog index update`, `rebuild` and `status`: the index that searches ask."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import click

from merklelog.cli.command import command, directory_argument
from merklelog.cli.progress import progress_bar
from merklelog.cli.results import Origin
from merklelog.cli.session import Session
from merklelog.errors import LockedError, NotFoundError, UsageError

if TYPE_CHECKING:
    from merklelog.log import LogReader


@dataclass(frozen=True, slots=True)
class IndexResult:
    """An index, and how far it has come."""

    origin: Origin
    size: Annotated[int, "the size of the log's newest checkpoint"]
    indexed_size: Annotated[int, "the index has the entries before this one"]
    bytes: Annotated[int, "what it takes on the disk"]
    renewed: Annotated[str, "why it was made anew; empty when it was not"]
    asked: Annotated[
        bool, "whether a server that has the log open was asked to make it anew, and is about to"
    ]


@click.group("index")
def index() -> None:
    """The index that `merklelog search` asks.

    It is made from the log and proves nothing. A server writes it as the log grows, where index.enabled is true;
    a search of a data directory brings it up to date first.
    """


def needs_tantivy() -> None:
    """Raises UsageError where the package that searches is not installed."""
    if find_spec("tantivy") is None:
        raise UsageError("searching needs tantivy, which is not installed: pip install 'merklelog[search]'")


def bring_up(log: LogReader, *, rebuild: bool = False) -> tuple[int, str]:
    """Index what the log shows; how many entries are indexed then, and why it was made anew ("": it was not).

    Raises LockedError while another process writes the index, StorageError, StorageFullError.
    """
    from merklelog.index.files import search_directory
    from merklelog.index.indexer import Indexer
    from merklelog.index.update import update

    indexer = Indexer(search_directory(log.path), log.config.index.memory_bytes)
    try:
        if rebuild and not indexer.renewed:
            indexer.renew("it was asked for", at_once=False)
        with progress_bar("indexing") as advance:
            state = update(indexer, log, progress=advance)
        return state.size, indexer.renewed
    finally:
        indexer.close()


def _result(log: LogReader, renewed: str = "", *, asked: bool = False) -> IndexResult:
    from merklelog.index.files import search_directory, size_of
    from merklelog.index.search import Searcher

    searcher = Searcher(search_directory(log.path))
    try:
        indexed, size = searcher.state().size, size_of(searcher.path())
    except NotFoundError:
        indexed, size = 0, 0
    return IndexResult(log.origin, log.size, indexed, size, renewed, asked)


def _show(session: Session, result: IndexResult) -> None:
    line = f"indexed {result.indexed_size} of {result.size} entries, {result.bytes:,} bytes"
    if result.renewed:
        line += f"; made anew: {result.renewed}"
    if result.asked:
        line += (
            "; the server that has the log open makes it anew, and searches ask the old one until it is whole"
        )
    session.show(result, [line])


@command("update", example="merklelog index update trail", result=IndexResult)
@directory_argument()
@click.pass_obj
def update(session: Session, directory: str) -> None:
    """Index what is new in the log.

    Not needed beside a server that writes the index. An index that is missing, damaged, of another version or of
    another log is made anew.
    """
    from merklelog.log import open_reader

    needs_tantivy()
    with open_reader(directory) as log:
        _, renewed = bring_up(log)
        _show(session, _result(log, renewed))


@command("rebuild", example="merklelog index rebuild trail", result=IndexResult)
@directory_argument()
@click.pass_obj
def rebuild(session: Session, directory: str) -> None:
    """Make the index anew, from the first entry on.

    Searches ask the old one until the new one is whole. Where a server writes the index, it is asked to do so.
    """
    from merklelog.log import open_reader

    needs_tantivy()
    with open_reader(directory) as log:
        try:
            _, renewed = bring_up(log, rebuild=True)
        except LockedError:
            from merklelog.index.files import ask_for_rebuild, search_directory

            ask_for_rebuild(search_directory(log.path))
            _show(session, _result(log, asked=True))
            return
        _show(session, _result(log, renewed))


@command("status", example="merklelog index status trail", result=IndexResult)
@directory_argument()
@click.pass_obj
def status(session: Session, directory: str) -> None:
    """Say how far the index has come, and read its files against their checksums.

    Exit status 1 when one is damaged.
    """
    from merklelog.log import open_reader

    needs_tantivy()
    from merklelog.index.files import check_files, current, search_directory

    with open_reader(directory) as log:
        # There may be no index, which is a result too.
        with suppress(NotFoundError):
            check_files(current(search_directory(log.path)))
        _show(session, _result(log))


index.add_command(update)
index.add_command(rebuild)
index.add_command(status)
