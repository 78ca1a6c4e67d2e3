"""docs/preflight.md says what the table of probes says."""

from __future__ import annotations

from pathlib import Path

from merklelog.publish.preflight_report import PROBES, Need, Verdict

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "preflight.md").read_text("utf-8")


def who(mode: str) -> str:
    """Which logs need it, in the page's words."""
    named = {"": "", "any": ", of a log that locks"}
    return named.get(mode, f", of a log that locks in {mode} mode")


def test_the_page_has_every_probe_as_the_table_has_it() -> None:
    want = [f"| `{p.name}` | {p.asks} | {p.cost} | {p.need}{who(p.mode)} |" for p in PROBES]
    start = PAGE.index("| probe | passes when | without it | need |")
    assert PAGE[start:].splitlines()[2 : 2 + len(want)] == want
    assert not PAGE[start:].splitlines()[2 + len(want)]


def test_the_page_has_every_fallback_and_verdict() -> None:
    flat = " ".join(PAGE.split())
    for probe in PROBES:
        if probe.need is Need.FALLBACK:
            assert f"- `{probe.name}`: {probe.fallback}." in flat
    for verdict in Verdict:
        assert f"| `{verdict}` |" in PAGE
