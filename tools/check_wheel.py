"""Build the wheel, install it where nothing else is, and use it: `.ci/run` calls this.

Runs in the test environment, which has the pinned build backend. The wheel goes into a bare environment
with the pinned runtime requirements only, and is used from a directory that is not the checkout: a module
left out of the wheel, or a requirement that only the tests declare, shows here and nowhere else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import environment

ENTRY = b'{"actor":"ci","action":"use the wheel"}'


def run(*command: str | Path, cwd: Path, stdin: bytes = b"") -> str:
    """The standard output of a command that must succeed; raises SystemExit naming it when it does not."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, input=stdin, stdout=subprocess.PIPE, env=environment.clean_environment(), check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}")
    return done.stdout.decode()


def build(directory: Path) -> Path:
    """The wheel, built by the pinned backend into `directory`."""
    options = ("--wheel", "--no-isolation", "--outdir", directory)
    run(sys.executable, "-m", "build", *options, environment.ROOT, cwd=directory)
    (wheel,) = directory.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """The package, its type marker and its licence are in it; tests and tools are not."""
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {"merklelog/__init__.py", "merklelog/py.typed", "merklelog/cli/__init__.py"}
    if missing := wanted - set(names):
        raise SystemExit(f"{wheel.name}: lacks {', '.join(sorted(missing))}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        raise SystemExit(f"{wheel.name}: lacks its licence")
    tops = {name.split("/")[0] for name in names}
    if strangers := {top for top in tops if top != "merklelog" and not top.endswith(".dist-info")}:
        raise SystemExit(f"{wheel.name}: holds {', '.join(sorted(strangers))}")


def install(wheel: Path, bare: Path) -> Path:
    """The `merklelog` command of a new environment that holds the wheel and what requirements.txt names."""
    run(sys.executable, "-m", "venv", bare, cwd=wheel.parent)
    pip = (bare / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "-q")
    pinned = ("--require-hashes", "--only-binary", ":all:", "-r", environment.ROOT / "requirements.txt")
    run(*pip, "install", "--no-deps", *pinned, cwd=wheel.parent)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    run(*pip, "check", cwd=wheel.parent)
    return bare / "bin" / "merklelog"


def use(merklelog: Path, directory: Path) -> None:
    """One append, proof and verification, with nothing but the installed command."""
    print(run(merklelog, "--version", cwd=directory).strip())
    run(merklelog, "init", "log", "--origin", "ci.example/wheel", cwd=directory)
    run(merklelog, "append", "log", cwd=directory, stdin=ENTRY)
    run(merklelog, "prove", "log", "0", "-o", "entry.tlog-proof", cwd=directory)
    (directory / "entry").write_bytes(ENTRY)
    vkey = run(merklelog, "vkey", "log", cwd=directory).splitlines()[0]
    command = (merklelog, "verify", "entry.tlog-proof", "--entry", "entry", "--vkey", vkey)
    print(run(*command, cwd=directory).strip())


def main() -> None:
    """Every step in a temporary directory; raises SystemExit at the first that fails."""
    with tempfile.TemporaryDirectory(prefix="merklelog-wheel-") as name:
        directory = Path(name)
        wheel = build(directory)
        check_contents(wheel)
        use(install(wheel, directory / "bare"), directory)
        print(f"{wheel.name}: built, installed and used")


if __name__ == "__main__":
    main()
