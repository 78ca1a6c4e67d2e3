"""The operator's page is typed, section by section, on a scratch machine, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sessions import ROOT, Command, Machine, Section, matches, sections

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
SECTIONS = list(sections(PAGE))
VERDICTS = ("proven", "refused", "this much is lost")


@pytest.mark.parametrize("section", SECTIONS, ids=[each.title for each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(section: Section, tmp_path: Path) -> None:
    Machine(tmp_path).type(section)


def test_every_disaster_is_typed_and_ends_in_a_verdict() -> None:
    disasters = PAGE.split("\n## Disasters\n")[1].split("\n## ")[0]
    bodies = re.split(r"(?m)^### (.*)$", disasters)[1:]
    assert len(bodies) >= 2 * 9
    typed = {section.title for section in SECTIONS}
    for title, body in zip(bodies[::2], bodies[1::2], strict=True):
        assert title in typed, f"{title}: nothing of it is tested"
        said = {word.lower().rstrip(".") for word in re.findall(r"\*\*([^*]+)\*\*", body)}
        assert said & set(VERDICTS), f"{title} does not say how it ends"
        linked = title.lower().replace(",", "").replace(" ", "-")
        assert f"(#{linked})" in PAGE or title.startswith("A damaged published"), title


def test_every_block_of_commands_is_typed() -> None:
    languages = re.findall(r"(?m)^```(\w*)$", PAGE)
    assert set(languages) <= {"console", "", "toml"}
    blocks = PAGE.count("```console\n")
    assert blocks >= 15
    assert sum(len(section.commands) for section in SECTIONS) == len(re.findall(r"(?m)^\$ ", PAGE))


def test_alerts_metrics_and_files_are_there() -> None:
    rules = (ROOT / "tools" / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8")
    alerts = set(re.findall(r"`(Merklelog\w+)`", PAGE))
    assert len(alerts) >= 7
    assert alerts <= set(re.findall(r"alert: (\w+)", rules))
    table = (ROOT / "merklelog" / "servers" / "metrics.py").read_text("utf-8")
    assert [name for name in re.findall(r"`(merklelog_\w+)`", PAGE) if name not in table] == []
    for path in re.findall(r"`(tools/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path


def test_links_within_the_page_lead_somewhere() -> None:
    titles = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.*)$", PAGE)
    }
    for target in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert target in titles


@pytest.mark.parametrize(
    ("expected", "shown", "same"),
    [
        (["one"], "one\n", True),
        (["one"], "one", True),
        (["one"], "two\n", False),
        (["one"], "one\ntwo\n", False),
        (["one", "..."], "one\ntwo\nthree\n", True),
        (["..."], "", True),
        (["size ... of"], "size 17 of\n", True),
        (["size ... of"], "size 17\n of\n", False),
        ([], "", True),
        ([], "surprise\n", False),
    ],
)
def test_dots_stand_for_what_changes_and_for_no_more(expected: list[str], shown: str, same: bool) -> None:
    assert matches(tuple(expected), shown) is same


def test_a_page_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    def typed(name: str, *commands: Command) -> None:
        Machine(tmp_path / name).type(Section(name, "true", commands))

    typed("right", Command(1, "echo a; exit_with() { return 3; }; exit_with", ("a",), 3))
    with pytest.raises(AssertionError, match="line 7: echo a"):
        typed("text", Command(7, "echo a", ("b",), 0))
    with pytest.raises(AssertionError, match=r"line 8: false\n(?s:.*)exit status 1, the page says 0"):
        typed("status", Command(8, "false", (), 0))
    with pytest.raises(AssertionError, match="line 9 never ended"):
        typed("end", Command(9, "exit 0", (), 0))
    with pytest.raises(AssertionError, match="nothing: "):
        Machine(tmp_path / "before").type(Section("nothing", "false", ()))
