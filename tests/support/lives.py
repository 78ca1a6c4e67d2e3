"""Lives of a program that tests kill: processes of their own, forked from one that has loaded it already.

To start Python and load the product takes most of a second of processor time, and a test of kills starts dozens.
The process that is forked runs nothing of the product: no thread, no database and no file of a log is in it. It is
`python lives.py PROGRAM`, where the program is a file with a `main()` that reads `sys.argv`.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 180  # what takes longer hangs


class Lives:
    """Runs a program as often as it is asked to, one life after the other."""

    def __init__(self, program: Path) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,  # with what it forked, it can be ended as one
        )
        self._program = program

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """One life with these arguments; its status is negative for a signal's death."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory(prefix="merklelog-life-") as folder:
            said, errors = Path(folder, "said"), Path(folder, "errors")
            self._server.stdin.write(json.dumps([str(said), str(errors), *words]).encode() + b"\n")
            self._server.stdin.flush()
            if not select.select([self._server.stdout], [], [], SECONDS)[0]:
                os.killpg(self._server.pid, signal.SIGKILL)
                raise AssertionError(
                    f"{self._program.name} {' '.join(words)} hangs: {errors.read_text()[-3000:]}"
                )
            status = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(list(words), status, said.read_bytes(), errors.read_bytes())

    def close(self) -> None:
        """End the process that is forked: it reads to the end of what it is asked."""
        for stream in (self._server.stdin, self._server.stdout):
            assert stream is not None
            stream.close()
        self._server.wait(SECONDS)


@functools.cache
def lives_of(program: Path) -> Lives:
    """The lives of this program, for as long as this process runs."""
    lives = Lives(program)
    atexit.register(lives.close)
    return lives


def serve(program: Path) -> None:
    """Fork a life for each line that is asked; its status is the answer."""
    sys.path.insert(0, str(program.parent))
    spec = importlib.util.spec_from_file_location(program.stem, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for line in sys.stdin.buffer:
        said, errors, *words = json.loads(line)
        if not (life := os.fork()):
            for number, place in enumerate((os.devnull, said, errors)):
                os.dup2(os.open(place, os.O_RDWR | os.O_CREAT, 0o600), number)
            sys.argv = [str(program), *words]
            module.main()
            return
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(life, 0)[1]))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
