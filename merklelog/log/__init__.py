"""The log engine: the single-writer sequencer, and what an embedding program opens."""

from typing import TYPE_CHECKING

from merklelog.later import found_later

if TYPE_CHECKING:
    from .config import KEYS, Key, LogConfig, load_config
    from .create import create_log
    from .log import Log
    from .opening import open_log
    from .reader import LogReader, open_reader
    from .receipt import BatchReceipt, Receipt
    from .table import parse_value

__all__ = [
    "KEYS",
    "BatchReceipt",
    "Key",
    "Log",
    "LogConfig",
    "LogReader",
    "Receipt",
    "create_log",
    "load_config",
    "open_log",
    "open_reader",
    "parse_value",
]
# Found when first used: who reads rows needs no sequencer.
__getattr__ = found_later(
    __name__,
    {
        "KEYS": "config",
        "BatchReceipt": "receipt",
        "Key": "config",
        "Log": "log",
        "LogConfig": "config",
        "LogReader": "reader",
        "Receipt": "receipt",
        "create_log": "create",
        "load_config": "config",
        "open_log": "opening",
        "open_reader": "reader",
        "parse_value": "table",
    },
)
