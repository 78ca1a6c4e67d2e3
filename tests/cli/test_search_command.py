"""`merklelog search` and `merklelog index` over a data directory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from merklelog.errors import LockedError
from merklelog.index.files import WriterLock, current, search_directory
from merklelog.index.indexer import Indexer
from merklelog.index.schema import State, as_tantivy
from merklelog.log import open_reader
from tests.cli.conftest import ORIGIN, Run
from tests.index.corpus import append, documents, entries_of, record, text


def event(number: int) -> bytes:
    made = record(
        1_767_225_600_000_000_000 + number, text(f"event {number}"), audit__actor=f"user{number % 2}"
    )
    return entries_of(made)[0]


@pytest.fixture
def audited(log: Path) -> Path:
    """Three raw entries (one, two, three), seven events, and one whose record is split."""
    long = entries_of(record(1_767_225_601_000_000_000, text("long " + "é" * 70_000), audit__actor="long"))
    append(log, [event(n) for n in range(7)], long)
    return log


def test_search_finds_by_who_and_when_and_says_how_far_it_looked(run: Run, audited: Path) -> None:
    done = run("search", audited, "actor:user1", "after:2026-01-01", "--limit", "2")
    assert done.text.splitlines() == [
        "4  2026-01-01T00:00:00.000000001Z  actor=user1",
        "6  2026-01-01T00:00:00.000000003Z  actor=user1",
    ]
    assert done.err.startswith("2 of 3 hits; indexed: ")
    cursor = done.err.split("--cursor ")[1].strip()
    rest = run("search", audited, "actor:user1 after:2026-01-01", "--cursor", cursor)
    assert rest.text == "8  2026-01-01T00:00:00.000000005Z  actor=user1\n"
    newest = run("search", audited, "actor:user*", "--newest-first", "--limit", "1", "--entries")
    assert newest.text.splitlines()[0].startswith("9  ")
    assert '"record":' in newest.text.splitlines()[1]
    assert run("search", audited, "two").text == "1  -\n"


def test_counts_histogram_and_json(run: Run, audited: Path) -> None:
    done = run(
        "search", audited, "actor:user*", "--count-by", "actor", "--histogram", "60", "--limit", "1", "--json"
    )
    told: dict[str, Any] = done.json
    assert told["counts"] == [{"value": "user0", "entries": 4}, {"value": "user1", "entries": 3}]
    assert told["buckets"] == [{"time": "2026-01-01T00:00:00Z", "entries": 7}]
    assert told["hits"][0]["fields"] == [{"name": "actor", "value": "user0"}]
    assert told["total"] == 7
    assert told["indexed_size"] == told["size"]
    assert told["checkpoint"].startswith(f"{ORIGIN}\n{told['size']}\n")
    lines = run("search", audited, "--count-by", "actor", "--histogram", "auto", "--limit", "1").text
    assert "         4  user0\n" in lines
    assert "         7  2026-01-01T00:00:00Z\n" in lines


def test_a_hit_is_proven_offline_by_the_file_that_came_with_it(
    run: Run, audited: Path, tmp_path: Path
) -> None:
    done = run("search", audited, "event 3", "--proofs", tmp_path / "proofs", "--verify")
    assert "; every hit proven" in done.err
    proof = tmp_path / "proofs" / "6.tlog-proof"
    (tmp_path / "entry").write_bytes(run("get", audited, 6).out)
    key = run("vkey", audited).text.splitlines()[0]
    run("verify", proof, "--entry", tmp_path / "entry", "--vkey", key)
    split = run("search", audited, "actor:long", "--verify", "--json")
    told: Any = split.json
    assert told["verified"] is True
    assert told["hits"][0]["entries"] > 1


def lie(path: Path, **changed: Any) -> None:
    """Put a wrong document into the index, as somebody with the disk could."""
    with open_reader(path) as log:
        found = next(each for each in documents(log) if each.fields.get("actor") == "user1")
        indexer = Indexer(search_directory(path), 16 << 20)
        values: dict[str, Any] = {
            "index": found.index,
            "entries": 1,
            "time": found.time,
            "terms": found.terms,
        }
        values |= {"text": found.text, "fields": found.fields} | changed
        writer = indexer._writing
        writer.delete_documents_by_term("state", "never")
        writer.add_document(as_tantivy(type(found)(**values)))
        indexer._commit(State(log.size, log.checkpoint().decode()), at_once=True)
        indexer.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fields": {"actor": "mallory"}}, "actor: the index says 'mallory', the entry 'user1'"),
        ({"time": 5}, "the index says time 5, the entry 17"),
        ({"index": 1, "time": 0, "fields": {}}, "entry 1: it does not meet the query"),
        ({"index": 4_000}, "entry 4000: it is not in the tree of size"),
        ({"entries": 2}, "it does not make one record of 2 entries"),
    ],
)
def test_what_the_index_says_wrongly_is_disproven(
    run: Run, audited: Path, changed: dict[str, Any], said: str
) -> None:
    run("index", "update", audited)
    lie(audited, **changed)
    assert run("search", audited, "actor:user1", status=0)
    done = run("search", audited, "actor:user1", "--verify", status=1)
    assert "wrong: " in done.text
    assert said in done.text
    told: Any = run("search", audited, "actor:user1", "--verify", "--json", status=1).json
    assert told["verified"] is False
    assert said in told["disproven"][0]


def test_an_index_is_updated_rebuilt_and_looked_at(run: Run, audited: Path) -> None:
    assert run("search", audited, "x", "--no-update", status=3).err.startswith(
        "merklelog: the log has no index yet"
    )
    assert run("index", "status", audited).text.startswith("indexed 0 of ")
    told: Any = run("index", "update", audited, "--json").json
    assert (told["renewed"], told["indexed_size"]) == ("there was none", told["size"])
    append(audited, [event(20)])
    stale = run("search", audited, "event 20", "--no-update")
    assert stale.text == ""
    assert "0 of 0 hits" in stale.err
    assert ", 1 entries behind the log" in stale.err
    assert run("search", audited, "event 20").text != ""
    told = run("index", "rebuild", audited, "--json").json
    assert (told["renewed"], told["asked"]) == ("it was asked for", False)
    assert run("index", "status", audited).status == 0
    store = next(current(search_directory(audited)).glob("*.store"))
    store.write_bytes(b"\xff" + store.read_bytes()[1:])
    assert str(store) in run("index", "status", audited, status=1).err
    assert "; made anew: " in run("index", "update", audited).text


def test_beside_a_writer_of_the_index(run: Run, audited: Path) -> None:
    run("index", "update", audited)
    append(audited, [event(30)])
    lock = WriterLock(search_directory(audited))
    try:
        assert ", 1 entries behind the log" in run("search", audited, "event").err
        assert "is written by process" in run("index", "update", audited, status=LockedError.exit_status).err
        told: Any = run("index", "rebuild", audited, "--json").json
        assert told["asked"] is True
        assert (search_directory(audited) / "rebuild").exists()
    finally:
        lock.release()


def test_what_can_not_be_searched(
    run: Run, audited: Path, copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "query: character 8: got ')'" in run("search", audited, "actor:a)", status=2).err
    assert "a published copy has no index" in run("search", copy, "a", status=2).err
    for wrong in (("--histogram", "0"), ("--histogram", "x"), ("--limit", "0"), ("--cursor", "x")):
        run("search", audited, "a", *wrong, status=2)
    monkeypatch.setitem(sys.modules, "tantivy", None)
    monkeypatch.setattr("merklelog.cli.index.find_spec", lambda _name: None)
    assert "pip install 'merklelog[search]'" in run("search", audited, "a", status=2).err


def test_a_backup_has_no_index(run: Run, audited: Path, tmp_path: Path) -> None:
    run("index", "update", audited)
    run("backup", audited, tmp_path / "backup")
    assert not search_directory(tmp_path / "backup").exists()
    before = run("search", audited, "actor:*", "--json").json["hits"]
    assert run("search", tmp_path / "backup", "actor:*", "--json").json["hits"] == before
    shutil.rmtree(search_directory(audited))
    assert run("search", audited, "actor:*", "--json").json["hits"] == before
