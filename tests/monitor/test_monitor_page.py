"""The monitor's page is typed and prints what it says, names every kind of finding, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.monitor import MonitorKind
from tests.docs.sessions import ROOT, Machine, Section, sections

PAGE = (ROOT / "docs" / "monitor.md").read_text("utf-8")
SECTIONS = list(sections(PAGE))


@pytest.mark.parametrize("section", SECTIONS, ids=[each.title for each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(section: Section, tmp_path: Path) -> None:
    Machine(tmp_path).type(section)


def test_every_block_is_typed_and_every_kind_of_finding_named() -> None:
    assert [section.title for section in SECTIONS] == ["Looking once", "A log with two histories"]
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE)) == {str(kind) for kind in MonitorKind}


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    merklelog.create_log(Path("trail"), "example.com/trail", settings={"store.min_free_bytes": 0})
    with merklelog.open(Path("trail")) as log:
        log.append_batch([b"one", b"three", b"two", b"four"])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/monitor.md", "exec"), {})
    assert re.findall(r'"index":(\d+)', capsys.readouterr().out) == ["1", "3"]
