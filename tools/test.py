"""Run the tests, in an environment made for them: `python3 tools/test.py [pytest's own arguments]`.

With CI=true a test whose server is missing fails instead of being skipped. HYPOTHESIS_PROFILE=soak runs the
property tests a hundred times longer.
"""

from __future__ import annotations

import os
import subprocess
import sys

import environment


def main(arguments: list[str]) -> int:
    """The exit status of pytest; 5 (no test ran) included, which is a failure too."""
    python = environment.ensure("test") / "bin" / "python"
    # More workers than cores, as many tests wait; 8 at most: each may hold several logs with their caches.
    workers = min(8, (os.cpu_count() or 1) + 2)
    parallel = [] if arguments else ["-n", str(workers), "--dist", "worksteal"]
    command = [str(python), "-m", "pytest", *parallel, *arguments]
    os.chdir(environment.ROOT)
    try:
        return subprocess.run(command, env=environment.clean_environment()).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
