"""Compile the pinned requirements files from pyproject.toml: `python tools/lock.py [--upgrade]`.

Needs pip-tools in the Python that runs it. The files carry a hash for every file of every release named, and
no address of a package index: where packages come from is the installing machine's own setting.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "requirements.txt": (),
    "requirements-build.txt": ("--only-build-deps", "--build-deps-for", "wheel"),
    "requirements-serve.txt": (
        *("--extra", "serve", "--extra", "s3", "--extra", "traces"),
        *("--extra", "otlp", "--extra", "search"),
        *("-c", "requirements.txt"),
    ),
    "requirements-dev.txt": (
        *("--extra", "serve", "--extra", "s3", "--extra", "traces"),
        *("--extra", "otlp", "--extra", "search", "--extra", "dev"),
        *("-c", "requirements-serve.txt", "-c", "requirements-build.txt"),
    ),
}
QUIET = ("--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe")
NOWHERE = ("--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", "--no-config")


def main(arguments: list[str]) -> int:
    """Compile each file in turn; the last one agrees with the first two."""
    # The header pip-compile writes names this command instead of the machine's paths.
    settings = {**os.environ, "CUSTOM_COMPILE_COMMAND": "python tools/lock.py"}
    for name, options in FILES.items():
        command = [sys.executable, "-m", "piptools", "compile", *QUIET, *NOWHERE, *options, *arguments]
        status = subprocess.run([*command, "-o", name, "pyproject.toml"], cwd=ROOT, env=settings).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
