"""A witness that others wrote, for tests: omniwitness, built by Go once below the user's cache.

    python3 tests/support/witness_programs.py      makes it now; CI does that before the tests

Tests never build it themselves. Of the version of transparency-dev/merkle that it names the module proxy has
nothing, so it is built with the release before; that one lacks a single function, which omniwitness calls only for
signing subtrees. One that refuses stands in for it: add-checkpoint is as its authors wrote it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merklelog-test-servers"

OMNIWITNESS = "omniwitness-20260720115447"
MODULE = "github.com/transparency-dev/witness v0.0.0-20260720115447-2e1c6971d19e"
PROGRAM = "github.com/transparency-dev/witness/cmd/omniwitness"
MERKLE = "github.com/transparency-dev/merkle"

_GO_MOD = f"""module merklelog.test/omniwitness

go 1.25.0

require {MODULE}

replace {MERKLE} => ./merkle
"""
_SUBTREES = """package proof

import (
	"errors"

	"github.com/transparency-dev/merkle"
)

func VerifySubtreeConsistency(merkle.LogHasher, uint64, uint64, uint64, [][]byte, []byte, []byte) error {
	return errors.New("this build signs no subtrees")
}
"""


def omniwitness() -> Path | None:
    """omniwitness' program, if it was built."""
    program = CACHE / OMNIWITNESS / "bin" / "omniwitness"
    return program if os.access(program, os.X_OK) else None


def build_omniwitness() -> Path | None:
    """omniwitness' program, built now if it is not there; None where it can not be."""
    if omniwitness() is None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{OMNIWITNESS}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if omniwitness() is None:
                _build(CACHE / OMNIWITNESS / "bin" / "omniwitness")
    return omniwitness()


def _build(program: Path) -> None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        download = [go, "mod", "download", "-json", f"{MERKLE}@v0.0.2"]
        found = subprocess.run(download, cwd=folder, stdout=subprocess.PIPE, stderr=sys.stderr)
        if found.returncode:
            return
        merkle = folder / "merkle"
        shutil.copytree(json.loads(found.stdout)["Dir"], merkle, copy_function=shutil.copyfile)
        for each in (merkle, *merkle.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)
        (merkle / "proof" / "merklelog_subtrees.go").write_text(_SUBTREES)
        (folder / "go.mod").write_text(_GO_MOD)
        made = folder / "omniwitness"
        build = [go, "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", str(made), PROGRAM]
        if subprocess.run(build, cwd=folder, stdout=sys.stderr).returncode:
            return
        program.parent.mkdir(parents=True, exist_ok=True)
        made.rename(program)


def main() -> int:
    """Make it, and say where it is; the status is 1 when it can not be had."""
    found = build_omniwitness()
    print(f"omniwitness: {found or 'can not be had here'}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
