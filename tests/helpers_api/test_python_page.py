"""docs/python.md: every example runs against a server, and its tables are the code's."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import merklelog
from merklelog.audit_events import AsgiAudit, WsgiAudit
from merklelog.audit_events.emit import build
from merklelog.audit_events.web import CHANGING, Options, Rules

from .serving import ROOT, SECONDS, Served, attributes_of

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# What the later examples take for granted: the first one's beginning.
SET_UP = EXAMPLES[0].partition("merklelog.audit_event(")[0]


def test_every_example_runs(served: Served, tmp_path: Path) -> None:
    assert len(EXAMPLES) == 5
    printed, start = [], served.size
    for number, example in enumerate(EXAMPLES):
        code = example if number in {0, 1} else f"{SET_UP}\n{example}"
        code = code.replace("127.0.0.1:4318", served.addresses["otlp_http"])
        code = code.replace("127.0.0.1:7070", served.addresses["grpc"]).replace(
            "trail.vkeys", str(served.vkeys)
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), example
        printed.append(done.stdout)
    assert [each.count("\n") for each in printed] == [0, 0, 0, 2, 0]
    assert (tmp_path / "invoice-8.tlog-proof").exists()
    rows = [attributes_of(record) for _, record in served.records(start, 8)]
    told = [
        (row["audit.action"], row["audit.actor"], row["audit.resource"], row["audit.outcome"]) for row in rows
    ]
    assert told == [
        ("invoice.delete", "ada", "invoice/7", "success"),
        ("invoice.delete", "ada", "invoice/8", "success"),
        ("invoice.print", "ada", "invoice/9", "success"),
        ("invoice.archive", "nightly-cleanup", "invoice/1", "success"),
        ("invoice.archive", "ada", "invoice/2", "success"),
        ("invoice.refund", "ada", "invoice/7", "success"),
        ("invoice.refund", "ada", "invoice/7", "failure"),
        ("report.export", "ada", "report/2026", "success"),
    ]
    assert printed[3].splitlines()[1] == rows[7]["audit.record.id"]


def test_the_table_of_an_event_is_the_code_s() -> None:
    event = build("a", actor="b", actor_type="c", resource="d", resource_type="e", details={"f": 1})
    table = PAGE.split("## What an event is")[1].split("\nWhat is not given")[0]
    named = set(re.findall(r"`([^`]+)`", table))
    assert set(event.attributes) | set(event.body) <= named
    assert event.attributes["audit.schema_version"] == "1"
    assert set(inspect.signature(build).parameters) - {"action"} <= named


def test_the_words_of_the_middlewares_are_the_code_s() -> None:
    section = PAGE.split("## Web applications")[1].split("\n## ")[0]
    for middleware in (AsgiAudit, WsgiAudit):
        words = (set(inspect.signature(middleware).parameters) | set(Options.__annotations__)) - {
            *("app", "options", "emitter")
        }
        assert [word for word in words if word not in section] == []
    assert set(inspect.signature(Rules).parameters) == {"actor", *Options.__annotations__}
    assert {each for each in CHANGING if each != "WEBSOCKET"} == {"POST", "PUT", "PATCH", "DELETE"}
    assert "(POST, PUT, PATCH,\nDELETE, and the opening of a websocket)" in section


def test_the_facade_has_what_the_page_calls() -> None:
    for name in re.findall(r"merklelog\.(\w+)\(", "".join(EXAMPLES)):
        assert name in merklelog.__all__
