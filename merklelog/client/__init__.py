"""A log that is not trusted: clients and sources that ask for bytes, and the logic that verifies each of them.

connect     from the name of a log and whom to believe to a client
remote      the clients themselves, for threads and for tasks
steps       what they do, as generators without I/O; `drive` carries them out
transport   what a log is asked; `tile_transport`, `grpc_transport`, `grpc_aio` and `threaded` ask it
trust       whom to believe, and the newest verified head; `state` keeps that, `retry` says when to try again
source      what a reader of tiles asks of a log; `published` and `http_source` are two
targets     from the name of a log to its source
heads       which checkpoint a reader believes
reads       entries, ranges, proofs and consistency over a source, all leading up to that checkpoint
producer    many entries a second, in order, each verified
"""

from __future__ import annotations

from merklelog.client.access import Access
from merklelog.client.connect import connect, connect_async
from merklelog.client.heads import VerifiedHead
from merklelog.client.published import PublishedSource
from merklelog.client.reads import Consistency, VerifiedReads
from merklelog.client.remote import AsyncClient, Client
from merklelog.client.retry import Retry
from merklelog.client.source import TileReads, TileSource
from merklelog.client.targets import open_target, published_directory

__all__ = [
    "Access",
    "AsyncClient",
    "Client",
    "Consistency",
    "PublishedSource",
    "Retry",
    "TileReads",
    "TileSource",
    "VerifiedHead",
    "VerifiedReads",
    "connect",
    "connect_async",
    "open_target",
    "published_directory",
]
