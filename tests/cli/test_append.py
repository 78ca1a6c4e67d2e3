"""`merklelog append`: what is an entry, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.cli import inputs
from merklelog.cli.inputs import BATCH_BYTES, BATCH_ENTRIES, ENTRY_COST, batches, choose_inputs, chunks
from merklelog.errors import StorageFullError
from merklelog.store import RocksStore

MAX = 65_535


def test_one_entry_from_a_file_from_stdin_and_from_a_dash(run: Callable, log: Path, tmp_path: Path) -> None:
    (tmp_path / "event").write_bytes(b"a\nb\r\n\x00\xff")
    assert run("append", log, "event").out == b"index 3\n"
    assert run("append", log, stdin=b"from stdin\n").out == b"index 4\n"
    assert run("append", log, "-", stdin=b"\x80").out == b"index 5\n"
    assert run("get", log, 3).out == b"a\nb\r\n\x00\xff"
    assert run("get", log, 4).out == b"from stdin\n"
    assert run("get", log, 5).out == b"\x80"


def test_many_files_and_stdin_among_them_keep_their_order(run: Callable, log: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert run("append", log, "a", "-", "b", stdin=b"middle").out == b"appended 3:6, size 6\n"
    assert run("get", log, "3:6").out == b"amiddleb"


def test_a_line_is_every_byte_before_the_newline(run: Callable, log: Path) -> None:
    lines = b'{"a":1}\r\n\n \xff\x00\t\nlast without newline'
    assert run("append", log, "--jsonl", stdin=lines).out == b"appended 3:7, size 7\n"
    wanted = [b'{"a":1}\r', b"", b" \xff\x00\t", b"last without newline"]
    assert [run("get", log, index).out for index in range(3, 7)] == wanted
    assert run("get", log, "3:", "--jsonl").out == lines + b"\n"


def test_the_result_as_json(run: Callable, log: Path) -> None:
    result = run("append", log, "--jsonl", "--json", stdin=b"x\ny\n").json
    assert (result["start"], result["end"], result["appended"], result["entries"]) == (3, 5, 2, 2)
    assert (result["size"], result["index"], result["proof"]) == (5, None, None)
    assert str(result["checkpoint"]).splitlines()[1] == "5"
    single = run("append", log, "--json", stdin=b"z").json
    assert (single["index"], single["size"]) == (5, 6)
    assert run("checkpoint", log, "--json").json["root"] == single["root"]


def test_no_lines_are_no_entries(run: Callable, log: Path) -> None:
    assert run("append", log, "--jsonl", stdin=b"").out == b"appended nothing, size 3\n"


def test_empty_standard_input_is_a_mistake_and_an_empty_file_an_entry(
    run: Callable, log: Path, tmp_path: Path
) -> None:
    assert "standard input is empty" in run("append", log, stdin=b"", status=2).err
    (tmp_path / "empty").touch()
    assert run("append", log, "empty").out == b"index 3\n"


def test_the_longest_entry_fits_every_way(run: Callable, log: Path, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * MAX)
    run("append", log, "long")
    run("append", log, stdin=b"y" * MAX)
    run("append", log, "--jsonl", stdin=b"z" * MAX + b"\n" + b"w" * MAX)
    assert run("checkpoint", log, "--json").json["size"] == 7


@pytest.mark.parametrize(
    "way", ["file", "stdin", "lines in a file", "endless line in a file", "lines in stdin"]
)
def test_an_entry_that_is_too_long_changes_nothing(
    run: Callable, log: Path, tmp_path: Path, way: str, snapshot: Callable
) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    short.write_bytes(b"short")
    before = snapshot(log)
    if way == "file":
        long.write_bytes(b"x" * (MAX + 1))
        done = run("append", log, "short", "long", status=2)
        assert "long: 65,536 bytes" in done.err
    elif way == "stdin":
        done = run("append", log, stdin=b"x" * (MAX + 1), status=2)
        assert "standard input" in done.err
    elif way == "lines in a file":
        long.write_bytes(b"a\n" * 1000 + b"x" * (MAX + 1) + b"\nb\n")
        done = run("append", log, "--jsonl", "short", "long", status=2)
        assert "long, line 1001: 65,536 bytes" in done.err
    elif way == "endless line in a file":
        long.write_bytes(b"a\nb\n" + b"x" * 3_000_000)
        done = run("append", log, "--jsonl", "long", status=2)
        assert "long, line 3: over 65,535 bytes" in done.err
    else:
        done = run("append", log, "--jsonl", stdin=b"a\nb\n" + b"x" * 70_000 + b"\n", status=2)
        assert "standard input, line 3: 70,000 bytes" in done.err
    assert "at most 65,535" in done.err
    assert run("checkpoint", log, "--json").json["size"] == 3
    if way not in ("stdin", "lines in stdin"):
        assert snapshot(log) == before, "what can be looked at beforehand is, before the log is opened"


def test_what_a_stream_brought_before_its_bad_line_is_accounted_for(
    run: Callable, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 1024)
    good = b"".join(b"%d\n" % i for i in range(1000))
    done = run("append", log, "--jsonl", stdin=good + b"x" * 70_000 + b"\n", status=2)
    size = int(run("checkpoint", log, "--json").json["size"])
    assert size > 3
    assert f"appended before it stopped: {size - 3} entries; input 1-{size - 3} at 3:{size}" in done.err
    assert "line 1001: over 65,535 bytes" in done.err


@pytest.mark.parametrize("missing", ["absent", "directory"])
def test_a_file_that_can_not_be_read_changes_nothing(
    run: Callable, log: Path, tmp_path: Path, snapshot: Callable, missing: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "event").write_bytes(b"event")
    before = snapshot(log)
    for flags in ((), ("--jsonl",)):
        done = run("append", log, *flags, "event", missing, status=4)
        assert missing in done.err
    assert snapshot(log) == before


def test_standard_input_can_be_given_once(run: Callable, log: Path) -> None:
    assert "twice" in run("append", log, "-", "-", stdin=b"x", status=2).err


# --- the proof of a single entry ---


def test_the_receipt_proves_the_entry(run: Callable, log: Path, vkeys: list[str], tmp_path: Path) -> None:
    (tmp_path / "event").write_bytes(b"event")
    assert run("append", log, "event", "-o", "e.tlog-proof", "--json").json["proof"] == "e.tlog-proof"
    run("verify", "e.tlog-proof", "--entry", "event", "--vkey", vkeys[0])
    run("append", log, "--jsonl", "-o", "line.tlog-proof", stdin=b"event\n")
    run("verify", "line.tlog-proof", "--entry", "event", "--vkey", vkeys[0])


@pytest.mark.parametrize("stdin", [b"a\nb\n", b""])
def test_a_receipt_is_for_exactly_one_entry(run: Callable, log: Path, tmp_path: Path, stdin: bytes) -> None:
    done = run("append", log, "--jsonl", "-o", "p", stdin=stdin, status=2)
    assert "a proof is of one entry" in done.err
    (tmp_path / "lines").write_bytes(stdin)
    run("append", log, "--jsonl", "lines", "-o", "p", status=2)
    run("append", log, "lines", "lines", "-o", "p", status=2)
    assert run("checkpoint", log, "--json").json["size"] == 3
    assert not (tmp_path / "p").exists()


def test_a_receipt_that_can_not_be_written_is_known_before_the_append(run: Callable, log: Path) -> None:
    done = run("append", log, "-o", "no/such/place", stdin=b"x", status=4)
    assert "no/such/place: No such file or directory" in done.err
    assert run("checkpoint", log, "--json").json["size"] == 3


# --- repeats ---


def test_an_idempotency_key_makes_a_second_run_append_nothing(run: Callable, log: Path) -> None:
    lines = b"".join(b"event %d\n" % i for i in range(2_500))
    key = ("--idempotency-key", "job 17")
    assert run("append", log, "--jsonl", *key, stdin=lines).out == b"appended 3:2503, size 2503\n"
    again = run("append", log, "--jsonl", *key, stdin=lines)
    assert again.out == b"appended nothing, 2500 of 2500 were there already, size 2503\n"


def test_an_interrupted_run_is_completed_by_its_key(run: Callable, log: Path) -> None:
    lines = [b"event %d\n" % i for i in range(2_500)]
    key = ("--idempotency-key", "job 17")
    found = batches(iter([[line[:-1] for line in lines]]), hold=True)
    first = len(next(found))  # as if the first run had come to the end of its first batch
    run("append", log, "--jsonl", *key, stdin=b"".join(lines[:first]))
    done = run("append", log, "--jsonl", *key, stdin=b"".join(lines), status=0)
    assert done.out == b"appended %d:2503, %d of 2500 were there already, size 2503\n" % (3 + first, first)


def test_an_idempotency_key_with_other_bytes_is_refused(run: Callable, log: Path) -> None:
    assert run("append", log, "--idempotency-key", "k", stdin=b"one").out == b"index 3\n"
    assert run("append", log, "--idempotency-key", "k", stdin=b"one").out == b"index 3, there already\n"
    assert "other bytes" in run("append", log, "--idempotency-key", "k", stdin=b"two", status=2).err
    assert "1 to 128 bytes" in run("append", log, "--idempotency-key", "k" * 129, stdin=b"x", status=2).err
    assert "1 to 128 bytes" in run("append", log, "--idempotency-key", "", stdin=b"x", status=2).err
    assert run("checkpoint", log, "--json").json["size"] == 4


def test_dedupe_gives_repeats_their_first_index(run: Callable, tmp_path: Path) -> None:
    run("init", "d", "--origin", "cli.example/d", "--dedupe", "--set", "store.min_free_bytes=0")
    assert run("append", "d", "--jsonl", stdin=b"a\nb\na\n").out == (
        b"appended 0:2, 1 of 3 were there already, size 2\n"
    )
    assert run("append", "d", stdin=b"b").out == b"index 1, there already\n"
    result = run("append", "d", "--json", stdin=b"a").json
    assert (result["index"], result["appended"], result["start"], result["end"]) == (0, 0, 2, 2)


# --- cutting input into entries ---


@given(st.lists(st.binary(max_size=12)), st.integers(1, 9))
def test_lines_are_what_split_says_however_the_reads_fall(parts: list[bytes], step: int) -> None:
    data = b"\n".join(parts)

    class Slow:
        def __init__(self) -> None:
            self.at = 0

        def read1(self, _size: int) -> bytes:
            self.at += step
            return data[self.at - step : self.at]

    found = [line for chunk in inputs._lines(Slow(), "x") for line in chunk]  # type: ignore[arg-type]
    wanted = data.split(b"\n")
    assert found == (wanted if wanted[-1] else wanted[:-1])


@given(st.lists(st.lists(st.integers(0, MAX).map(bytes), max_size=8), max_size=4), st.booleans())
def test_batches_lose_nothing_and_stay_small(found: list[list[bytes]], hold: bool) -> None:
    made = list(batches(iter(found), hold=hold))
    assert [e for batch in made for e in batch] == [e for chunk in found for e in chunk]
    for batch in made:
        assert batch
        assert len(batch) == 1 or sum(len(entry) + ENTRY_COST for entry in batch) <= BATCH_BYTES


def test_batches_do_not_keep_what_came_waiting_unless_told_to() -> None:
    def slow() -> Iterator[list[bytes]]:
        yield [b"a"]
        pytest.fail("asked for more before the first batch was given")

    assert next(batches(slow(), hold=False)) == [b"a"]
    assert [len(b) for b in batches(iter([[b""] * 2_500]), hold=True)] == [BATCH_ENTRIES, BATCH_ENTRIES, 500]


def test_one_cut_for_one_input_whatever_the_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"".join(b"%d" % i * (i % 90) + b"\n" for i in range(5_000)))
    cuts = []
    for size in (1 << 20, 777):
        monkeypatch.setattr(inputs, "CHUNK_BYTES", size)
        found = chunks(choose_inputs([str(file)], lines=True))
        cuts.append([len(batch) for batch in batches(found, hold=True)])
    assert cuts[0] == cuts[1]
    assert len(cuts[0]) > 3


def test_what_is_durable_is_said_also_when_the_end_fails(
    run: Callable, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RocksStore) -> None:
        raise StorageFullError("no room to flush memtables")

    monkeypatch.setattr(RocksStore, "settle", full)
    done = run("append", log, "--jsonl", stdin=b"four\nfive\n", status=4)
    monkeypatch.undo()
    assert "appended before it stopped: 2 entries; input 1-2 at 3:5\n" in done.err
    assert done.err.endswith("merklelog: no room to flush memtables\n")
    assert done.out == b""
    assert run("get", log, "3:5").out == b"fourfive"
