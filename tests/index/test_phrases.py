"""Phrases whose last word only begins so, where many do; a log that grows while it is indexed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from merklelog.errors import FieldError
from merklelog.formats import parse_checkpoint
from merklelog.index.assembler import Assembler
from merklelog.index.indexer import Indexer
from merklelog.index.match import matches
from merklelog.index.query import parse_query
from merklelog.index.search import Searcher
from merklelog.index.update import strangeness, update
from merklelog.log import create_log, open_log

MANY = 17_000


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searcher, list[bytes]]:
    place = tmp_path_factory.mktemp("phrases") / "search"
    entries = [b"user b%05d end" % number for number in range(MANY)] + [b"user c.d+e", b"other b1"]
    indexer = Indexer(place, 16 << 20)
    indexer.add(entries)
    indexer.commit(b"note", whole=True)
    indexer.close()
    return Searcher(place), entries


@pytest.mark.parametrize(
    "query", ["user_b00*", "user-b0*", "user-b16999*", "c.d+e*", "user.nobody*", "er_b*"]
)
def test_all_words_that_begin_so_are_found(searcher: tuple[Searcher, list[bytes]], query: str) -> None:
    condition, assembler = parse_query(query), Assembler(0)
    found = [each for data in searcher[1] for each in assembler.add(data)]
    assert searcher[0].count(condition)[0] == sum(matches(condition, each) for each in found)


def test_too_many_words_that_begin_so_are_no_damage(searcher: tuple[Searcher, list[bytes]]) -> None:
    with pytest.raises(FieldError, match="query: too many words begin so"):
        searcher[0].find(parse_query("user_b*"))


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("a" * 4_000 + "*", "4000 characters in a word before '\\*', want at most 128"),
        ("x-" + "é" * 3_000 + "-b*", "want at most 128"),
        ("x:\ud800", "character 3: got half of a surrogate pair"),
        (f"{'😀' * 256}:{'😀' * 128}*", ""),
        (" OR ".join(f"{'é' * 8}:{'é' * 3}{n}*" for n in range(180)), ""),
    ],
)
def test_what_is_asked_is_no_damage(searcher: tuple[Searcher, list[bytes]], query: str, want: str) -> None:
    try:
        assert searcher[0].find(parse_query(query)).total == 0
        assert not want
    except FieldError as error:
        assert re.search(want or "too much to look for", str(error))  # noqa: PT017 - either is an answer


def test_the_checkpoint_of_an_index_is_of_all_that_is_in_it(tmp_path: Path) -> None:
    """Whatever the log gets between two looks at it."""
    create_log(tmp_path / "log", "example.org/grows", settings={"store.min_free_bytes": 0})
    with open_log(tmp_path / "log") as log:
        log.submit(b"first").result(60)

        class Growing:
            def __getattr__(self, name: str) -> Any:
                log.submit_batch([b"one more"]).result(60)
                return getattr(log, name)

        indexer = Indexer(tmp_path / "search", 16 << 20)
        state = update(indexer, Growing())  # type: ignore[arg-type]
        indexer.close()
        assert parse_checkpoint(state.checkpoint.encode()).checkpoint.size >= state.size > 0
        assert strangeness(log, state) == ""
