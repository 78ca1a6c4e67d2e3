"""tantivy's errors as this project's: every call into it goes through `engine`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import tantivy

from merklelog.errors import DamagedError, FieldError, MerklelogError, StorageError
from merklelog.store.problems import os_problem

from .schema import make_schema

# Of tantivy's own errors of reading, those that say that a file has other bytes than were written.
_NO_SUCH_BYTES: Final = ("InvalidData", "UnexpectedEof", "NotFound")


@contextmanager
def engine(place: Path) -> Iterator[None]:
    """Calls of tantivy on the index at `place`.

    Raises StorageFullError and StorageError for the disk, DamagedError for files that are not what was written,
    FieldError for words of which too many begin so (16,384 in one file of the index).
    """
    try:
        yield
    except MerklelogError:
        raise
    except OSError as error:
        raise os_problem(error, place) from error
    except ValueError as error:
        text = str(error)
        if "max expansions" in text:
            raise FieldError(
                "query", "too many words begin so behind another one: write more of it"
            ) from error
        if "RegexQueryError" in text:  # whatever was asked: no file is damaged by a question
            raise FieldError("query", "what stands before a '*' is too much to look for") from error
        if "No space left" in text or "os error 28" in text:
            raise os_problem(OSError(28, os.strerror(28)), place) from error
        if "IoError" in text and not any(word in text for word in _NO_SUCH_BYTES):
            raise StorageError(f"{place}: {text}") from error
        raise DamagedError(f"{place}: {text}") from error
    except BaseException as error:
        # A panic in tantivy derives from no Exception: damaged files cause them, and must not end the process.
        if type(error).__name__ != "PanicException":
            raise
        raise DamagedError(f"{place}: {error}") from error


def open_index(place: Path) -> tantivy.Index:
    """The index at a path. Raises DamagedError for none, or one of another schema; StorageError."""
    with engine(place):
        if not tantivy.Index.exists(str(place)):
            raise DamagedError(f"{place}: there is no index")
        return tantivy.Index(make_schema(), path=str(place))


__all__ = ["engine", "open_index"]
