"""Every entry to the matcher, in order, none passed over: also when it fails, and when the monitor is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.audit.monitor import MonitorOptions, Patterns
from merklelog.errors import UsageError
from tests.monitor.scene import Scene, append, numbered


def every(_index: int, _entry: bytes) -> str:
    return "all"


def test_every_entry_once_in_order_over_many_rounds_and_starts(scene: Scene) -> None:
    append(scene.log, numbered(0, 700))
    seen: list[tuple[int, bytes]] = []

    def matcher(index: int, entry: bytes) -> None:
        seen.append((index, entry))

    for end in (700, 701, 900):
        if end > 700:
            append(scene.log, numbered(len(seen), end))
        with scene.monitor(str(scene.log), matcher=matcher) as watch:
            assert watch.catch_up().behind is False
    assert seen == list(enumerate(numbered(0, 900)))


def test_a_match_carries_the_entry(scene: Scene) -> None:
    append(scene.log, [b"one", b"two \xff\x00", b"three"])
    with scene.monitor(str(scene.log), matcher=Patterns([r"^t"])) as watch:
        watch.round()
    found = [(each["index"], b64decode(each["data"]), each["detail"]) for each in scene.heard.findings]
    assert found == [(1, b"two \xff\x00", "^t"), (2, b"three", "^t")]


def test_a_matcher_that_fails_is_given_the_same_entry_again(scene: Scene) -> None:
    append(scene.log, numbered(0, 600))
    broken = True
    seen: list[int] = []

    def matcher(index: int, entry: bytes) -> str:
        if broken and index == 300:
            raise ValueError(f"can not read {entry!r}")
        seen.append(index)
        return "all"

    with scene.monitor(str(scene.log), matcher=matcher) as watch:
        assert watch.catch_up().behind
        assert (watch.logs[0].position, seen[-1]) == (300, 299)
        watch.round()
    assert seen == list(range(300))
    assert [each["kind"] for each in scene.heard.findings if each["kind"] != "match"] == ["matcher"]
    with scene.monitor(str(scene.log), matcher=matcher) as watch:
        watch.round()
        broken = False
        watch.round()
    assert seen == list(range(600))
    assert scene.heard.matches() == list(range(600))
    kinds = [kind for kind in scene.heard.kinds() if kind != "match"]
    assert kinds == ["matcher", "-matcher"]


@pytest.mark.parametrize("seed", range(5))
def test_a_matcher_that_fails_at_random_passes_nothing_over(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    append(scene.log, numbered(0, 400))

    def matcher(_index: int, _entry: bytes) -> str:
        if chance.random() < 0.02:
            raise RuntimeError
        return "all"

    for _ in range(200):
        with scene.monitor(str(scene.log), matcher=matcher) as watch:
            if not watch.round().behind:
                break
    assert scene.heard.matches() == list(range(400))


def test_it_begins_where_it_is_told(scene: Scene) -> None:
    append(scene.log, numbered(0, 10))
    options = MonitorOptions(start=12)
    with scene.monitor(str(scene.log), matcher=every, options=options) as watch:
        assert not watch.round().behind
        append(scene.log, numbered(10, 14))
        watch.round()
    assert scene.heard.matches() == [12, 13]


_CHILD = """
import sys, time
from merklelog.audit.monitor import Monitor
def matcher(index, entry):
    time.sleep(0.0005)
    return "all"
with Monitor([sys.argv[1]], None, sys.argv[2], matcher=matcher) as watch:
    print("begun", flush=True)
    watch.catch_up()
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_has_matched_everything_in_the_end(scene: Scene) -> None:
    append(scene.log, numbered(0, 3_000))
    journal = scene.path / "state" / "findings.jsonl"
    chance = random.Random(7)
    command = [sys.executable, "-c", _CHILD, str(scene.log), str(scene.path / "state")]
    for _ in range(6):
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        try:
            child.wait(chance.uniform(0.05, 0.9))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
    with scene.monitor(str(scene.log), matcher=every) as watch:
        assert not watch.catch_up().behind
    indexes = [json.loads(line)["index"] for line in journal.read_bytes().splitlines()]
    assert sorted(set(indexes)) == list(range(3_000))


# --- patterns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "entry", "found"),
    [
        ("user=^alice$", b'{"user":"alice"}', True),
        ("user=^alice$", b' {"user":"alice2"}', False),
        ("user=alice", b'{"other":"alice"}', False),
        ("user=alice", b'"alice"', False),
        ("user=alice", b'{"user":"alice"', False),
        ("user=alice", b"\xff{", False),
        ("actor.name=^b", b'{"actor":{"name":"bob"}}', True),
        ("actor.name=^b", b'{"actor":"bob"}', False),
        ("actor.name=^b", b'{"actor":[{"name":"al"},{"name":"bob"}]}', True),
        ("tags=^x$", b'{"tags":["y","x"]}', True),
        ("count=^5$", b'{"count":5}', True),
        ("ok=^true$", b'{"ok":true}', True),
        ("gone=^null$", b'{"gone":null}', True),
        ("deep=\\{", b'{"deep":{"a":1}}', True),
        ("user=^alice$", b'{"user":"alice","n":' + b"1" * 5_000 + b"}", True),
        ("n=^1{5000}$", b'{"user":"alice","n":' + b"1" * 5_000 + b"}", True),
        ("user=^alice$", b'{"user":"alice","n":"\xff"}', True),
        ("user=^alice$", b'\xef\xbb\xbf{"user":"alice"}', True),
        ("user=^alice$", b'\xef\xbb\xbf{"user":"alice","n":"\xff"}', True),
        ("a=x", b"{" * 100_000, False),
        ("a=x", b'{"a":' * 50_000, False),
    ],
)
def test_fields(field: str, entry: bytes, found: bool) -> None:
    assert (Patterns(fields=[field])(0, entry) is not None) is found


@pytest.mark.parametrize("fields", [[], ["a=1"]])
def test_many_entries_at_once_are_told_as_one_by_one(fields: list[str]) -> None:
    patterns = Patterns(["^x", "y$", ""] if fields else ["^x", "y$", "(?=z)"], fields)
    entries = [b"x", b"", b"axy", b"y\nx", b'{"a":1}', b"zy", b"\xff", b'{"a":2}']
    one_by_one = ((index, patterns(index, each)) for index, each in enumerate(entries, 7))
    alone = [(index, found) for index, found in one_by_one if found is not None]
    assert patterns.among(7, entries) == alone
    assert patterns.among(7, []) == []
    assert len(alone) == (8 if fields else 3)


def test_a_pattern_that_fails_is_given_the_same_entry_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(scene.log, numbered(0, 300))
    real = Patterns.__call__

    def call(self: Patterns, index: int, entry: bytes) -> str | None:
        if index == 270:
            raise RecursionError("too deep")
        return real(self, index, entry)

    with scene.monitor(str(scene.log), matcher=Patterns([""])) as watch:
        with monkeypatch.context() as patched:
            patched.setattr(Patterns, "__call__", call)
            assert watch.catch_up().behind
            assert watch.logs[0].position == 270
        watch.round()
    assert scene.heard.matches() == list(range(300))


def test_all_patterns_that_are_found_are_named() -> None:
    patterns = Patterns(["x+", "y"], ["a=1"])
    assert patterns(0, b'{"a":1,"x":2}') == "x+, a=1"
    assert patterns(0, b"nothing") is None


@given(entry=st.binary(max_size=200))
def test_no_entry_makes_a_pattern_fail(entry: bytes) -> None:
    Patterns(["a.*b", "^$"], ["a.b=c", "d=e"])(0, entry)
    Patterns(["a.*b", "^$"], ["a.b=c", "d=e"])(0, b"{" + entry)


@pytest.mark.parametrize(
    ("expressions", "fields"), [(["("], []), ([], ["x"]), ([], ["=x"]), ([], ["a..b=x"]), ([], ["a=("])]
)
def test_patterns_that_can_not_be_meant(expressions: list[str], fields: list[str]) -> None:
    with pytest.raises(UsageError):
        Patterns(expressions, fields)


def test_nothing_is_told_before_it_is_on_the_disk(scene: Scene) -> None:
    append(scene.log, numbered(0, 5))
    journal: Path = scene.path / "state" / "findings.jsonl"
    there: list[int] = []

    with scene.monitor(str(scene.log), matcher=every) as watch:
        take = scene.heard.take

        def looked(line: bytes) -> None:
            there.append(journal.read_bytes().count(line))
            take(line)

        watch._delivery._lines[0].sink._write = looked  # type: ignore[attr-defined]
        watch.round()
    assert there == [1] * 5
