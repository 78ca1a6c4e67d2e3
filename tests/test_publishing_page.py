"""The README's commands for logs with targets: a directory, and a real S3 with Object Lock."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.s3_servers import MakeBucket, S3Server

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "README.md").read_text("utf-8").partition("## Published where")[2].partition("\n## ")[0]
DIRECTORY, BUCKET = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)


def typed(commands: str, folder: Path, **environment: str) -> str:
    """What these commands print when they are typed in `folder`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    (folder / "event.json").write_text('{"actor":"ada"}\n')
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_directory_outlives_its_log(tmp_path: Path) -> None:
    shown = typed(DIRECTORY, tmp_path)
    assert "proven: example.com/ledger at size 1" in shown
    assert "recovered example.com/ledger at size 1" in shown
    head = json.loads((tmp_path / "ledger-copy" / "head").read_text())
    assert (head["size"], head["start"]) == (2, 1)


def test_a_bucket_with_object_lock(tmp_path: Path, seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    bucket = s3_bucket(seaweedfs)
    quick = BUCKET.replace("merklelog preflight", "merklelog preflight --lock-seconds 10")
    shown = typed(quick.replace("audit-bucket", bucket.name), tmp_path, **seaweedfs.environment())
    assert "proven: example.com/books at size 1" in shown
