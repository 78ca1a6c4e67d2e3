"""merklelog: a transparency log. Append entries, get signed checkpoints, prove, verify offline.

import merklelog

with merklelog.open("mylog") as log:
    receipt = log.append(b"an audit event")
    receipt.save("event.tlog-proof")

with merklelog.connect("grpcs://log.example.com", trust="log.vkeys", state="log.state") as log:
    receipt = log.append(b"an audit event")  # its proof is verified already

The engine is imported when one of its names is first used, so that a program that only verifies, the command line
among them, loads no database.
"""

from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .audit_events import audit_event, audited, auditing
    from .client.connecting import connect, connect_async
    from .client.remote import AsyncClient, Client
    from .log import BatchReceipt, Log, LogReader, Receipt, create_log, open_reader
    from .log import open_log as open  # noqa: A004 - merklelog.open(DIR) is the outside name

__all__ = [
    "AsyncClient",
    "BatchReceipt",
    "Client",
    "Log",
    "LogReader",
    "Receipt",
    "__version__",
    "audit_event",
    "audited",
    "auditing",
    "connect",
    "connect_async",
    "create_log",
    "open",
    "open_reader",
]
_ROOMS = {
    **dict.fromkeys(("AsyncClient", "Client", "connect", "connect_async"), ".client"),
    **dict.fromkeys(("audit_event", "audited", "auditing"), ".audit_events"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    room = import_module(_ROOMS.get(name, ".log"), __name__)
    value: object = getattr(room, "open_log" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
