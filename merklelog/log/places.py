"""Letting a log fill a publish target again that was emptied on purpose."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from merklelog.errors import UsageError
from merklelog.store import RocksStore

from .config import load_config
from .directory import DATABASE, WriterLock, check_directory, check_stored_format
from .head import read_epoch


def forget_place(path: str | os.PathLike[str], location: str) -> None:
    """Forget that this log was ever published to `location`, so that its next start fills an empty place there.

    A start refuses such a place otherwise: an old copy of the disk beside a target that is not mounted looks the
    same, and would fork the log. Changes the row of the newest epoch alone; its number stays.

    Raises UsageError when the log was never published there, LockedError while another process has it open, and
    what opening a data directory raises.
    """
    directory = Path(path).absolute()
    check_directory(directory)
    origin = load_config(directory).origin
    lock = WriterLock(directory)
    try:
        with closing(RocksStore(directory / DATABASE)) as store:
            check_stored_format(store, directory)
            begun = read_epoch(store, origin)
            places = begun.places if begun else ()
            if begun is None or location not in places:
                known = ", ".join(places) or "nowhere"
                raise UsageError(f"{location}: this log was not published there, but to: {known}")
            left = tuple(place for place in places if place != location)
            store.put_rows("heads", [(b"epoch", replace(begun, places=left).row())])
            store.sync()
    finally:
        lock.release()


__all__ = ["forget_place"]
