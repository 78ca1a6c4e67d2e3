"""Log records as entries: `MerklelogHandler` over a server."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from merklelog.client.logging_handler import MerklelogHandler
from merklelog.errors import (
    ClosedError,
    UsageError,
)
from merklelog.formats import MAX_ENTRY
from tests.client.producer_server import ROOT, SECONDS, Server


@pytest.fixture(autouse=True)
def logging_says_its_own_troubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program; a server in this process may have turned it off."""
    monkeypatch.setattr(logging, "raiseExceptions", True)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own."""
    made = logging.Logger("shop")
    yield made
    for handler in list(made.handlers):
        made.removeHandler(handler)
        handler.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)


def records(server: Server) -> list[dict[str, Any]]:
    return [json.loads(entry) for entry in server.entries()]


def test_records_become_entries(server: Server, vkeys: list[str], logger: logging.Logger) -> None:
    handler = MerklelogHandler(server.target, vkeys)
    logger.addHandler(handler)
    logger.warning("paid %d by %s", 7, "Ä")
    logger.info(
        "order",
        extra={
            "order": 12,
            "what": {
                1,
            },
        },
    )
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        logger.exception("failed", stack_info=True)
    handler.flush()
    assert (handler.stored, handler.lost) == (3, 0)
    handler.close()
    paid, order, failed = records(server)
    assert paid["message"] == "paid 7 by Ä"
    assert (paid["level"], paid["logger"], paid["process"]) == ("WARNING", "shop", os.getpid())
    assert paid["time"].endswith("Z")
    assert order["extra"] == {"order": 12, "what": "{1}"}
    assert "ZeroDivisionError: by nothing" in failed["exception"]
    assert "test_logging_handler" in failed["stack"]


def test_a_handler_is_made_by_the_configuration_of_logging(server: Server, vkeys: list[str]) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(levelname)s %(message)s"}},
            "handlers": {
                "log": {
                    "class": "merklelog.client.logging_handler.MerklelogHandler",
                    "target": server.target,
                    "trust": vkeys,
                    "options": {"linger_seconds": 0},
                    "formatter": "plain",
                    "level": "INFO",
                }
            },
            "loggers": {"configured": {"handlers": ["log"], "level": "DEBUG", "propagate": False}},
        }
    )
    logger = logging.getLogger("configured")
    logger.debug("too fine")
    logger.info("told")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    assert server.entries() == [b"INFO told"]
    with pytest.raises(UsageError, match="nonsense"):
        MerklelogHandler(server.target, vkeys, {"nonsense": 1})


def test_a_record_that_is_too_long_is_told_by_its_hash(
    server: Server, vkeys: list[str], logger: logging.Logger
) -> None:
    logger.addHandler(MerklelogHandler(server.target, vkeys))
    logger.error("\udc80ä" * MAX_ENTRY)
    logger.error("lone \ud800 surrogate")
    logger.handlers[0].close()
    long, lone = records(server)
    assert long["too_long"]["bytes"] > MAX_ENTRY
    assert len(long["too_long"]["sha256"]) == 64
    assert "\udc80ä" in long["begins"]
    assert lone["message"] == "lone \ud800 surrogate"


def test_what_did_not_fit_is_counted_and_told_when_there_is_room(
    stopped: Server, vkeys: list[str], logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    server = stopped
    handler = MerklelogHandler(server.target, vkeys, {"max_pending_bytes": 4_000, "linger_seconds": 0})
    logger.addHandler(handler)
    began = time.monotonic()
    for i in range(1_000):
        logger.info("number %d", i)
    assert time.monotonic() - began < SECONDS / 2  # nothing waited for the server
    assert handler.lost > 900
    assert capsys.readouterr().err.count("merklelog: ") == 1
    server.start()
    until(lambda: handler.stored + handler.lost == 1_000)
    logger.info("after")
    handler.flush()
    handler.close()
    got = records(server)
    told = sum(record["lost"] for record in got if "lost" in record)
    kept = [record for record in got if "lost" not in record]
    assert told == handler.lost
    assert len(kept) == 1_001 - handler.lost
    assert kept[0]["message"] == "number 0"
    assert kept[-1]["message"] == "after"


def test_nothing_about_itself_is_logged_and_nothing_raises(
    server: Server, vkeys: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the root logger at the finest level: what asyncio, gRPC and this project say must not feed itself."""
    handler = MerklelogHandler(server.target, vkeys, {"linger_seconds": 0, "deadline_seconds": 0.2})
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    asyncio_debug = logging.getLogger("asyncio")
    asyncio_debug.setLevel(logging.DEBUG)

    class Loud:
        def __str__(self) -> str:
            root.info("said while another record was being formatted")
            return "loud"

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError("this record has no text")

    try:
        for each in (Loud(), Broken()):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "%s", (each,), None))
        # As asyncio says it, in the thread of any event loop, when two of them use gRPC.
        asyncio_debug.error(
            "Exception in callback PollerCompletionQueue._handle_events(...)()\nhandle: <Handle>"
        )
        server.end()
        root.info("to nobody")
        until(lambda: handler.lost)
        server.start()
        end = time.monotonic() + SECONDS
        while handler.stored < 2 and time.monotonic() < end:
            root.info("to somebody")
            time.sleep(0.05)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        asyncio_debug.setLevel(logging.NOTSET)
        handler.close()
    assert "this record has no text" in capsys.readouterr().err
    got = records(server)
    assert {record["message"] for record in got if "lost" not in record} <= {
        "loud",
        "to nobody",
        "to somebody",
    }
    assert sum(record.get("lost", 0) for record in got) == handler.lost


def test_a_closed_handler_takes_nothing(
    server: Server, vkeys: list[str], logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = MerklelogHandler(server.target, vkeys)
    logger.addHandler(handler)
    handler.close()
    logger.info("too late")
    assert handler.lost == 1
    assert ClosedError("the handler was closed").args[0] in capsys.readouterr().err


def run(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
    )


def test_the_end_of_the_program_delivers_what_is_left(server: Server, vkeys: list[str]) -> None:
    done = run(
        """
        import logging, sys
        from merklelog.client.logging_handler import MerklelogHandler
        from merklelog.client.producer_targets import open_producer

        logging.getLogger().addHandler(MerklelogHandler(sys.argv[1], sys.argv[2:]))
        producer = open_producer(sys.argv[1], sys.argv[2:])
        producer.send(b'"sent"')
        logging.warning("the last word")
        """,
        server.target,
        *vkeys,
    )
    assert (done.returncode, done.stderr) == (0, "")
    got = records(server)
    assert "sent" in got
    assert [record["message"] for record in got if record != "sent"] == ["the last word"]


def test_the_end_of_the_program_says_what_is_lost(stopped: Server, vkeys: list[str]) -> None:
    server = stopped
    done = run(
        """
        import logging, sys
        from merklelog.client.logging_handler import MerklelogHandler

        handler = MerklelogHandler(sys.argv[1], sys.argv[2:], close_seconds=0.2)
        logging.getLogger().addHandler(handler)
        logging.warning("to nobody")
        """,
        server.target,
        *vkeys,
    )
    assert done.returncode == 0
    assert "1 entries have no outcome" in done.stderr


def test_a_child_process_logs_too(server: Server, vkeys: list[str]) -> None:
    done = run(
        """
        import logging, os, sys
        from merklelog.client.logging_handler import MerklelogHandler

        logging.getLogger().addHandler(MerklelogHandler(sys.argv[1], sys.argv[2:]))
        children = []
        for name in ("one", "two"):
            child = os.fork()
            if child == 0:
                logging.warning("child %s", name)
                logging.shutdown()
                os._exit(0)
            children.append(child)
        status = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        logging.warning("parent %s", status)
        """,
        server.target,
        *vkeys,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(record["message"] for record in records(server)) == [
        "child one",
        "child two",
        "parent [0, 0]",
    ]


def test_a_child_of_a_process_that_logged_before_says_that_it_can_not(
    server: Server, vkeys: list[str]
) -> None:
    done = run(
        """
        import logging, os, sys
        from merklelog.client.logging_handler import MerklelogHandler

        handler = MerklelogHandler(sys.argv[1], sys.argv[2:])
        logging.getLogger().addHandler(handler)
        logging.warning("before")
        handler.flush()
        child = os.fork()
        if child == 0:
            logging.warning("in the child")
            logging.shutdown()
            os._exit(handler.lost)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        logging.warning("status %d", status)
        """,
        server.target,
        *vkeys,
    )
    assert done.returncode == 0
    assert "fork first, then log" in done.stderr
    assert [record["message"] for record in records(server)] == ["before", "status 1"]
