"""The index against looking at every entry: the same hits, in the same order, on every page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.errors import FieldError, LockedError
from merklelog.index.document import Document
from merklelog.index.files import search_directory
from merklelog.index.indexer import Indexer
from merklelog.index.query import parse_query
from merklelog.index.search import MAX_HITS, Searcher
from merklelog.index.update import update
from merklelog.log import LogReader, open_reader
from tests.index.corpus import (
    POISON,
    SECOND,
    START,
    documents,
    entries_of,
    expected,
    leaves,
    make_log,
    quoted,
    record,
    text,
)
from tests.ingest.real_events import cloudtrail_events, windows_events

CLOUDTRAIL = cloudtrail_events()
WINDOWS = windows_events()[::29]
LONG = record(START, text("the split one " + "é" * 90_000), audit__actor="carol")


class Indexed:
    """A log with an index, and its documents."""

    def __init__(self, path: Path, log: LogReader, found: list[Document]) -> None:
        self.path, self.log, self.documents = path, log, found
        self.searcher = Searcher(search_directory(path))

    def find(self, query: str, *, limit: int = MAX_HITS, newest_first: bool = False) -> list[int]:
        """The indexes of all hits, page by page."""
        condition, cursor, found = parse_query(query), "", []
        total = None
        while True:
            page = self.searcher.find(condition, limit=limit, cursor=cursor, newest_first=newest_first)
            total = page.total if total is None else total
            found += [hit.index for hit in page.hits]
            cursor = page.cursor
            if not cursor:
                assert total == len(found)
                return found

    def check(self, query: str, **options: int) -> list[int]:
        found = self.find(query, **options)  # type: ignore[arg-type]
        assert found == expected(self.documents, query), query
        return found


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexed]:
    """Real events raw and as records, some with no time, many at the same, a split one, and poison among them."""
    actors = [f"user{n % 7}" for n in range(60)]
    alike = [
        entries_of(record(START + n // 20 * SECOND, audit__actor=a, n=str(n)))[0]
        for n, a in enumerate(actors)
    ]
    untimed = [b"words alone %d" % n for n in range(30)]
    path = make_log(
        tmp_path_factory.mktemp("indexed") / "log",
        [event.encode() for event in CLOUDTRAIL],
        alike,
        list(POISON),
        entries_of(LONG),
        [entries_of(record(0, text(event)))[0] for event in WINDOWS],
        untimed,
    )
    with open_reader(path) as log:
        indexer = Indexer(search_directory(path), 16 << 20)
        state = update(indexer, log)
        indexer.close()
        assert (state.size, state.checkpoint.encode()) == (log.size, log.checkpoint())
        yield Indexed(path, log, documents(log))


def test_every_real_event_is_found_by_each_of_its_fields(indexed: Indexed) -> None:
    at = {each.index: each for each in indexed.documents}
    offset = indexed.log.size - 30 - len(WINDOWS)
    wanted = [*enumerate(CLOUDTRAIL), *enumerate(WINDOWS, offset)]
    found: dict[tuple[str, str], set[int]] = {}
    for index, event in wanted:
        for name, value in {*leaves(json.loads(event)), *at[index].fields.items()}:
            if (name, value) not in found:
                found[name, value] = set(indexed.find(f"{name}:{quoted(value)}"))
            assert index in found[name, value], (name, value)
    assert len(found) > 2_000


def test_hits_show_the_fields_and_the_time(indexed: Indexed) -> None:
    at = {each.index: each for each in indexed.documents}
    for hit in indexed.searcher.find(parse_query(""), limit=MAX_HITS).hits:
        true = at[hit.index]
        assert (hit.entries, hit.time, hit.fields) == (true.entries, true.time, true.fields)


@pytest.mark.parametrize(
    "query",
    [
        *(
            "",
            "pedro",
            "actor:user3",
            "-actor:*",
            "NOT pedro",
            "actor:*",
            '"a token right"',
            "svchost",
            "words",
        ),
        *("actor:user1 OR actor:user2", "pedro -(actor:user1 OR eventname:Describe*)", "source:*"),
        *("after:2026-01-01 actor:user*", "before:2026-01-01", "after:2026-01-01T00:00:01Z -user5"),
        *(
            "split one",
            "actor:carol",
            "outcome:failure",
            "action:4673 OR action:describevolumes",
            "nothing-at-all",
        ),
        *("(a OR b) user0", "NOT NOT user0", "n:1*", "after:2026-01-02 before:2026-01-01"),
    ],
)
def test_a_query_finds_what_looking_finds(indexed: Indexed, query: str) -> None:
    indexed.check(query)
    indexed.check(query, limit=7)
    assert indexed.find(query, newest_first=True, limit=11) == expected(
        indexed.documents, query, newest_first=True
    )


NAMES = st.sampled_from(["actor", "source", "n", "eventName", "outcome"])
VALUES = st.sampled_from(["user1", "user4", "pedro-computer", "7", "DescribeVolumes", "success", ""])
SIMPLE = st.one_of(
    st.sampled_from(
        ["pedro", "user2", "words alone", '"words alone"', "desc*", "after:2026-01-01", "before:2022"]
    ),
    st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]}:{quoted(pair[1])}"),
    st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]}:{pair[1][:3]}*"),
).map(lambda query: query.replace("before:2022", "before:2022-06-01"))
QUERIES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        inner.map(lambda query: f"NOT ({query})"),
        st.tuples(inner, st.sampled_from([" ", " AND ", " OR "]), inner).map(
            lambda three: f"({three[0]}){three[1]}({three[2]})"
        ),
    ),
    max_leaves=6,
)


@given(query=QUERIES, limit=st.integers(1, 60), newest_first=st.booleans())
@settings(deadline=None)
def test_any_query_finds_what_looking_finds(
    indexed: Indexed, query: str, limit: int, newest_first: bool
) -> None:
    condition = parse_query(query)
    want = expected(indexed.documents, query, newest_first=newest_first)
    page = indexed.searcher.find(condition, limit=limit, newest_first=newest_first)
    assert ([hit.index for hit in page.hits], page.total) == (want[:limit], len(want))
    if page.cursor:
        after = indexed.searcher.find(condition, limit=limit, cursor=page.cursor, newest_first=newest_first)
        assert [hit.index for hit in after.hits] == want[limit : 2 * limit]
    else:
        assert len(want) <= limit


@pytest.mark.parametrize("query", ["", "pedro", "actor:user*", "nothing-at-all"])
@pytest.mark.parametrize("field", ["actor", "action", "EventID", "outcome", "no_such"])
def test_counts_are_those_of_looking(indexed: Indexed, query: str, field: str) -> None:
    hits = set(expected(indexed.documents, query))
    begin = f"{field.lower()}\0"
    terms = [t for each in indexed.documents if each.index in hits for t in each.terms if t.startswith(begin)]
    want = Counter(term.removeprefix(begin).partition("\0")[0] for term in terms)
    got = indexed.searcher.counts(parse_query(query), field, limit=1_000).counts
    assert dict(got) == want
    assert [count for _, count in got] == sorted(want.values(), reverse=True)
    assert indexed.searcher.counts(parse_query(query), field, limit=2).counts == got[:2]


@pytest.mark.parametrize("seconds", [1, 60, 86_400])
def test_a_histogram_is_that_of_looking(indexed: Indexed, seconds: int) -> None:
    query = "actor:user*"
    hits = set(expected(indexed.documents, query))
    times = [each.time // SECOND for each in indexed.documents if each.index in hits]
    want = Counter(time // seconds * seconds for time in times)
    got = indexed.searcher.histogram(parse_query(query), seconds)
    assert dict(got.buckets) == want
    assert (got.seconds, got.untimed) == (seconds, 0)
    automatic = indexed.searcher.histogram(parse_query(query))
    assert sum(count for _, count in automatic.buckets) == len(times)
    everything = indexed.searcher.histogram(parse_query(""))
    assert everything.untimed == sum(not each.time for each in indexed.documents)
    assert sum(c for _, c in everything.buckets) + everything.untimed == len(indexed.documents)


def test_what_can_not_be_asked_is_refused(indexed: Indexed) -> None:
    everything = parse_query("")
    for limit in (0, MAX_HITS + 1):
        with pytest.raises(FieldError, match="limit"):
            indexed.searcher.find(everything, limit=limit)
    for cursor in (
        "x",
        "a1",
        "d1-1",
        "a1-99999999999999999999",
        "a1-9999999999999999999",
        "a1-01",
        "a01-1",
        "a٣-1",
    ):
        with pytest.raises(FieldError, match="cursor"):
            indexed.searcher.find(everything, cursor=cursor)
    with pytest.raises(FieldError, match="field"):
        indexed.searcher.counts(everything, "")


def test_there_is_one_writer(indexed: Indexed) -> None:
    indexer = Indexer(search_directory(indexed.path), 16 << 20)
    try:
        assert not indexer.renewed
        with pytest.raises(LockedError, match="is written by process"):
            Indexer(search_directory(indexed.path), 16 << 20)
    finally:
        indexer.close()
