"""How documents stand in the index (tantivy), and how conditions become its queries.

Each document has its first entry's `index` and how many entries it spans, its `time` and the same in whole
`second`s (which is what histograms count by: tantivy computes them in doubles), its `terms`, its `text` with
positions, and as JSON the fields that a hit shows. One document more holds the state of the index, and no query
finds it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
import tantivy

from .document import Document
from .query import And, Condition, Not, Or, Prefix, Times, Value, Words
from .words import SEPARATOR

VERSION: Final = 2  # of all that decides what an index holds: another one is made anew
SECOND: Final = 10**9
STATE: Final = "state"
_META: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")
_ANY: Final = "(?s:.)*"


class State(msgspec.Struct, frozen=True):
    """What an index is of: the first `size` entries of the log that has this `checkpoint`; "": of none yet.

    `version` is that of the schema.
    """

    size: int = 0
    checkpoint: str = ""
    version: int = VERSION


def make_schema() -> tantivy.Schema:
    """The schema of VERSION."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("index", fast=True)
    builder.add_unsigned_field("entries", fast=True)
    builder.add_unsigned_field("time", fast=True)
    builder.add_unsigned_field("second", fast=True)
    builder.add_text_field("terms", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", tokenizer_name="whitespace", index_option="position")
    builder.add_text_field(STATE, tokenizer_name="raw", index_option="basic")
    builder.add_bytes_field("shown", stored=True)
    return builder.build()


def as_tantivy(document: Document) -> tantivy.Document:
    """A document as tantivy takes it."""
    made = tantivy.Document()
    made.add_unsigned("index", document.index)
    made.add_unsigned("entries", document.entries)
    made.add_unsigned("time", document.time)
    made.add_unsigned("second", document.time // SECOND)
    add = made.add_text
    for each in document.terms:
        add("terms", each)
    if document.text:
        made.add_text("text", document.text)
    made.add_bytes("shown", msgspec.json.encode(document.fields))
    return made


def state_document(state: State) -> tantivy.Document:
    """The document that holds the state."""
    made = tantivy.Document()
    made.add_text(STATE, STATE)
    made.add_bytes("shown", msgspec.json.encode(state))
    return made


def as_query(schema: tantivy.Schema, condition: Condition) -> tantivy.Query:
    """A condition as tantivy's query."""
    query = tantivy.Query
    if isinstance(condition, And):
        return _all(schema, condition.parts)
    if isinstance(condition, Or):
        any_of = [(tantivy.Occur.Should, as_query(schema, part)) for part in condition.parts]
        return query.boolean_query(any_of)
    if isinstance(condition, Not):
        return _all(schema, (condition,))
    if isinstance(condition, Times):
        return between(schema, "time", condition.start, condition.end - 1)
    if isinstance(condition, Value):
        return query.term_query(schema, "terms", f"{condition.name}{SEPARATOR}{condition.value}", "basic")
    if isinstance(condition, Prefix):
        begin = f"{condition.name}{SEPARATOR}{condition.prefix}"
        return query.regex_query(schema, "terms", _literal(begin) + _ANY)
    if isinstance(condition, Words):
        return _words(schema, condition)
    return tantivy.Query.boolean_query(_every(schema))


def _every(schema: tantivy.Schema) -> list[tuple[tantivy.Occur, tantivy.Query]]:
    """Every document but that of the state: half the time of a range over all times."""
    state = tantivy.Query.term_query(schema, STATE, STATE, "basic")
    return [(tantivy.Occur.Must, tantivy.Query.all_query()), (tantivy.Occur.MustNot, state)]


def between(schema: tantivy.Schema, name: str, low: int, high: int) -> tantivy.Query:
    """What has a number in [low, high] in that field."""
    if low > high:
        return tantivy.Query.empty_query()
    return tantivy.Query.range_query(schema, name, tantivy.FieldType.Unsigned, low, high)


def _all(schema: tantivy.Schema, parts: tuple[Condition, ...]) -> tantivy.Query:
    clauses = []
    for part in parts:
        if isinstance(part, Not):
            clauses.append((tantivy.Occur.MustNot, as_query(schema, part.part)))
        else:
            clauses.append((tantivy.Occur.Must, as_query(schema, part)))
    if all(isinstance(part, Not) for part in parts):  # what excludes needs something to exclude from
        clauses += _every(schema)
    return tantivy.Query.boolean_query(clauses)


def _words(schema: tantivy.Schema, condition: Words) -> tantivy.Query:
    query = tantivy.Query
    words: list[str | tuple[int, str]] = list(condition.words)
    if len(words) == 1:
        if condition.open_ended:
            return query.regex_query(schema, "text", _literal(condition.words[0]) + _ANY)
        return query.term_query(schema, "text", condition.words[0], "position")
    if condition.open_ended:  # its own query for that looks at the first 50 words that begin so, and no more
        patterns: list[str | tuple[int, str]] = [_literal(word) for word in condition.words]
        patterns[-1] = f"{patterns[-1]}{_ANY}"
        return query.regex_phrase_query(schema, "text", patterns)
    return query.phrase_query(schema, "text", words)


def _literal(text: str) -> str:
    return _META.sub(r"\\\1", text)


__all__ = [
    "SECOND",
    "STATE",
    "VERSION",
    "State",
    "as_query",
    "as_tantivy",
    "between",
    "make_schema",
    "state_document",
]
