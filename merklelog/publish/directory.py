"""An object store that is a directory: any web server can serve it, any tool can copy it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from merklelog.errors import ImmutableError, NotFoundError, StorageError
from merklelog.publish import files
from merklelog.publish.objects import (
    MAX_OBJECT_BYTES,
    PLAIN,
    NewObject,
    ObjectKind,
    ObjectStat,
    StoredObject,
    is_key,
    validate_key,
    validate_prefix,
)

CONTROL: Final = ".merklelog"  # begins with a dot, so that no key can name what is in it
_BATCH_OBJECTS: Final = 128  # each is an open file until the batch is done
_BATCH_BYTES: Final = 16 << 20
_NO_LINKS: Final = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
_ATTEMPTS: Final = 100

Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """The step hook that does nothing."""


class DirectoryStore:
    """Objects as files below `root`, their keys as paths; the contract is ObjectStore's.

    A write is a temporary file, synced, then linked (an immutable object: only where nothing is) or renamed
    (a mutable one), then its directory and the ones above it are synced. Temporary files and the lock file
    live in `root/.merklelog`; temporary files of killed writers are removed by the next writer. The version
    of an object is its BLAKE3. Content encodings are not kept, retention is not enforced.

    Compare-and-swap is made by a lock file (flock), which processes of one host respect, and those of several
    on a network file system that passes locks on. Nothing is made or changed before the first write, so that
    read-only media can be read. `step` is called with the name of each stage of a write, for tests that stop
    there.
    """

    def __init__(self, root: Path, *, step: Step = no_step) -> None:
        self._root = root
        self._step = step
        self._ready = False

    @property
    def location(self) -> str:
        """How a person names this store: `dir:PATH`."""
        return f"dir:{self._root}"

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object, read whole. Raises as ObjectStore says."""
        data = files.read_file(self._path(key), self._name(key), limit)
        return StoredObject(data, _version(data))

    def stat(self, key: str) -> ObjectStat | None:
        """The object's size, or None when it is not there."""
        path = self._path(key)
        try:
            return ObjectStat(path.stat().st_size) if path.is_file() else None
        except OSError as error:
            failure = files.read_error(error, self._name(key))
            if isinstance(failure, NotFoundError):
                return None
            raise failure from error

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix`, in the order of the keys' bytes."""
        parent = validate_prefix(prefix).rpartition("/")[0]
        return self._walk(f"{parent}/" if parent else "", prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(self._root / folder) as entries:
                names = sorted(name for e in entries if is_key(folder + e.name) and (name := _listed(e)))
        except OSError as error:
            failure = files.read_error(error, self._name(folder))
            if isinstance(failure, NotFoundError):
                return
            raise failure from error
        for name in names:
            key = folder + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                yield key

    # --- immutable objects ----------------------------------------------------------------------------------

    def put_immutable(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> bool:
        """Create an object that never changes; False: it is there already. Raises as ObjectStore says."""
        return self.put_many((NewObject(key, data, kind),)) == 1

    def put_many(self, objects: Iterable[NewObject]) -> int:
        """Create many; each file is synced before its name exists, each directory once, at the end."""
        created = 0
        folders: set[Path] = set()
        for batch in _batches(objects):
            with files.writing(self.location):
                created += self._create_batch(batch, folders)
        # Also where all was there already: whoever made it may have been killed before this.
        with files.writing(self.location):
            self._settle(folders)
        return created

    def _create_batch(self, batch: list[NewObject], folders: set[Path]) -> int:
        missing = [new for new in batch if not self._is_there(new)]
        folder = self._temporary()
        opened: list[tuple[NewObject, int, Path]] = []
        try:
            for new in missing:
                opened.append((new, *files.open_temporary(folder)))
                files.write_all(opened[-1][1], new.data)
            self._step("written")
            files.sync_all([handle for _, handle, _ in opened])
            self._step("synced")
            created = sum(self._create(new, temporary) for new, _, temporary in opened)
            self._step("linked")
        finally:
            for _, handle, temporary in opened:
                with suppress(OSError):  # a leftover harms nobody, and the next writer removes it
                    temporary.unlink(missing_ok=True)
                os.close(handle)
        folders.update(self._path(new.key).parent for new in batch)
        return created

    def _is_there(self, new: NewObject) -> bool:
        """Whether the object is there as wanted. Raises ImmutableError when another one is there."""
        try:
            there = self.get(new.key)
        except NotFoundError:
            return False
        if not new.kind.same(there.data, new.data):
            raise ImmutableError(
                f"{self._name(new.key)}: it must never change, and is there with other bytes: got "
                f"{len(there.data)} bytes with BLAKE3 {there.version}, want {len(new.data)} with "
                f"{_version(new.data)}"
            )
        return True

    def _create(self, new: NewObject, temporary: Path) -> bool:
        """Give a synced temporary file its name, unless the object is there; whether it was not."""
        path = self._path(new.key)
        for _ in range(_ATTEMPTS):
            try:
                self._place(path, lambda: os.link(temporary, path))
                return True
            except FileExistsError:
                if self._is_there(new):
                    return False  # and else it was deleted since: once more
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_by_renaming(new, temporary)
        raise StorageError(f"{self._name(new.key)}: it came and went {_ATTEMPTS} times")

    def _create_by_renaming(self, new: NewObject, temporary: Path) -> bool:
        """Exclusive creation where the file system has no hard links (exFAT, some network shares)."""
        with files.exclusive(self._control() / "lock"):
            if self._is_there(new):
                return False
            path = self._path(new.key)
            self._place(path, lambda: temporary.rename(path))
            return True

    # --- mutable objects ------------------------------------------------------------------------------------

    def put_if_version(
        self,
        key: str,
        data: bytes,
        expected: str | None,
        kind: ObjectKind = PLAIN,  # noqa: ARG002  the Protocol's; a file can not carry it
    ) -> str | None:
        """Replace the object when its version is `expected`; None: another one is there."""
        validate_key(key)  # before the store is made, where it is still to be made
        with files.writing(self._name(key)), files.exclusive(self._control() / "lock"):
            try:
                version: str | None = self.get(key).version
            except NotFoundError:
                version = None
            return self._replace(key, data) if version == expected else None

    def put(self, key: str, data: bytes, kind: ObjectKind = PLAIN) -> str:  # noqa: ARG002  as above
        """Create or replace the object; gives its version."""
        validate_key(key)
        with files.writing(self._name(key)), files.exclusive(self._control() / "lock"):
            return self._replace(key, data)

    def delete(self, key: str) -> None:
        """Remove the object, and the directories that this leaves empty."""
        path = self._path(key)
        with files.writing(self._name(key)):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
        self._step("deleted")
        with suppress(OSError):  # not empty: the usual end
            while (path := path.parent) != self._root:
                path.rmdir()

    def delete_many(self, keys: Iterable[str], *, superseded: Iterable[str] = ()) -> None:
        """Remove many; a directory keeps nothing of what was superseded."""
        for key in superseded:
            validate_key(key)
        for key in keys:
            self.delete(key)

    def _replace(self, key: str, data: bytes) -> str:
        path = self._path(key)
        handle, temporary = files.open_temporary(self._temporary())
        try:
            files.write_all(handle, data)
            os.fsync(handle)
            self._step("replacing")
            self._place(path, lambda: temporary.rename(path))
            self._step("replaced")
        finally:
            with suppress(OSError):  # a leftover harms nobody, and the next writer removes it
                temporary.unlink(missing_ok=True)
            os.close(handle)
        self._settle({path.parent})
        return _version(data)

    # --- directories ----------------------------------------------------------------------------------------

    def _place(self, path: Path, place: Callable[[], object]) -> None:
        """Put a file into its directory, which is made as needed; a deleter may remove it again meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                place()
                return
            except FileNotFoundError:
                with suppress(FileNotFoundError):  # its parent went meanwhile: the next round makes both
                    path.parent.mkdir(parents=True, exist_ok=True)
        place()

    def _settle(self, folders: set[Path]) -> None:
        """Make the names in `folders` durable, then the folders' own names, up to the root's.

        Always all of them: a folder that is there may be the work of a writer killed before it came here.
        """
        self._step("settling")
        pending = set(folders)
        for folder in folders:
            while folder != self._root:
                folder = folder.parent
                pending.add(folder)
        for folder in sorted(pending, key=lambda path: len(path.parts), reverse=True):
            # One that is gone was emptied by a deleter, so what was put there is deleted too.
            with suppress(FileNotFoundError):
                files.sync_directory(folder)

    def _control(self) -> Path:
        folder = self._root / CONTROL
        if not self._ready:
            files.make_directories(self._root)
            (folder / "temporary").mkdir(parents=True, exist_ok=True)
            files.remove_abandoned(folder / "temporary")
            self._ready = True
        return folder

    def _temporary(self) -> Path:
        return self._control() / "temporary"

    def _path(self, key: str) -> Path:
        return self._root / validate_key(key)

    def _name(self, key: str) -> str:
        return f"{self.location}/{key}"


def _listed(entry: os.DirEntry[str]) -> str:
    """A directory entry's name, with a slash when it is a folder: so it sorts where its keys do. Else nothing.

    Links to folders are not followed: a loop of them would list for ever.
    """
    if entry.is_dir(follow_symlinks=False):
        return f"{entry.name}/"
    try:
        return entry.name if entry.is_file() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""  # a link to itself is no object
        raise


def _version(data: bytes) -> str:
    return blake3(data).hexdigest()


def _batches(objects: Iterable[NewObject]) -> Iterator[list[NewObject]]:
    """Cut into batches of a bounded number of objects and bytes (one object more than the bytes allow)."""
    batch: list[NewObject] = []
    held = 0
    for new in objects:
        batch.append(new)
        held += len(new.data)
        if len(batch) == _BATCH_OBJECTS or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
