"""The index of record IDs: what was told, what is read from the log, and both after it was closed or damaged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import ClosedError, StorageError
from merklelog.ingest.canonical import encode_record, record_identity
from merklelog.ingest.entry import LogPart, encode_entry
from merklelog.ingest.ids import DIRECTORY, RecordIds, conflict_key, id_key
from merklelog.ingest.split import split_entry
from merklelog.ingest.verdict import make_verdicts
from merklelog.log import Log

WAIT = 60.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    merklelog.create_log(tmp_path / "log", "ids.example/log")
    with merklelog.open(tmp_path / "log") as opened:
        yield opened


def record(record_id: str | None, text: str = "x") -> bytes:
    named = [{"key": "audit.record.id", "value": {"stringValue": record_id}}] if record_id is not None else []
    return encode_record({"attributes": named, "body": {"stringValue": text}} if named else {"flags": 1})


def stored(log: Log, record_id: str | None, text: str = "x", conflict_with: int | None = None) -> int:
    """The index of a new entry of that record, as an intake makes it."""
    data = record(record_id, text)
    part = LogPart(1, "s", make_verdicts(conflict_with=conflict_with))
    return int(log.append(encode_entry(part, data)).index)


def open_ids(log: Log, *, by_hash: bool = False) -> RecordIds:
    ids = RecordIds(log, by_hash=by_hash)
    assert ids.wait(WAIT)
    return ids


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < end, "never"
        time.sleep(0.01)


def hash_of(record_id: str | None, text: str = "x") -> bytes:
    return record_identity(record(record_id, text))


def test_ids_in_the_log_are_found(log: Log) -> None:
    log.append(b"raw")
    stored(log, "a")
    stored(log, None)
    stored(log, "b", "y")
    ids = open_ids(log)
    assert ids.look_up([id_key("b"), id_key("none"), id_key("a")]) == {
        0: (3, hash_of("b", "y")),
        2: (1, hash_of("a")),
    }
    ids.close()
    ids.close()
    with pytest.raises(ClosedError):
        ids.look_up([id_key("a")])


def test_what_was_told_is_found_at_once_and_after_an_opening(log: Log) -> None:
    ids = open_ids(log)
    first = stored(log, "a")
    ids.add([(id_key("a"), first, hash_of("a"))], first, first + 1)
    assert ids.look_up([id_key("a")]) == {0: (first, hash_of("a"))}
    ids.close()
    again = open_ids(log)
    assert again.look_up([id_key("a")]) == {0: (first, hash_of("a"))}
    again.close()


def test_entries_by_other_doors_are_read_from_the_log(log: Log) -> None:
    ids = open_ids(log)
    elsewhere = [stored(log, f"e{n}") for n in range(3)]
    log.append(encode_entry(None, record("client")))
    told = stored(log, "told")
    ids.add([(id_key("told"), told, hash_of("told"))], told, told + 1)
    assert ids.wait(WAIT)
    keys = [id_key(name) for name in ("e0", "e1", "e2", "client", "told")]
    assert {at: found[0] for at, found in ids.look_up(keys).items()} == dict(enumerate([*elsewhere, 3, told]))
    ids.close()


def test_of_two_entries_with_one_id_the_first_counts_and_the_other_has_a_key_of_its_own(log: Log) -> None:
    first = stored(log, "a", "one")
    second = stored(log, "a", "two", conflict_with=first)
    unflagged = stored(log, "a", "three")
    ids = open_ids(log)
    other = hash_of("a", "two")
    assert ids.look_up([id_key("a"), conflict_key("a", other), conflict_key("a", hash_of("a", "one"))]) == {
        0: (first, hash_of("a", "one")),
        1: (second, other),
    }
    assert unflagged == 2
    ids.close()


def test_records_without_an_id_are_found_by_their_hash_where_asked_for(log: Log) -> None:
    index = stored(log, None)
    by_hash = open_ids(log, by_hash=True)
    assert by_hash.look_up([hash_of(None)]) == {0: (index, hash_of(None))}
    by_hash.close()
    ids = open_ids(log)
    assert not ids.look_up([hash_of("a"), bytes(32)])
    ids.close()


def test_a_split_record_is_found_at_its_first_entry(log: Log) -> None:
    data = record("long", "y" * 100_000)
    entries = split_entry(LogPart(1), data)
    assert len(entries) > 1
    stored(log, "before")
    receipt = log.append_batch(entries)
    ids = open_ids(log)
    assert ids.look_up([id_key("long")]) == {0: (receipt.indexes[0], record_identity(data))}
    ids.close()


def test_what_only_looks_like_an_entry_is_passed_over(log: Log) -> None:
    log.append(b'{"log":{"format":"merklelog/entry/v1"')
    log.append(b'{"log":{"format":"merklelog/entry/v1","time":"1"},"record":"audit.record.id"}')
    whole = split_entry(LogPart(1), record("cut", "y" * 100_000))
    log.append(whole[0])
    index = stored(log, "a")
    ids = open_ids(log)
    assert ids.look_up([id_key("cut"), id_key("a")]) == {1: (index, hash_of("a"))}
    ids.close()
    log.append(whole[0])  # and nothing after it
    again = open_ids(log, by_hash=True)
    assert not again.look_up([id_key("cut")])
    again.close()


def many(log: Log, count: int, name: Callable[[int], str] = str) -> None:
    part = LogPart(1)
    for start in range(0, count, 1000):
        rows = range(start, min(start + 1000, count))
        log.append_batch([encode_entry(part, record(name(n))) for n in rows])


def test_a_long_log_is_found_again_after_its_index_was_lost_cut_or_damaged(log: Log, tmp_path: Path) -> None:
    """Long enough for files: 4 parts of 16,384 entries make one."""
    count = 66_000
    many(log, count)
    ids = open_ids(log)
    samples = [0, 255, 256, 16_384, 65_535, count - 1]
    expected = {at: (n, hash_of(str(n))) for at, n in enumerate(samples)}
    keys = [id_key(str(n)) for n in samples]
    assert ids.look_up(keys) == expected
    ids._index.settle()
    ids.close()
    files = list((tmp_path / "log" / DIRECTORY).glob("*.run"))
    assert files
    for file in files:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    damaged = open_ids(log)
    seen: dict[int, tuple[int, bytes]] = {}
    for _ in range(100):
        try:
            seen = damaged.look_up(keys)
            break
        except merklelog.errors.UnavailableError:
            assert damaged.wait(WAIT)
    assert seen == expected
    damaged.close()


def test_while_the_log_is_read_nothing_is_told_to_be_new(log: Log) -> None:
    many(log, 3000)
    ids = RecordIds(log, patience=0)
    try:
        found = ids.look_up([id_key("2999")])
    except merklelog.errors.UnavailableError as error:
        assert error.retry_after == 1.0  # noqa: PT017 - either may come first
        assert ids.wait(WAIT)
        found = ids.look_up([id_key("2999")])
    assert found == {0: (2999, hash_of("2999"))}
    ids.close()


def test_entries_by_other_doors_between_those_that_were_told_delay_nobody(log: Log) -> None:
    ids = open_ids(log)
    for number in range(50):
        log.append_batch([b"raw", encode_entry(None, record(f"client{number}"))])
        told = stored(log, f"told{number}")
        ids.add([(id_key(f"told{number}"), told, hash_of(f"told{number}"))], told, told + 1)
        assert ids.look_up([id_key(f"client{number}")])[0][0] == told - 1
    ids.close()


def test_what_is_not_in_the_index_yet_stays_in_memory(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merklelog.ingest.ids._RECENT", 8)
    held = threading.Event()
    ids = open_ids(log)
    add = ids._index.add
    monkeypatch.setattr(ids._index, "add", lambda *given: held.wait() and add(*given))
    names = [str(n) for n in range(100)]
    for name in names:
        at = stored(log, name)
        ids.add([(id_key(name), at, hash_of(name))], at, at + 1)
    try:
        found = ids.look_up([id_key(name) for name in names])
    finally:
        held.set()
    assert {at: row[0] for at, row in found.items()} == dict(enumerate(range(100)))
    assert ids.wait(WAIT)
    for name in names:  # now the index has them, and memory lets go
        at = stored(log, f"later {name}")
        ids.add([(id_key(f"later {name}"), at, hash_of(f"later {name}"))], at, at + 1)
        assert ids.wait(WAIT)
    assert sum(map(len, ids._recent)) < 20
    assert len(ids.look_up([id_key(name) for name in names])) == 100
    ids.close()


def test_many_threads_look_up_while_one_adds(log: Log) -> None:
    ids = open_ids(log)
    failures: list[str] = []
    done = threading.Event()
    known: list[int] = []

    def look() -> None:
        while not done.is_set():
            names = list(known)[-50:]
            found = ids.look_up([id_key(str(n)) for n in names])
            if {at: row[0] for at, row in found.items()} != dict(enumerate(names)):
                failures.append(f"{names}: {found}")
                return

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 2000, 40):
        rows = range(start, start + 40)
        log.append_batch([encode_entry(LogPart(1), record(str(n))) for n in rows])
        ids.add([(id_key(str(n)), n, hash_of(str(n))) for n in rows], start, start + 40)
        known.extend(rows)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert ids.wait(WAIT)
    assert ids.behind == 0
    ids.close()


def test_another_past_of_the_log_is_not_believed(log: Log, tmp_path: Path) -> None:
    log.append_batch([b"%d" % n for n in range(66_000)])
    stored(log, "theirs")
    ids = open_ids(log)
    ids._index.settle()
    ids.close()
    merklelog.create_log(tmp_path / "other", "ids.example/log")
    (tmp_path / "log" / DIRECTORY).rename(tmp_path / "other" / DIRECTORY)
    with merklelog.open(tmp_path / "other") as other:
        index = stored(other, "ours")
        mine = open_ids(other)
        assert {at: row[0] for at, row in mine.look_up([id_key("theirs"), id_key("ours")]).items()} == {
            1: index
        }
        mine.close()


def test_a_read_that_failed_is_tried_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = RecordIds(log, again=0.01)
    whole = log.integrated_tiles
    broken = threading.Event()
    broken.set()

    def reading() -> object:
        if broken.is_set():
            raise StorageError("the disk does not answer")
        return whole()

    monkeypatch.setattr(log, "integrated_tiles", reading)
    first = stored(log, "a")
    second = stored(log, "b")
    ids.add([(id_key("b"), second, hash_of("b"))], second, second + 1)  # so that "a" has to be read
    with pytest.raises(StorageError, match="does not answer"):
        ids.wait(WAIT)
    assert ids.trouble == "the disk does not answer"
    with pytest.raises(StorageError, match="tried again: the disk does not answer"):
        ids.look_up([id_key("a")])
    for number in range(5):
        at = stored(log, f"more {number}")
        ids.add([(id_key(f"more {number}"), at, hash_of(f"more {number}"))], at, at + 1)
    assert ids._waiting == [], "it is read later, and takes no room for as long as that fails"
    with pytest.raises(StorageError):
        ids.check()
    broken.clear()
    until(lambda: not ids.behind and not ids.trouble)
    assert ids.look_up([id_key("a"), id_key("b")]) == {0: (first, hash_of("a")), 1: (second, hash_of("b"))}
    assert ids.look_up([id_key("more 4")]) == {0: (second + 5, hash_of("more 4"))}
    assert ids.trouble == ""
    ids.check()
    ids.close()


def test_no_repeat_is_missed_while_the_index_takes_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = RecordIds(log, again=0.01)
    add = ids._index.add

    def refusing(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(ids._index, "add", refusing)
    for name in "ab":
        at = stored(log, name)
        ids.add([(id_key(name), at, hash_of(name))], at, at + 1)
        until(lambda: ids.trouble == "unexpected OSError: no room")
    with pytest.raises(StorageError, match="no room"):
        ids.look_up([id_key("b")])
    monkeypatch.setattr(ids._index, "add", add)
    until(lambda: not ids.behind)
    assert ids.look_up([id_key("b"), id_key("a")]) == {0: (1, hash_of("b")), 1: (0, hash_of("a"))}
    ids.close()
