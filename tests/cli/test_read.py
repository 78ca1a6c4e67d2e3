"""`merklelog checkpoint`, `vkey`, `get` and `follow`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import merklelog
from merklelog.cli import sources as follow_module
from merklelog.formats import parse_checkpoint, parse_vkey

READERS = (
    ("checkpoint",),
    ("get", 0),
    ("get", "0:3", "--jsonl"),
    ("prove", 0),
    ("consistency", 0, 3),
    ("vkey",),
    ("audit",),
)


def test_a_checkpoint_is_printed_byte_for_byte(run: Callable, log: Path) -> None:
    with merklelog.open_reader(log) as reader:
        newest, empty = reader.checkpoint(), reader.checkpoint(0)
    assert run("checkpoint", log).out == newest
    assert run("checkpoint", log, "--size", 0).out == empty
    result = run("checkpoint", log, "--json").json
    assert result["checkpoint"] == newest.decode()
    assert result["root"] == parse_checkpoint(newest).checkpoint.root.hex()
    assert (result["size"], result["verified"], result["existed_by"]) == (3, True, None)


def test_a_checkpoint_that_is_not_stored_is_not_made(run: Callable, log: Path) -> None:
    assert "no checkpoint is stored for size 2" in run("checkpoint", log, "--size", 2, status=3).err
    assert "size 4" in run("checkpoint", log, "--size", 4, status=2).err


def test_a_copy_shows_its_checkpoint_and_says_what_it_is_worth(
    run: Callable, log: Path, copy: str, vkeys: list[str]
) -> None:
    done = run("checkpoint", copy)
    assert done.out == run("checkpoint", log).out
    assert "not verified" in done.err
    done = run("checkpoint", copy, "--vkey", vkeys[1], "--json")
    assert done.err == ""
    assert (done.json["verified"], done.json["log_key"]) == (True, vkeys[1])


def test_vkeys_one_a_line(run: Callable, log: Path) -> None:
    lines = run("vkey", log).text.splitlines()
    assert [parse_vkey(line).type.value for line in lines] == [0x01, 0x06, 0xFF]
    assert run("vkey", log, "--json").json == {"origin": "cli.example/log", "vkeys": lines}


def test_entries_and_ranges(run: Callable, log: Path, copy: str, vkeys: list[str], tmp_path: Path) -> None:
    for target in ([log], [copy, "--vkey", vkeys[0]]):
        assert run("get", *target, 1).out == b"two"
        assert run("get", *target, "1:3").out == b"twothree"
        assert run("get", *target, "0:2", "--jsonl").out == b"one\ntwo\n"
        assert run("get", *target, ":").out == b"onetwothree"
        assert run("get", *target, "2:").out == b"three"
        assert run("get", *target, ":1").out == b"one"
        assert run("get", *target, "3:3").out == b""
        assert run("get", *target, "1:3", "-o", "out").out == b""
        assert (tmp_path / "out").read_bytes() == b"twothree"


def test_entries_as_json(run: Callable, log: Path) -> None:
    result = run("get", log, "1:3", "--json").json
    assert (result["start"], result["end"], result["size"]) == (1, 3, 3)
    assert result["entries"] == [
        {
            "index": index,
            "leaf_hash": hashlib.sha256(b"\0" + data).hexdigest(),
            "data": base64.b64encode(data).decode(),
        }
        for index, data in ((1, b"two"), (2, b"three"))
    ]
    assert run("get", log, "3:3", "--json").json["entries"] == []


def test_ranges_over_bundle_borders(run: Callable, log: Path) -> None:
    data = b"".join(b"%d\n" % i for i in range(3, 600))
    run("append", log, "--jsonl", stdin=data)
    assert run("get", log, "3:600", "--jsonl").out == data
    assert run("get", log, "255:258", "--jsonl").out == b"255\n256\n257\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "log", 3), "entry 3: the log has 3 entries"),
        (("get", "log", 2**63), "9223372036854775808"),
        (("get", "log", "2:9"), "entries 2:9: the log has 3 entries"),
        (("get", "log", "4:"), "entries 4:3"),
        (("get", "log", -1), "-1: indexes and sizes are whole numbers from 0 on"),
        (("get", "log", "-1:2"), "-1:2: indexes"),
        (("get", "log", "2:1"), "'2:1' ends before it begins"),
        (("get", "log", "1:2:3"), "'1:2:3' is neither an index nor a range"),
        (("get", "log", "one"), "'one' is not a whole number"),
        (("get", "log", "٣"), "is not a whole number"),
        (("get", "log", "1_0"), "'1_0' is not a whole number"),
        (("get", "log", "--", "+1"), "'+1' is not a whole number"),
        (("prove", "log", 3), "index 3"),
        (("prove", "log", -7), "-7: indexes"),
        (("prove", "log", 0, "--size", 0), "index 0"),
        (("prove", "log", 0, "--size", 9), "size 9"),
        (("prove", "log", 0, "--size", -1), "'-1' is not a whole number"),
        (("checkpoint", "log", "--size", -1), "'-1' is not a whole number"),
        (("consistency", "log", 3, 0), "sizes 3 and 0"),
        (("consistency", "log", 0, 4), "size 4"),
        (("consistency", "log", -1, 3), "-1: indexes and sizes"),
        (("follow", "log", "--from", -1), "'-1' is not a whole number"),
        (("follow", "log", "--poll", 0), "--poll"),
        (("follow", "log", "--json", "--jsonl"), "give one of them"),
    ],
)
def test_numbers_outside_the_tree_are_usage_errors(
    run: Callable, log: Path, words: tuple, said: str, snapshot: Callable
) -> None:
    before = snapshot(log)
    done = run(*words, status=2)
    assert said in done.err
    assert done.out == b"" or "--json" in words
    assert snapshot(log) == before


def test_an_entry_with_a_newline_is_no_line(run: Callable, log: Path) -> None:
    run("append", log, stdin=b"a\nb")
    done = run("get", log, "2:4", "--jsonl", status=2)
    assert "entry 3 holds a newline" in done.err
    assert run("get", log, "2:4").out == b"threea\nb"


def test_a_failed_range_leaves_the_file_that_was_there(run: Callable, log: Path, tmp_path: Path) -> None:
    run("append", log, stdin=b"a\nb")
    (tmp_path / "out").write_text("mine")
    run("get", log, "2:4", "--jsonl", "-o", "out", status=2)
    assert (tmp_path / "out").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]


def test_reading_changes_nothing_in_the_log_and_needs_no_private_key(
    run: Callable, log: Path, snapshot: Callable
) -> None:
    for file in (log / "keys").iterdir():
        file.unlink()
    before = snapshot(log)
    for name, *rest in READERS:
        run(name, log, *rest)
    assert snapshot(log) == before


def test_reading_goes_on_beside_a_writer(run: Callable, log: Path) -> None:
    with merklelog.open(log) as writer:
        writer.append(b"four")
        assert run("get", log, 3).out == b"four"
        for name, *rest in READERS:
            run(name, log, *rest)


# --- follow ---


def test_follow_prints_lines_from_an_index_on(run: Callable, log: Path, copy: str, vkeys: list[str]) -> None:
    assert run("follow", log, "--count", 3, "--jsonl").out == b"one\ntwo\nthree\n"
    assert run("follow", log, "--from", 1, "--count", 2).out == b"two\nthree\n"
    assert run("follow", copy, "--from", 2, "--count", 1, "--vkey", vkeys[0]).out == b"three\n"
    assert run("follow", log, "--count", 0).out == b""
    done = run("follow", log, "--from", 1, "--count", 2, "--json")
    assert [json.loads(line)["index"] for line in done.out.splitlines()] == [1, 2]


def test_follow_sees_what_is_appended_meanwhile(
    run: Callable, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with merklelog.open(log) as writer:
        waits = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            writer.append(b"wait %d" % len(waits))

        monkeypatch.setattr(follow_module.time, "sleep", sleep)
        done = run("follow", log, "--from", 2, "--count", 4, "--poll", 0.5)
    assert done.out == b"three\nwait 1\nwait 2\nwait 3\n"
    assert waits == [0.5, 0.5, 0.5]


def test_follow_waits_for_an_index_that_is_not_there_yet(
    run: Callable, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with merklelog.open(log) as writer:
        monkeypatch.setattr(follow_module.time, "sleep", lambda _: writer.append(b"x%d" % writer.size))
        assert run("follow", log, "--from", 5, "--count", 1).out == b"x5\n"


def test_follow_ends_when_the_log_shows_another_history(
    run: Callable, log: Path, tmp_path: Path, vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same keys sign another log of three, then five entries: its copy replaces the first one's."""
    run("init", "other", "--origin", "cli.example/log", "--keys", log / "keys", "--reuse-keys",
        "--set", "store.min_free_bytes=0")  # fmt: skip
    run("append", "other", "--jsonl", stdin=b"one\ntwo\nTHREE\nfour\nfive\n")
    run("publish", log, "--to", "dir:a")
    run("publish", "other", "--to", "dir:b")

    def swap(_: float) -> None:
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "b").rename(tmp_path / "a")

    monkeypatch.setattr(follow_module.time, "sleep", swap)
    done = run("follow", "dir:a", "--vkey", vkeys[0], status=1)
    assert done.out == b"one\ntwo\nthree\n"
    assert "two histories" in done.err
    assert done.err.count("\ncli.example/log\n") == 2, "both signed notes are shown: they are the evidence"


def test_follow_does_not_go_back(
    run: Callable, log: Path, tmp_path: Path, vkeys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("publish", log, "--to", "dir:old")
    run("append", log, stdin=b"four")
    run("publish", log, "--to", "dir:new")

    def swap(_: float) -> None:
        (tmp_path / "new").rename(tmp_path / "gone")
        (tmp_path / "old").rename(tmp_path / "new")

    monkeypatch.setattr(follow_module.time, "sleep", swap)
    done = run("follow", "dir:new", "--vkey", vkeys[0], status=3)
    assert "got size 3, trusted is 4" in done.err
