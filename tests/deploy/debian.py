"""Programs of Debian's packages for tests, unpacked once below the user's cache; nothing is installed.

A program on PATH goes first. Where there is no apt, there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merklelog-test-servers"
FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")


def program(name: str, *packages: str) -> Path | None:
    """The path of a program, of these packages if it is not there already; None where it can not be had."""
    found = shutil.which(name)
    if found:
        return Path(found)
    place = _place(packages)
    return next((place / each / name for each in FOLDERS if os.access(place / each / name, os.X_OK)), None)


def file_of(path: str, *packages: str) -> Path | None:
    """A file of these packages; None where they can not be had."""
    found = _place(packages) / path
    return found if found.is_file() else None


def _place(packages: tuple[str, ...]) -> Path:
    """Where they are unpacked, now at the latest."""
    place = CACHE / f"{packages[0]}-debian"
    if not place.exists():
        _unpack(place, packages)
    return place


def _unpack(place: Path, packages: tuple[str, ...]) -> None:
    """Fetch and unpack. Renamed into place whole, so that tests may do it at the same time."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=CACHE))
    draft.chmod(0o755)
    try:
        if not _apt(draft, "download", *packages):
            _apt(draft, "update")  # a fresh machine has no lists yet
            _apt(draft, "download", *packages)
        files = list(draft.glob("*.deb"))
        if len(files) == len(packages):
            for file in files:
                subprocess.run(["dpkg", "-x", file, draft / "tree"], check=True)
            with suppress(OSError):  # another test was first
                (draft / "tree").rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _apt(folder: Path, *words: str) -> bool:
    done = subprocess.run(["apt-get", "-q", *words], cwd=folder, capture_output=True, timeout=300)
    return done.returncode == 0
