"""The real events that tests use: JSON texts, one an event."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def cloudtrail_events() -> tuple[str, ...]:
    """103 CloudTrail events."""
    return tuple((ROOT / "tools" / "sample" / "cloudtrail.jsonl").read_text("utf-8").splitlines())


@cache
def windows_events() -> tuple[str, ...]:
    """13,645 Windows events."""
    with zipfile.ZipFile(ROOT / "tests" / "vectors" / "events" / "windows-events.zip") as archive:
        (name,) = archive.namelist()
        return tuple(archive.read(name).decode("utf-8").splitlines())
