"""Reading a log that is not trusted: sources that give bytes, and reads that verify them.

source     what a reader asks of a log
published  a published copy as a source
targets    from the name of a log to its source
heads      which checkpoint a reader believes
reads      entries, ranges, proofs and consistency, all leading up to that checkpoint
"""

from __future__ import annotations

from merklelog.client.heads import VerifiedHead
from merklelog.client.published import PublishedSource
from merklelog.client.reads import Consistency, VerifiedReads
from merklelog.client.source import TileReads, TileSource
from merklelog.client.targets import open_target, published_directory

__all__ = [
    "Consistency",
    "PublishedSource",
    "TileReads",
    "TileSource",
    "VerifiedHead",
    "VerifiedReads",
    "open_target",
    "published_directory",
]
