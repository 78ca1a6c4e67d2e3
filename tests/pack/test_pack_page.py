"""docs/pack.md is typed on a scratch machine and prints what it says; its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from merklelog.pack import layout
from merklelog.pack.statement import FIRST_LINE
from tests.docs.sessions import ROOT, Machine, Section, sections

PAGE = (ROOT / "docs" / "pack.md").read_text("utf-8")
SECTIONS = list(sections(PAGE))


@pytest.mark.parametrize("section", SECTIONS, ids=[each.title for each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(section: Section, tmp_path: Path) -> None:
    Machine(tmp_path).type(section)


def test_every_block_is_typed() -> None:
    titles = [section.title for section in SECTIONS]
    assert titles == ["Making one", "Verifying one, with nothing but Python"]


def test_the_files_are_named_in_their_order() -> None:
    names = re.findall(r"(?m)^\| `([\w./]+)` \|", PAGE)
    assert names == [
        *(layout.README, layout.PROOF, layout.CHECKPOINT, layout.POLICY),
        *(name.replace("0", "N") for name in layout.names_at(0)),
    ]
    assert f"    {FIRST_LINE.decode()}\n" in PAGE
    assert f"up to {layout.FILE_ENTRIES:,} entries" in PAGE


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path)
    machine.type(SECTIONS[0])
    monkeypatch.chdir(tmp_path / "root")
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code
    exec(compile(code[1], "pack.md", "exec"), {})
    assert capsys.readouterr().out == "100 1100 3000 None\n"
