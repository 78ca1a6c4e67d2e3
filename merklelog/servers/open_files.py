"""How many files this process may have open: each log takes some, and each connection one.

The native front ends when it can have none for a connection, and with it the server. So all doors together are
given half of them, and the other half is the logs'.
"""

from __future__ import annotations

import resource


def raise_limit() -> None:
    """Have as many as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return  # then it stays as it is: a log that finds no room says so when it is opened


def connections(most: int, doors: int) -> int:
    """How many connections each of so many doors may take: at most `most`, and at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, soft // 2 // max(1, doors)))


__all__ = ["connections", "raise_limit"]
