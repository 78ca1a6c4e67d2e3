"""The language of searches: what each query means, and what is said of one that means nothing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FieldError
from merklelog.index.document import MAX_TIME
from merklelog.index.query import (
    MAX_CONDITIONS,
    And,
    Condition,
    Everything,
    Not,
    Or,
    Prefix,
    Times,
    Value,
    Words,
    parse_query,
)

ALICE = Value("actor", "alice")
DAY = 1_767_225_600 * 10**9
MEANT: tuple[tuple[str, Condition], ...] = (
    ("", Everything()),
    ("  \n", Everything()),
    ("*", Everything()),
    ("alice", Words(("alice",))),
    ("Alice", Words(("alice",))),
    ("svchost.exe", Words(("svchost", "exe"))),
    ('"token  RIGHT"', Words(("token", "right"))),
    ("ali*", Words(("ali",), open_ended=True)),
    ("a.b*", Words(("a", "b"), open_ended=True)),
    ("STRASSE ß", And((Words(("strasse",)), Words(("ss",))))),
    ("actor:alice", ALICE),
    ("Actor:ALICE", ALICE),
    ("actor:arn:aws:iam::1:user/p", Value("actor", "arn:aws:iam::1:user/p")),
    ('actor:"a \\"b\\" \\\\c"', Value("actor", 'a "b" \\c')),
    ('actor:""', Value("actor", "")),
    ("actor:ali*", Prefix("actor", "ali")),
    ('actor:"ali*"', Value("actor", "ali*")),
    ("actor:*", Prefix("actor", "")),
    ("@timestamp:x", Value("@timestamp", "x")),
    ("a b", And((Words(("a",)), Words(("b",))))),
    ("a AND b", And((Words(("a",)), Words(("b",))))),
    ("and", Words(("and",))),
    ("a b OR c", Or((And((Words(("a",)), Words(("b",)))), Words(("c",))))),
    ("a (b OR c)", And((Words(("a",)), Or((Words(("b",)), Words(("c",))))))),
    ("NOT a", Not(Words(("a",)))),
    ("-a", Not(Words(("a",)))),
    ("-(a)", Not(Words(("a",)))),
    ("NOT NOT actor:alice", Not(Not(ALICE))),
    ("a-b", Words(("a", "b"))),
    (":a", Words(("a",))),
    ("after:2026-01-01", Times(start=DAY)),
    ("before:2026-01-01T00:00:00Z", Times(end=DAY)),
    ("after:2026-01-01T01:00+01:00", Times(start=DAY)),
    ("after:2025-12-31T22:30:00-01:30", Times(start=DAY)),
    ("after:2026-01-01T00:00:00.000000001Z", Times(start=DAY + 1)),
    ("after:1960-01-01", Times(start=1)),
    ("before:9999-12-31", Times(end=MAX_TIME)),
    ('after:"2026-01-01"', Times(start=DAY)),
)
REFUSED = (
    ("actor:", 7, "a value"),
    ("actor: alice", 7, "a value"),
    ("(a", 3, "')'"),
    ("a)", 2, "a condition, AND, OR or the end"),
    ("()", 2, "a condition"),
    ('a "b', 5, "'\"'"),
    ('actor:"b', 9, "'\"'"),
    ("AND a", 1, "a condition"),
    ("a AND", 6, "a condition"),
    ("a OR OR b", 6, "a condition"),
    ("NOT", 4, "a condition"),
    ("---", 3, "a letter or a digit"),
    ('"."', 1, "a letter or a digit"),
    ('a"b"', 2, "a space"),
    ("after:yesterday", 7, "a time such as"),
    ("after:2026-13-01", 7, "a time such as"),
    ("x before:2026-01-01T25:00:00Z", 10, "a time such as"),
    ("after:2026-01-01T00:00:00+24:00", 7, "a time such as"),
    ("after:2026*", 7, "a time such as"),
    ("after:\u0662\u0660\u0662\u0666-01-01", 7, "a time such as"),
    (f"actor:{'x' * 129}*", 7, "at most 128"),
    ("(" * 40 + "a", 34, "at most 32"),
)


@pytest.mark.parametrize(("query", "meaning"), MEANT, ids=[query for query, _ in MEANT])
def test_a_query_means(query: str, meaning: Condition) -> None:
    assert parse_query(query) == meaning


@pytest.mark.parametrize(("query", "at", "want"), REFUSED, ids=[query[:20] for query, _, _ in REFUSED])
def test_a_query_that_means_nothing_says_where_and_what_was_expected(query: str, at: int, want: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_query(query)
    assert caught.value.field == "query"
    said = str(caught.value)
    assert said.startswith(f"query: character {at}: ")
    assert f"want {want}" in said


def test_a_query_is_bounded() -> None:
    assert isinstance(parse_query(" ".join(["a"] * MAX_CONDITIONS)), And)
    for query in ("a " * (MAX_CONDITIONS + 1), "x" * 4_097, "NOT " * 40 + "a"):
        with pytest.raises(FieldError, match="at most"):
            parse_query(query)


@given(st.one_of(st.text(max_size=60), st.text(alphabet='ab:"()*-\\ ANDORT2026', max_size=40)))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    with suppress(FieldError):
        parse_query(text)
