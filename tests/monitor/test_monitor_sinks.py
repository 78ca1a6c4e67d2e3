"""Findings reach who asked for them: at least once, in order, and whoever refuses gets them later."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.audit.monitor_conditions import Conditions
from merklelog.audit.monitor_files import StateDirectory
from merklelog.audit.monitor_findings import MonitorKind, Observation
from merklelog.audit.monitor_sinks import CommandSink, Delivery, LineSink, Sink, WebhookSink
from merklelog.client import Access, Retry
from merklelog.errors import DamagedError, UnreachableError, UsageError
from tests.monitor.scene import Pages

QUICK = Access(retry=Retry(total=1.0, attempt=1.0))
LINES = [b'{"n":%d}\n' % number for number in range(5)]


def delivery(state: StateDirectory, sink: Sink, now: Callable[[], float] = lambda: 0.0) -> Delivery:
    return Delivery(state.journal, [sink], lambda _: None, now)


def test_a_line_sink_takes_each_once_over_restarts(tmp_path: Path) -> None:
    got: list[bytes] = []
    for line in LINES:
        with StateDirectory(tmp_path) as state:
            brought = delivery(state, LineSink(got.append))
            state.journal.append([line])
            assert brought.run()
    assert got == LINES


def test_a_sink_that_refuses_gets_it_later_and_the_others_at_once(tmp_path: Path) -> None:
    got: list[bytes] = []
    told: list[str] = []
    refuse = True
    taken: list[bytes] = []
    now = 0.0

    class Refusing:
        name = "refusing"

        def send(self, line: bytes) -> None:
            if refuse:
                raise UnreachableError("not today")
            taken.append(line)

        def close(self) -> None:
            """Nothing is held."""

    with StateDirectory(tmp_path) as state:
        brought = Delivery(state.journal, [Refusing(), LineSink(got.append)], told.append, lambda: now)
        state.journal.append(LINES[:2])
        assert not brought.run()
        assert (got, taken) == (LINES[:2], [])
        refuse = False
        assert not brought.run(), "it waits before it asks again"
        now = 2.0
        assert brought.run()
        assert taken == LINES[:2]
        assert told == ["a finding could not be told, it is tried again: not today"]


def test_a_command_gets_each_line_on_its_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"import sys; open({str(out)!r}, 'ab').write(sys.stdin.buffer.read())"
    with StateDirectory(tmp_path / "state") as state:
        brought = delivery(state, CommandSink([sys.executable, "-c", code]))
        state.journal.append(LINES[:3])
        assert brought.run()
    assert out.read_bytes() == b"".join(LINES[:3])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('no room')"], "status 1: no room"),
        (["/does/not/exist"], "/does/not/exist"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "more than 0.2 s"),
    ],
)
def test_a_command_that_fails_has_not_taken_it(words: list[str], message: str) -> None:
    with pytest.raises(UnreachableError, match=message):
        CommandSink(words, seconds=0.2 if "sleep" in words[-1] else 30).send(LINES[0])


def test_a_webhook_gets_each_line_posted(tmp_path: Path, pages: Pages) -> None:
    now = 0.0
    with StateDirectory(tmp_path) as state:
        brought = delivery(state, WebhookSink(f"{pages.url}/hook", QUICK), lambda: now)
        state.journal.append(LINES[:2])
        pages.status = 500
        assert not brought.run()
        pages.status, now = 200, 10.0
        assert brought.run()
    assert pages.posted == LINES[:2]


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "https://u:p@host/", "http://x/?q"])
def test_a_webhook_that_can_not_be_meant(url: str) -> None:
    with pytest.raises(UsageError):
        WebhookSink(url, QUICK)


def test_a_sink_that_is_new_hears_what_is_found_from_then_on(tmp_path: Path) -> None:
    got: list[bytes] = []
    with StateDirectory(tmp_path) as state:
        state.journal.append(LINES[:2])
        brought = delivery(state, LineSink(got.append))
        state.journal.append(LINES[2:])
        assert brought.run()
    assert got == LINES[2:]


@pytest.mark.parametrize("torn", [b"{", b'{"kind":"ma' + b"x" * (3 << 20), b""])
def test_half_a_line_at_the_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    with StateDirectory(tmp_path) as state:
        state.journal.append(LINES)
    with (tmp_path / "findings.jsonl").open("ab") as file:
        file.write(torn)
    with StateDirectory(tmp_path) as state:
        assert state.journal.read(0) == LINES
        state.journal.append(LINES[:1])
        assert state.journal.read(0) == [*LINES, LINES[0]]


@pytest.mark.parametrize("text", [b"", b"-1\n", b"999999\n", b"1_0\n", b"x"])
def test_a_position_that_can_not_be_is_refused(tmp_path: Path, text: bytes) -> None:
    with StateDirectory(tmp_path) as state:
        state.journal.append(LINES)
        delivery(state, LineSink(lambda _: None)).run()
    (tmp_path / "sent" / "lines").write_bytes(text)
    with StateDirectory(tmp_path) as state, pytest.raises(DamagedError):
        delivery(state, LineSink(lambda _: None))


def test_what_lasts_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    graces = {MonitorKind.UNREACHABLE: 10.0}
    down = Observation(MonitorKind.UNREACHABLE, None, "t", "no answer")
    lag = Observation(MonitorKind.LAG, "log", "t", "behind")
    times: dict[int, list[str]] = {}
    for now, observed in ((0, [down]), (5, []), (6, [down, lag]), (15, [down]), (16, [down]), (20, [])):
        conditions = Conditions(path, graces)  # each time by another process
        found = conditions.update(observed, set(), now)
        conditions.save()
        times[now] = [("-" if each.over else "") + each.kind for each in found]
    assert times == {0: [], 5: [], 6: ["lag"], 15: ["-lag"], 16: ["unreachable"], 20: ["-unreachable"]}


def test_a_clock_that_is_put_back_delays_nothing_for_ever(tmp_path: Path) -> None:
    conditions = Conditions(tmp_path / "conditions.json", {MonitorKind.LAG: 10.0})
    lag = Observation(MonitorKind.LAG, "log", "t", "behind")
    assert conditions.update([lag], set(), 1_000_000) == []
    assert conditions.update([lag], set(), 50) == []
    assert [each.kind for each in conditions.update([lag], set(), 60)] == ["lag"]


@pytest.mark.parametrize("text", ["[]", "{", '{"a":1}', '{"a":["x",null,"t","d",[],"",0,true]}'])
def test_conditions_that_can_not_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "conditions.json").write_text(text)
    with pytest.raises(DamagedError):
        Conditions(tmp_path / "conditions.json", {})


def test_evidence_is_kept_once_byte_for_byte(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        paths = state.keep_evidence(b"one\n", b"two\n")
        assert state.keep_evidence(b"one\n", b"two\n") == paths
        assert state.keep_evidence(b"two\n", b"one\n") != paths
    assert [Path(path).read_bytes() for path in paths] == [b"one\n", b"two\n"]
    assert json.dumps(paths)
