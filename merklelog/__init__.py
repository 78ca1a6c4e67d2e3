"""merklelog: a transparency log. Append entries, get signed checkpoints, prove, verify offline.

import merklelog

with merklelog.open("mylog") as log:
    receipt = log.append(b"an audit event")
    receipt.save("event.tlog-proof")
"""

from .log import BatchReceipt, Log, LogReader, Receipt, create_log, open_reader
from .log import open_log as open  # noqa: A004 - merklelog.open(DIR) is the outside name
from .version import __version__

__all__ = ["BatchReceipt", "Log", "LogReader", "Receipt", "__version__", "create_log", "open", "open_reader"]
