"""Programs that are told of findings: each once, one at a time, and none of them holds up anything."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.ingest.placed import Finding
from merklelog.ingest.verdict import Verdict
from merklelog.servers import alerts
from merklelog.servers.alerts import Alerts
from tests.otlp.conftest import ORIGIN, Place
from tests.otlp.events import hashed

MakePlace = Callable[..., Place]


def finding(index: int) -> Finding:
    return Finding(ORIGIN, index, f"id-{index}", Verdict.MISMATCH, None)


def program(tmp_path: Path, text: str) -> tuple[str, ...]:
    (tmp_path / "program.py").write_text(f"import sys, time\n{text}\n")
    return (sys.executable, "-S", str(tmp_path / "program.py"), str(tmp_path / "told"))


def hears(make_place: MakePlace, own: Alerts, command: tuple[str, ...]) -> Callable[[Finding], None]:
    place = make_place(**{"ingest.alert": command})
    place.open()
    assert place.log is not None
    return own.of(place.log)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_is_told_once_in_order(make_place: MakePlace, tmp_path: Path) -> None:
    own = Alerts()
    command = program(tmp_path, "open(sys.argv[1], 'a').write(sys.stdin.read())")
    alert = hears(make_place, own, command)
    for index in range(5):
        alert(finding(index))
    alert(Finding(ORIGIN, 7, None, None, 3))
    told = tmp_path / "told"
    until(lambda: told.exists() and len(told.read_text().splitlines()) == 6)
    own.close()
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 4, 7]
    assert lines[0] == {
        "origin": ORIGIN,
        "index": 0,
        "record_id": "id-0",
        "verdict": "mismatch",
        "conflict_with": None,
    }
    assert (lines[-1]["verdict"], lines[-1]["conflict_with"]) == (None, 3)


def test_a_slow_program_holds_up_nothing(
    make_place: MakePlace, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended after its time; what finds no room is left out, and how many that were is said."""
    own = Alerts(seconds=0.2)
    alert = hears(make_place, own, program(tmp_path, "time.sleep(600)"))
    with caplog.at_level(logging.WARNING, "merklelog.ingest"):
        for index in range(20):
            alert(finding(index))
        until(lambda: said(caplog) == 20)
        until(lambda: any("timed out" in each for each in caplog.messages))
        monkeypatch.setattr(alerts, "MAX_WAITING", 3)
        for index in range(20, 23):
            alert(finding(index))
        until(lambda: said(caplog) == 23)
        own.close()
        alert(finding(23))
    assert own.left_out >= 3
    assert any("alerts were left out" in each for each in caplog.messages)


def test_a_log_that_nobody_reads_holds_up_nothing(
    make_place: MakePlace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conflicts in a request are said by another thread than the log's; of too many it is said how many."""
    monkeypatch.setattr(alerts, "MAX_WAITING", 5)
    own = Alerts()
    place = make_place()
    intake = place.open()
    assert place.log is not None
    reads = threading.Event()
    say = alerts._say

    def slow(told: Finding) -> None:
        assert reads.wait(60)
        say(told)

    monkeypatch.setattr(alerts, "_say", slow)
    monkeypatch.setattr(intake, "_alert", own.of(place.log))
    with caplog.at_level(logging.WARNING, "merklelog.ingest"):
        wrong = [hashed({"n": n}, wrong=True) for n in range(50)]
        assert len(intake.submit(wrong, "").result(60)) == 50
        assert place.log.submit(b"by another door").result(60).index == 50
        reads.set()
        until(lambda: said(caplog) + own.left_out == 50)
        until(lambda: told_left_out(caplog) == own.left_out)
        own.close()
    assert said(caplog) in {5, 6}, "one may have been in hand already"


def said(caplog: pytest.LogCaptureFixture) -> int:
    return sum("content hash of a record is wrong" in each for each in caplog.messages)


def told_left_out(caplog: pytest.LogCaptureFixture) -> int:
    return sum(int(each.split()[0]) for each in caplog.messages if "findings were left out" in each)


def test_a_long_id_is_told_in_part(make_place: MakePlace, caplog: pytest.LogCaptureFixture) -> None:
    own = Alerts()
    alert = hears(make_place, own, ())
    with caplog.at_level(logging.WARNING, "merklelog.ingest"):
        alert(Finding(ORIGIN, 1, "i" * 100_000, None, 0))
        until(lambda: bool(caplog.messages))
        own.close()
    assert sum(map(len, caplog.messages)) < 2_000


def test_a_program_that_is_not_there(
    make_place: MakePlace, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    own = Alerts()
    alert = hears(make_place, own, (str(tmp_path / "none"),))
    with caplog.at_level(logging.ERROR, "merklelog.ingest"):
        alert(finding(1))
        until(lambda: any("No such file" in each for each in caplog.messages))
    own.close()
    own.close()
