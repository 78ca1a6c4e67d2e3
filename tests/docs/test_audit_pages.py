"""The pages of audit records and of personal data are typed, and print what they say; their tables are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sessions import ROOT, Machine, Section, sections

from merklelog.ingest.audit_signal import MANDATORY
from merklelog.ingest.mappers import STANDARD
from merklelog.ingest.model import ATTRIBUTES
from merklelog.ingest.verdict import Verdict

PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("audit-records", "privacy")}
SECTIONS = [(name, section) for name, page in PAGES.items() for section in sections(page)]


@pytest.mark.parametrize(("page", "section"), SECTIONS, ids=[each.title for _, each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(page: str, section: Section, tmp_path: Path) -> None:
    assert page in PAGES
    Machine(tmp_path).type(section)


def rows(page: str, title: str) -> list[list[str]]:
    body = PAGES[page].split(f"# {title}\n")[1].split("\n#")[0]
    found = [
        [cell.strip() for cell in row.strip("|").split(" | ")] for row in re.findall(r"(?m)^\| .*$", body)
    ]
    return found[1:]


def test_the_table_of_names_is_the_model() -> None:
    named = {
        attribute: field
        for field, attributes, _ in rows("audit-records", "The names that are understood")
        for attribute in re.findall(r"`(audit\.[\w.]+)`", attributes)
    }
    assert list(named.items()) == list(ATTRIBUTES.items())


def test_every_mapper_verdict_and_mandatory_name_is_on_the_page() -> None:
    assert [row[0] for row in rows("audit-records", "Mappers")] == [f"`{name}`" for name in STANDARD]
    assert [row[0] for row in rows("audit-records", "Content hashes")] == [f"`{each}`" for each in Verdict]
    for name in MANDATORY:
        assert f"`{name}`" in PAGES["audit-records"].split("`incomplete` (a record without")[1]
