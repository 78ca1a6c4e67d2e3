"""The log engine: the single-writer sequencer, and what an embedding program opens."""

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
