"""The README's first command, without its environment: every step ends as it should, twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import demo
demo.show(Path(sys.argv[2]))
"""


def show(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SHOW, str(ROOT / "tools"), str(Path(sys.executable).parent)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_demo_shows_the_main_job_and_runs_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = show(tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "(exit status 1, as it must be)" in done.stdout
        assert "You now hold, in ./demo/:" in done.stdout
    evidence = {path.name for path in (tmp_path / "demo" / "evidence").iterdir()}
    assert evidence == {"event.json", "proof.tlog-proof", "vkeys"}
    event = (tmp_path / "demo" / "evidence" / "event.json").read_bytes()
    forged = (tmp_path / "demo" / "forged.json").read_bytes()
    assert event == (ROOT / "tools" / "sample" / "cloudtrail.jsonl").read_bytes().splitlines()[102]
    assert len(event) == len(forged)
    assert sum(a != b for a, b in zip(event, forged, strict=True)) == 1


def test_the_demo_leaves_a_directory_alone_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine").write_text("mine")
    done = show(tmp_path)
    assert done.returncode == 1
    assert "not made by this demo" in done.stderr
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine"]


def test_the_demo_does_not_follow_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "made-by-tools-demo").write_text("")
    (tmp_path / "demo").symlink_to(elsewhere)
    assert show(tmp_path).returncode == 1
    assert (elsewhere / "made-by-tools-demo").exists()
