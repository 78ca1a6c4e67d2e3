"""The auditor's page is typed on a scratch machine with a bucket, prints what it says, and names every finding."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from merklelog.audit import FindingKind, audit
from merklelog.client import Access
from tests.docs.sessions import ROOT, Machine, Section, sections
from tests.support.s3_servers import ADMIN, Bucket, MakeBucket, S3Server

PAGE = (ROOT / "docs" / "auditing.md").read_text("utf-8")
SECTIONS = list(sections(PAGE))
NAME = "audit-bucket"


class WithBucket(Machine):
    """A machine whose `audit-bucket` is a bucket of this test."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        super().__init__(folder)
        self._bucket = bucket

    def here(self, text: str) -> str:
        return super().here(text).replace(NAME, self._bucket.name)

    def there(self, text: str) -> str:
        return super().there(text).replace(self._bucket.name, NAME)

    def environment(self) -> dict[str, str]:
        names = {"AWS_ACCESS_KEY_ID": ADMIN[0], "AWS_SECRET_ACCESS_KEY": ADMIN[1], "PYTHON": sys.executable}
        return {**super().environment(), **self._bucket.server.environment(), **names}


@pytest.mark.parametrize("section", SECTIONS, ids=[each.title for each in SECTIONS])
def test_what_is_typed_prints_what_the_page_says(
    section: Section, tmp_path: Path, seaweedfs: S3Server, s3_bucket: MakeBucket
) -> None:
    WithBucket(tmp_path, s3_bucket(seaweedfs)).type(section)


def test_every_block_is_typed_and_every_kind_of_finding_named() -> None:
    assert [section.title for section in SECTIONS] == [
        "All of it, from a bucket",
        "What was put over an object",
        "A directory, a web server, a live server",
    ]
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE)) == {str(kind) for kind in FindingKind}


def test_the_python_of_the_page_runs(
    tmp_path: Path,
    seaweedfs: S3Server,
    s3_bucket: MakeBucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket = s3_bucket(seaweedfs)
    machine = WithBucket(tmp_path, bucket)
    machine.type(SECTIONS[0])
    monkeypatch.chdir(tmp_path / "root")
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code
    text = code[1].replace(NAME, bucket.name).replace("https://s3.example.com", seaweedfs.endpoint)
    exec(compile(text, "auditing.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert (shown[0], len(shown), shown[1], shown[-1]) == ("1000", 1001, "b'1'", "b'1000'")
    assert audit(bucket.url("trail"), access=Access(s3=seaweedfs.options())).exit_status == 0
