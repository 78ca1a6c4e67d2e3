"""Where a log's bytes are kept: RocksDB behind a small Protocol, and a reference in memory.

`api` is the contract, `rocks` and `memory` keep it, `layout` names the rows, `problems` tells errors apart, and
`fingerprints` is the derived index that finds an entry by its 32-byte identity.
"""

from .api import Store, StoreReader
from .layout import FORMAT
from .memory import MemoryStore
from .rocks import RocksStore

__all__ = ["FORMAT", "MemoryStore", "RocksStore", "Store", "StoreReader"]
