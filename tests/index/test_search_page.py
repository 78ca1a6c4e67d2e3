"""docs/search.md: its queries mean something, its fields are those of the code, its commands are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from merklelog.cli.program import every_command, program
from merklelog.client.searching import SearchAnswer
from merklelog.index.document import FIELDS
from merklelog.index.query import Everything, parse_query
from merklelog.servers.http_search import KNOWN

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "search.md").read_text("utf-8")


def section(name: str) -> str:
    return PAGE.split(f"## {name}\n")[1].split("\n## ")[0]


def test_each_query_of_the_page_means_something() -> None:
    queries = re.findall(r"(?m)^\| `(.+?)` \| ", section("Queries"))
    assert len(queries) > 10
    for query in queries:
        assert not isinstance(parse_query(query), Everything), query


def test_the_fields_are_those_of_the_code() -> None:
    assert dict(re.findall(r"(?m)^\| `(\w+)` \| (.+) \|$", section("Fields"))) == FIELDS


def test_the_commands_of_the_page_are_there() -> None:
    every = dict(every_command())
    lines = re.findall(r"(?m)^    (merklelog [a-z].*)$", PAGE)
    assert len(lines) > 5
    for line in lines:
        words = shlex.split(line)[1:]
        name = next(name for name in every if name.split() == words[: len(name.split())])
        parent = click.Context(program, info_name="merklelog", **program.context_settings)
        every[name].make_context(name, words[len(name.split()) :], parent=parent)
    for name in re.findall(r"(?m)^\| `merklelog (index \w+) DIR` \| ", PAGE):
        assert name in every


def test_the_page_names_what_is_asked_and_answered_over_a_network() -> None:
    named = set(re.findall(r"`(\w+)`", section("Over a network")))
    assert set(KNOWN) <= named
    assert {"indexed_size", "tree_size", "checkpoint", "total", "counts", "buckets"} <= named
    assert {"indexed_size", "tree_size", "checkpoint"} <= set(SearchAnswer.__dataclass_fields__)
