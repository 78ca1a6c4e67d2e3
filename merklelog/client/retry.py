"""When to try again: only what a server says may come right by itself, with jitter, and within one deadline.

No clock is read and nothing sleeps here but by what a caller hands in, so one rule serves threads and tasks alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from merklelog.errors import MerklelogError, OverloadedError, UnavailableError, UsageError

Clock = Callable[[], float]

_TEMPORARY: Final = (OverloadedError, UnavailableError)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to go on, in seconds.

    `total` is for a whole call with all its tries, `attempt` for one try. Between tries waits a random time up to
    `first`, doubled each time up to `most`, and never less than the server asked for. Raises UsageError for what
    is not above 0.
    """

    total: float = 60.0
    attempt: float = 15.0
    first: float = 0.05
    most: float = 5.0

    def __post_init__(self) -> None:
        for name in ("total", "attempt", "first", "most"):
            if not getattr(self, name) > 0:
                raise UsageError(f"retry {name}: got {getattr(self, name)}, want seconds above 0")


class Attempts:
    """The tries of one call.

    `clock` gives seconds that only go forward; `draw` a random number from 0 to 1.
    """

    def __init__(
        self,
        retry: Retry,
        *,
        clock: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._retry = retry
        self._clock = clock
        self._draw = draw
        self._began = clock()
        self._tries = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline, below 0 behind it."""
        return self._began + self._retry.total - self._clock()

    @property
    def seconds(self) -> float:
        """How long the next try may take."""
        return max(0.001, min(self._retry.attempt, self.left))

    def pause(self, error: MerklelogError) -> float:
        """How many seconds to wait before the next try; raises `error` where no other try is to be made."""
        self._tries += 1
        if not isinstance(error, _TEMPORARY):
            raise error
        most = min(self._retry.most, self._retry.first * 2.0 ** min(self._tries - 1, 32))
        wait = most * (0.5 + self._draw() / 2)
        if error.retry_after is not None:
            # Everybody who was refused was told the same time: they are not to come back at the same moment.
            wait = max(wait, error.retry_after * (1 + self._draw() / 4))
        if wait >= self.left:
            self._give_up(error)
        return wait

    def _give_up(self, error: OverloadedError | UnavailableError) -> NoReturn:
        if self._tries == 1:
            raise error
        spent = self._clock() - self._began
        text = f"{error} (tried {self._tries} times in {spent:.1f} s)"
        if isinstance(error, OverloadedError):
            raise OverloadedError(text, error.retry_after) from error
        raise UnavailableError(text, error.retry_after) from error
