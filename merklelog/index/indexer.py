"""Writing an index: entries go in in their order, and how many are in it is committed together with them.

A commit is tantivy's: it is there whole or not at all, and the document that says how far the index has come is
part of it. So whoever opens the index after a crash goes on where the last commit ended, with nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import tantivy

from merklelog.errors import DamagedError, NotFoundError

from .assembler import Assembler
from .document import Document
from .engine import engine, open_index
from .files import WriterLock, check_files, current, fresh, make_current
from .schema import STATE, VERSION, State, as_tantivy, make_schema, state_document

DEFAULT_MEMORY: Final = 64 << 20


class Indexer:
    """The writer of the index at `place`, the only one; for one thread.

    An index that is missing, damaged or of another version is made anew: `renewed` says why, "" where it was not.
    Raises LockedError, StorageError, StorageFullError; so does every method.
    """

    def __init__(self, place: Path, memory_bytes: int = DEFAULT_MEMORY) -> None:
        self._place = place
        self._memory = memory_bytes
        self.renewed = ""
        self._lock = WriterLock(place)
        try:
            try:
                self._path = current(place)
                check_files(self._path)
                self._open(open_index(self._path))
            except NotFoundError:
                self.renew("there was none", at_once=True)
            except DamagedError as error:
                self.renew(str(error), at_once=True)
        except BaseException:
            self._lock.release()
            raise

    @property
    def size(self) -> int:
        """The index of the entry that `add` wants next."""
        return self._next

    @property
    def state(self) -> State:
        """What is committed."""
        return self._state

    @property
    def path(self) -> Path:
        """The directory that is written to."""
        return self._path

    def renew(self, why: str, *, at_once: bool) -> None:
        """Begin an empty index, because of `why`.

        It takes the old one's place at once, or with the first commit that is `whole`; until then the old one
        answers searches.
        """
        self.renewed = why
        self._let_go()
        self._path = fresh(self._place)
        with engine(self._path):
            self._begin(tantivy.Index(make_schema(), path=str(self._path)), State())
        self._adopted = False
        self._commit(State(), at_once=at_once)

    def _open(self, index: tantivy.Index) -> None:
        with engine(self._path):
            index.config_reader("manual")
            index.reload()
            self._begin(index, read_state(index))

    def _begin(self, index: tantivy.Index, state: State) -> None:
        self._writer: tantivy.IndexWriter | None = index.writer(self._memory, 1)
        self._state = state
        self._next = state.size
        self._assembler = Assembler(state.size)
        self._adopted = True

    def add(self, entries: Iterable[bytes]) -> None:
        """The next entries. They are found after a `commit`."""
        with engine(self._path):
            for data in entries:
                for each in self._assembler.add(data):
                    self._writing.add_document(_made(each))
                self._next += 1

    def commit(self, checkpoint: bytes, *, whole: bool) -> State:
        """Make everything given so far durable, and have it found.

        `checkpoint` is a signed note of the log over all of it and maybe more; `whole` says that there is no more.
        """
        if whole:
            with engine(self._path):
                for each in self._assembler.flush():
                    self._writing.add_document(_made(each))
        return self._commit(State(self._assembler.size, checkpoint.decode("utf-8")), at_once=whole)

    def _commit(self, state: State, *, at_once: bool) -> State:
        with engine(self._path):
            self._writing.delete_documents_by_term(STATE, STATE)
            self._writing.add_document(state_document(state))
            self._writing.commit()
        if at_once and not self._adopted:
            make_current(self._path)
            self._adopted = True
        self._state = state
        return state

    @property
    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            raise DamagedError(f"{self._path}: the index was closed")
        return self._writer

    def _let_go(self) -> None:
        self._writer = None  # tantivy's own lock goes with it

    def close(self) -> None:
        """Let the next writer in. What was not committed is not in the index."""
        self._let_go()
        self._lock.release()


def _made(each: Document) -> tantivy.Document:
    try:
        return as_tantivy(each)
    except (ValueError, OverflowError):
        # Whatever it holds, it must not keep what follows from being found.
        return as_tantivy(Document(each.index, each.entries))


def read_state(index: tantivy.Index) -> State:
    """The state of an open index. Raises DamagedError for none, or one of another version."""
    searcher = index.searcher()
    found = searcher.search(tantivy.Query.term_query(index.schema, STATE, STATE, "basic"), 1).hits
    if not found:
        raise DamagedError("the index does not say how far it has come")
    try:
        state = msgspec.json.decode(searcher.doc(found[0][1])["shown"][0], type=State)
    except (msgspec.MsgspecError, IndexError, KeyError) as error:
        raise DamagedError(f"what the index says of itself can not be read: {error}") from error
    if state.version != VERSION:
        raise DamagedError(f"the index has version {state.version}, want {VERSION}")
    return state


__all__ = ["DEFAULT_MEMORY", "Indexer", "read_state"]
