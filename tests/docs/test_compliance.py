"""The auditor's page is typed, and prints what it says; its tables name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sessions import ROOT, Machine, Section, sections

from merklelog.cli.program import COMMANDS
from merklelog.log import KEYS
from merklelog.servers.settings import SERVER_KEYS

PAGE = (ROOT / "docs" / "compliance.md").read_text("utf-8")
SECTIONS = list(sections(PAGE))


@pytest.mark.parametrize("section", SECTIONS, ids=[each.title for each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(section: Section, tmp_path: Path) -> None:
    Machine(tmp_path).type(section)


def test_every_framework_has_its_table_and_every_row_three_cells() -> None:
    titles = re.findall(r"(?m)^## (.*)$", PAGE)
    assert titles[1:6] == ["SOC 2", "HIPAA", "GDPR", "PCI DSS", "SEC 17a-4(f)"]
    assert titles[-1] == "What the log does not do"
    for title in titles[1:6]:
        body = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        rows = re.findall(r"(?m)^\| .*$", body)
        assert len(rows) >= 7, title
        assert {row.count(" | ") for row in rows} == {2}, title


def test_commands_and_options_of_the_tables_are_there() -> None:
    words = re.findall(r"`(?:merklelog )?([a-z][a-z-]+)(?: [^`]*)?`", PAGE)
    assert len([word for word in words if word in COMMANDS]) > 40
    for called in re.findall(r"`merklelog ([a-z-]+)", PAGE):
        assert called in COMMANDS, called
    named = set(re.findall(r"`([a-z]\w*(?:\.\w+)+)", PAGE))
    sections_of = {key.split(".")[0] for key in (*_keys(),)}
    unknown = {
        name for name in named if name.split(".")[0] in sections_of and not _known(name) and ".md" not in name
    }
    assert unknown == set()
    for path in re.findall(r"`(tools/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path


def _keys() -> list[str]:
    return [f"{key.section}.{key.name}" for key in (*KEYS, *SERVER_KEYS)]


def _known(name: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for key in _keys())
