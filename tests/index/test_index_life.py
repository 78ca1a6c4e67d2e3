"""An index that is deleted, damaged, behind, of another log or killed in its writing ends with equal answers."""

from __future__ import annotations

import queue
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import merklelog
from merklelog.errors import DamagedError, FieldError, NotFoundError
from merklelog.index import schema
from merklelog.index.child import Begin, Feed, Told
from merklelog.index.feeder import Feeder
from merklelog.index.files import check_files, current, fresh, make_current, search_directory, size_of
from merklelog.index.indexer import Indexer
from merklelog.index.query import parse_query
from merklelog.index.schema import State
from merklelog.index.search import Searcher
from merklelog.index.update import strangeness, update
from merklelog.log import open_reader
from tests.index.corpus import (
    POISON,
    SECOND,
    START,
    append,
    documents,
    entries_of,
    expected,
    make_log,
    record,
    text,
)

HERE = Path(__file__).resolve().parent
QUERIES = ("", "actor:user1", "number 7*", "-actor:user2 after:2026-01-01", "split", "n:19")
MEMORY = 16 << 20


def event(number: int) -> bytes:
    made = record(START + number % 50 * SECOND, text(f"number {number}"), audit__actor=f"user{number % 5}")
    return entries_of(
        made | {"attributes": [*made["attributes"], {"key": "n", "value": {"intValue": str(number)}}]}
    )[0]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("life") / "log"
    long = entries_of(record(START, text("split " + "é" * 60_000)))
    return make_log(
        path, [event(n) for n in range(150)], list(POISON), long, [event(n) for n in range(150, 200)]
    )


@pytest.fixture
def log(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "log"))


def bring_up(path: Path, *, renew: str = "") -> str:
    """Bring the index up to its log; why it was made anew."""
    with open_reader(path) as reader:
        indexer = Indexer(search_directory(path), MEMORY)
        try:
            if renew:
                indexer.renew(renew, at_once=False)
            assert update(indexer, reader).size == reader.size
            return indexer.renewed
        finally:
            indexer.close()


def answers(path: Path) -> dict[str, list[Any]]:
    searcher = Searcher(search_directory(path))
    found: dict[str, list[Any]] = {}
    for query in QUERIES:
        condition = parse_query(query)
        found[query] = list(searcher.find(condition, limit=1_000).hits)
        found[query].append(searcher.counts(condition, "actor").counts)
        found[query].append(searcher.histogram(condition, 10).buckets)
    return found


def check(path: Path) -> dict[str, list[Any]]:
    """The answers, which are those of looking at every entry."""
    found = answers(path)
    with open_reader(path) as reader:
        every = documents(reader)
    for query, hits in found.items():
        assert [hit.index for hit in hits[:-2]] == expected(every, query)
    check_files(current(search_directory(path)))
    return found


def test_an_index_follows_its_log(log: Path) -> None:
    assert bring_up(log) == "there was none"
    before = check(log)
    assert bring_up(log) == ""
    append(log, [event(n) for n in range(200, 230)], entries_of(record(START, text("split " + "x" * 99_000))))
    searcher = Searcher(search_directory(log))
    assert searcher.state().size < open_reader(log).size
    assert answers(log) == before, "what is behind says what it said"
    assert bring_up(log) == ""
    after = check(log)
    assert len(after[""]) > len(before[""])
    assert searcher.state().size == open_reader(log).size, "a searcher sees the next commit"
    size = size_of(current(search_directory(log)))
    assert bring_up(log, renew="asked for") == "asked for"
    assert check(log) == after
    assert [each.name for each in search_directory(log).iterdir() if each.is_dir()] == ["2"]
    assert size_of(current(search_directory(log))) < 2 * size


def test_a_rebuild_is_seen_when_it_is_whole(log: Path) -> None:
    bring_up(log)
    before = answers(log)
    indexer = Indexer(search_directory(log), MEMORY)
    indexer.renew("asked for", at_once=False)
    with open_reader(log) as reader:
        indexer.add(reader.entries(0, 100))
        indexer.commit(reader.checkpoint(), whole=False)
        assert answers(log) == before
        indexer.close()  # as a crash would: the old one stays, and the half one is left over
        assert bring_up(log) == ""
        assert answers(log) == before
        names = {"1", "2", "CURRENT", "lock"}
        assert {each.name for each in search_directory(log).iterdir()} == names
        bring_up(log, renew="asked for")
        assert {each.name for each in search_directory(log).iterdir()} == names - {"1"}


@pytest.mark.parametrize("what", ["all", "current", "segment", "meta", "flipped", "cut", "version", "name"])
def test_a_deleted_or_damaged_index_is_made_anew(
    log: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up(log)
    before = answers(log)
    place = search_directory(log)
    index = current(place)
    store = next(index.glob("*.store"))
    positions = next(index.glob("*.pos"))
    if what == "all":
        shutil.rmtree(place)
    elif what == "current":
        (place / "CURRENT").unlink()
    elif what == "segment":
        store.unlink()
    elif what == "meta":
        (index / "meta.json").write_bytes(b'{"segments": [')
    elif what == "flipped":
        data = bytearray(positions.read_bytes())
        data[len(data) // 2] ^= 1
        positions.write_bytes(data)
    elif what == "cut":
        positions.write_bytes(positions.read_bytes()[:-20])
    elif what == "name":
        (place / "CURRENT").write_text("../../keys\n")
    else:
        index = fresh(place)
        monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
        old = Indexer(place, MEMORY)
        old._commit(State(version=99), at_once=True)
        old.close()
    assert bring_up(log) != ""
    assert check(log) == before


def test_an_index_that_can_not_be_read_is_said_to_be_damaged(log: Path) -> None:
    bring_up(log)
    index = current(search_directory(log))
    for path in index.iterdir():
        if path.suffix in {".idx", ".term", ".fast", ".store", ".pos", ".fieldnorm"}:
            path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(DamagedError):
        Searcher(search_directory(log)).find(parse_query("split"))
    with pytest.raises(NotFoundError, match="no index yet"):
        Searcher(log / "elsewhere").find(parse_query(""))
    with pytest.raises(DamagedError, match=r"no checksum|checksum is"):
        check_files(index)


def test_an_index_of_another_history_is_made_anew(log: Path, tmp_path: Path) -> None:
    """A log that was brought back from a backup and went on otherwise, and one of another name."""
    backup = Path(shutil.copytree(log, tmp_path / "backup"))
    append(log, [event(1_000 + n) for n in range(20)])
    bring_up(log)
    shutil.copytree(search_directory(log), search_directory(backup))
    with open_reader(backup) as reader:
        state = Searcher(search_directory(log)).state()
        assert "this one has" in strangeness(reader, state)
    append(backup, [event(2_000 + n) for n in range(25)])
    with open_reader(backup) as reader:
        assert "another root" in strangeness(reader, state)
        assert "of the log" in strangeness(reader, State(3, state.checkpoint.replace("search.", "other.", 1)))
        assert "can not be read" in strangeness(reader, State(3, "nonsense"))
        assert "does not say" in strangeness(reader, State(3))
    assert "another root" in bring_up(backup)
    check(backup)


STEPS = (
    ("before add_document", 1),
    ("before add_document", 60),
    ("after add_document", 130),
    ("after delete_documents_by_term", 2),
    ("before commit", 1),
    ("after commit", 1),
    ("before commit", 3),
    ("after commit", 4),
    ("adopt", 1),
)


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_killed_at_a_step_nothing_is_lost_or_doubled(log: Path, step: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "killed.py"), str(log), step, str(count)], check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    bring_up(log)
    check(log)


def test_a_child_that_is_given_half_a_message_keeps_what_it_committed(log: Path) -> None:
    boot = "from merklelog.index.child import main; main()"
    place = search_directory(log)
    with open_reader(log) as reader:
        bundle, note = reader.bundle(0, 150), reader.checkpoint().decode()
        with subprocess.Popen(
            [sys.executable, "-c", boot], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None

            def ask(message: Begin | Feed, data: bytes = b"") -> Told:
                child.stdin.write(msgspec.json.encode(message) + b"\n" + data)  # type: ignore[union-attr]
                child.stdin.flush()  # type: ignore[union-attr]
                return msgspec.json.decode(child.stdout.readline(), type=Told)  # type: ignore[union-attr]

            assert ask(Begin(str(place), MEMORY)).renewed == "there was none"
            assert ask(Feed(0, len(bundle), note), bundle).size == 150
            child.stdin.write(msgspec.json.encode(Feed(0, 1_000, note)) + b"\nhalf")
            child.stdin.close()
            told = msgspec.json.decode(child.stdout.readline(), type=Told)
            assert told.error == "StorageError: the server ended within a message"
    assert Searcher(place).state().size == 150
    bring_up(log)
    check(log)


def test_an_index_takes_no_room_that_appends_need(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on by itself when there is room again."""
    monkeypatch.setenv("MERKLELOG_STORE__MIN_FREE_BYTES", str(2**60))
    told: queue.Queue[str] = queue.Queue()
    with merklelog.open(log) as opened:
        feeder = Feeder(opened, lambda text, _failed: told.put(text))
        try:
            assert told.get(timeout=60) == "search index: made anew: there was none"
            assert "the rest is for appends; tried again in 1 s" in told.get(timeout=60)
            assert feeder.indexed == 0
        finally:
            feeder.close()
    monkeypatch.delenv("MERKLELOG_STORE__MIN_FREE_BYTES")
    with merklelog.open(log) as opened:
        feeder = Feeder(opened, lambda text, _failed: told.put(text))
        try:
            end = time.monotonic() + 60
            while feeder.indexed < opened.size:
                assert time.monotonic() < end
                time.sleep(0.02)
        finally:
            feeder.close()
    check(log)


def test_a_histogram_of_too_many_spans_is_refused_and_a_stray_time_is_not(tmp_path: Path) -> None:
    far = [
        *(record(time) for time in (1, 2**63, 2**64 - 1)),
        *(record(START + n * SECOND) for n in range(1_100)),
    ]
    path = make_log(tmp_path / "log", [each for made in far for each in entries_of(made)])
    bring_up(path)
    searcher = Searcher(search_directory(path))
    with pytest.raises(FieldError, match=r"seconds: more than 1,000 spans of 1 s have entries"):
        searcher.histogram(parse_query(""), 1)
    found = searcher.histogram(parse_query(""), 60)
    assert found.buckets[0] == (0, 1)
    assert found.buckets[-1] == ((2**64 - 1) // SECOND // 60 * 60, 1)
    assert sum(count for _, count in found.buckets) == len(far)
    assert len(searcher.histogram(parse_query("after:2026-01-01 before:2026-01-02")).buckets) == 19


def test_a_directory_is_made_current_once_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "search"
    first = fresh(place)
    make_current(first)
    begun = fresh(place)
    second = fresh(place)
    assert (first.name, begun.name, second.name) == ("1", "2", "2")
    make_current(second)
    assert current(place) == second
    assert not first.exists()
    assert not (place / "CURRENT.new").exists()
