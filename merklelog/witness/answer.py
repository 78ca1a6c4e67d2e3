"""What a witness says to a request, before it is put on a wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `retry_after` is in seconds, None where trying again says nothing new; `allow` goes with
    405.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    retry_after: float | None = None
    allow: str | None = None
