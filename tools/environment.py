"""Make, once, the virtual environment that another tool runs in.

    python3 tools/environment.py run     prints the path of a Python that has merklelog and what it needs
    python3 tools/environment.py test    the same, with everything the tests, the linters and the build need

Needs Python 3.11 or newer with its `venv` module, Linux or macOS, and (the first time) a package index that
pip can reach. Everything comes from the compiled requirements files beside pyproject.toml, by hash, as
wheels.

An environment lies under .venv/ in a directory named after a hash of all that decides what is in it: a
changed requirement gives a new one, and an old one is never changed under a running program. It counts only
once its `complete` file is there, which is written last: one whose making was interrupted is made anew. A
lock file lets one process make it while others wait. `.venv/run` and `.venv/test` point at the newest ones.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = {
    # The build backend is in both: an editable install asks it for the metadata and the `merklelog` command.
    "run": ("requirements.txt", "requirements-build.txt"),
    "test": ("requirements-dev.txt",),
}
OLDEST = (3, 11)
# Where pip would put things is decided here, not by what the caller's shell says about other environments. What
# Python compiled is kept: tests start hundreds of programs, and to compile the package takes each of them longer
# than all else that it does.
MISLEADING = (
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


def ensure(kind: str) -> Path:
    """The directory of an environment of this kind ("run" or "test"), made now if it is not there yet.

    Raises SystemExit with a sentence when it can not be made.
    """
    if sys.version_info < OLDEST:
        version = sys.version.split()[0]
        wanted = ".".join(map(str, OLDEST))
        raise SystemExit(f"merklelog needs Python {wanted} or newer; {sys.executable} is {version}")
    home = ROOT / ".venv"
    place = home / f"{kind}-{_key(kind)}"
    if not (place / "complete").exists():
        home.mkdir(exist_ok=True)
        with (home / f"{place.name}.lock").open("w") as lock:
            _wait_for(lock.fileno())
            if not (place / "complete").exists():
                _make(kind, place)
    _point(home / kind, place)
    return place


def clean_environment() -> dict[str, str]:
    """The caller's environment variables without those that would lead Python or pip elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def _key(kind: str) -> str:
    """What decides the content: the interpreter, the place (scripts hold its path), the pinned files."""
    digest = hashlib.sha256()
    for part in (sys.version, sys.platform, sys.base_prefix, str(ROOT)):
        digest.update(part.encode() + b"\0")
    for name in (*REQUIREMENTS[kind], "tools/environment.py"):
        digest.update((ROOT / name).read_bytes() + b"\0")
    digest.update(repr(_metadata()).encode())
    return digest.hexdigest()[:12]


def _metadata() -> object:
    """What an install takes from pyproject.toml; the settings of linters and tests do not count."""
    import tomllib  # not at the top: an older Python, which has none, is to get its sentence first

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["build-system"], settings["project"], settings["tool"]["hatch"]


def _wait_for(handle: int) -> None:
    import fcntl  # not at the top: the platform may lack it, and the sentence about an old Python comes first

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("another process is making it; waiting")
        fcntl.flock(handle, fcntl.LOCK_EX)


def _make(kind: str, place: Path) -> None:
    _say(f"making {place.relative_to(ROOT)} (once; it downloads what is not in pip's cache)")
    if place.exists():
        shutil.rmtree(place)
    _call("making a virtual environment (Debian, Ubuntu: apt install python3-venv)", "-m", "venv", str(place))
    files = [word for name in REQUIREMENTS[kind] for word in ("-r", str(ROOT / name))]
    pip = ("-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install", "--no-deps")
    python = place / "bin" / "python"
    _call("pip install", *pip, "--require-hashes", "--only-binary", ":all:", *files, python=python)
    _call("pip install -e .", *pip, "--no-index", "--no-build-isolation", "-e", str(ROOT), python=python)
    (place / "complete").touch()


def _call(what: str, *words: str, python: Path = Path(sys.executable)) -> None:
    # Output goes to stderr: stdout is this tool's answer.
    command = [str(python), *words]
    done = subprocess.run(command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{what}: failed with status {done.returncode}; what it said stands above")


def _point(link: Path, place: Path) -> None:
    """Let `.venv/run` lead to the newest environment. Renamed into place, so it always leads somewhere."""
    if link.is_symlink() and link.readlink() == Path(place.name):
        return
    draft = link.with_name(f"{link.name}.{secrets.token_hex(8)}")
    draft.symlink_to(place.name)
    draft.replace(link)


def _say(text: str) -> None:
    print(f"environment: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in REQUIREMENTS:
        raise SystemExit("usage: python3 tools/environment.py run|test")
    print(ensure(sys.argv[1]) / "bin" / "python")
