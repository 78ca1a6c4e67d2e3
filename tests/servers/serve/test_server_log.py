"""The server's own log: one record is one line, whatever a client put into it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from merklelog.servers.logging import configure, event


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)


@pytest.fixture
def logger() -> logging.Logger:
    return logging.getLogger("merklelog.test")


def test_a_json_record_is_one_line_with_its_values(logger: logging.Logger) -> None:
    told = io.StringIO()
    configure("json", "info", told)
    event(logger, logging.WARNING, "a\nb", count=3, path=None, name="x\u2028\x1b", other=("t",))
    logger.debug("not this")
    (line,) = told.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "logger": "merklelog.test",
        "message": "a\nb",
        "count": 3,
        "path": None,
        "name": "x\u2028\x1b",
        "other": "('t',)",
    }


def test_a_human_record_can_not_be_forged(logger: logging.Logger) -> None:
    told = io.StringIO()
    configure("human", "debug", told)
    event(logger, logging.INFO, "came\n2026-01-01 info all is well", origin="a b", size=3, none="")
    (line,) = told.getvalue().splitlines()
    assert line.endswith(' info    came\\n2026-01-01 info all is well origin="a b" size=3 none=""')


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_traceback_is_kept(logger: logging.Logger, style: str) -> None:
    told = io.StringIO()
    configure(style, "info", told)
    try:
        raise OSError("the disk")
    except OSError:
        logger.exception("failed")
    assert "test_a_traceback_is_kept" in told.getvalue()
    if style == "json":
        assert "OSError: the disk" in json.loads(told.getvalue())["exception"]


def test_a_closed_stream_ends_nothing(logger: logging.Logger) -> None:
    told = io.StringIO()
    configure("json", "info", told)
    told.close()
    logger.warning("nobody hears")


def test_what_libraries_say_lands_there_too() -> None:
    told = io.StringIO()
    configure("json", "warning", told)
    logging.getLogger("some.library").error("%s is wrong", "it")
    assert json.loads(told.getvalue())["message"] == "it is wrong"
