"""`python -m merklelog`: the command line, where the `merklelog` script is not in the path."""

from __future__ import annotations

import sys

from merklelog.cli import main

if __name__ == "__main__":
    sys.exit(main())
