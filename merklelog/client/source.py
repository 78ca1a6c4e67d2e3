"""What a reader asks of a log; the Protocol itself lives with publication, which asks the same."""

from __future__ import annotations

from merklelog.publish.source import TileReads, TileSource

__all__ = ["TileReads", "TileSource"]
