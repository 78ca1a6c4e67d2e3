"""A log that is not trusted: clients and sources that ask for bytes, and the logic that verifies each of them.

connecting  from the name of a log and whom to believe to a client
remote      the clients themselves, for threads and for tasks
steps       what they do, as generators without I/O, with `appends` and `upgrades`; `drive` carries them out
transport   what a log is asked; `tile_transport`, `grpc_transport`, `grpc_aio` and `threaded` ask it
trust       whom to believe (`believed`), and the newest verified head; `state` keeps that; `epochs` the receipts
retry       when to try again
source      what a reader of tiles asks of a log; `published` and `http_source` are two, `cached` keeps tiles
targets     from the name of a log to its source
heads       which checkpoint a reader believes
reads       entries, ranges, proofs and consistency over a source, all leading up to that checkpoint
producer    many entries a second, in order, each verified; `logging_handler` makes them of log records
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from merklelog.client.heads import VerifiedHead
from merklelog.client.published import PublishedSource
from merklelog.client.reads import Consistency, VerifiedReads
from merklelog.client.source import TileReads, TileSource
from merklelog.client.targets import open_target, published_directory
from merklelog.later import found_later

if TYPE_CHECKING:
    from merklelog.client.access import Access
    from merklelog.client.connecting import connect, connect_async
    from merklelog.client.logging_handler import MerklelogHandler
    from merklelog.client.producer import Producer
    from merklelog.client.producer_batch import Sent
    from merklelog.client.producer_buffer import ProducerOptions
    from merklelog.client.producer_targets import open_producer
    from merklelog.client.remote import AsyncClient, Client
    from merklelog.client.retry import Retry

# Read when grpc is first imported. Its own handlers for forks crash some children of a process with a channel
# (grpcio 1.83.2: two in six); without them a producer in such a child says that it can not go on.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__all__ = [
    "Access",
    "AsyncClient",
    "Client",
    "Consistency",
    "MerklelogHandler",
    "Producer",
    "ProducerOptions",
    "PublishedSource",
    "Retry",
    "Sent",
    "TileReads",
    "TileSource",
    "VerifiedHead",
    "VerifiedReads",
    "connect",
    "connect_async",
    "open_producer",
    "open_target",
    "published_directory",
]
# Found when first used: a command for a directory needs none of them.
__getattr__ = found_later(
    __name__,
    {
        "Access": "access",
        "AsyncClient": "remote",
        "Client": "remote",
        "MerklelogHandler": "logging_handler",
        "Producer": "producer",
        "ProducerOptions": "producer_buffer",
        "Retry": "retry",
        "Sent": "producer_batch",
        "connect": "connecting",
        "connect_async": "connecting",
        "open_producer": "producer_targets",
    },
)
