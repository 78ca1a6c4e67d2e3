"""A data directory that the first version of format 1 wrote: every later version opens it, reads it and goes on.

`tools/make_fixture.py` made it, once; what it appended is repeated here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.errors import ConflictError
from merklelog.tree import leaf_hash
from tests.support.checker import check_log
from tests.support.damage import copy, hashes

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TOLD: dict[str, Any] = json.loads((FIXTURES / "format-1.json").read_text())
SIZE = 541


def entry(index: int) -> bytes:
    return b"" if index == 5 else b"fixture entry %d %s" % (index, b"." * (index % 23))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy as a user would have it: git keeps neither the mode of the keys nor an empty directory."""
    made = copy(FIXTURES / "format-1", tmp_path / "log")
    for key in (made / "keys").iterdir():
        key.chmod(0o600)
    return made


def test_the_fixture_is_what_it_was() -> None:
    assert TOLD["size"] == SIZE
    assert (FIXTURES / "format-1" / "FORMAT").read_text() == "merklelog data directory, format 1\n"
    assert sum(path.stat().st_size for path in (FIXTURES / "format-1").rglob("*")) < 200_000
    written = [path.name for path in (FIXTURES / "format-1" / "db").glob("*.log") if path.stat().st_size]
    assert len(written) == 1, "its last commits are only in the write-ahead log"


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_it_is_read_whole(directory: Path, write: bool) -> None:
    before = hashes(directory)
    with merklelog.open(directory) if write else merklelog.open_reader(directory) as log:
        assert (log.origin, log.size, log.root.hex()) == (TOLD["origin"], SIZE, TOLD["root"])
        assert list(log.stored_sizes()) == TOLD["stored_sizes"]
        assert list(log.entries(0, SIZE)) == [entry(i) for i in range(SIZE)]
        check_log(log)
        assert log.find(leaf_hash(entry(300))) == 300
    if not write:
        assert hashes(directory) == before


def test_it_goes_on(directory: Path) -> None:
    with merklelog.open(directory) as log:
        seen = [log.checkpoint(size) for size in log.stored_sizes()]
        # Repeats are known by their bytes, their identity and their idempotency key.
        assert log.append(entry(100)).index == 100
        assert log.append(b"other bytes", identity=bytes(range(32))).index == 2
        assert log.append(entry(1), idempotency_key=b"single", submitter="fixture").index == 1
        batch = [entry(i) for i in range(200, 520)]
        assert log.append_batch(batch, idempotency_key=b"batch").indexes == list(range(200, 520))
        assert log.append(entry(537), idempotency_key=b"key 7").index == 537
        with pytest.raises(ConflictError):
            log.append(b"other bytes", idempotency_key=b"key 7")
        assert log.size == SIZE
        assert log.append_batch([entry(i) for i in range(SIZE, 1000)]).indexes == list(range(SIZE, 1000))
    with merklelog.open(directory) as log:
        check_log(log, seen=seen, acknowledged={i: entry(i) for i in range(1000)})


def test_it_has_an_audit_and_a_backup(directory: Path, tmp_path: Path) -> None:
    from merklelog.audit import audit
    from merklelog.log.backup import backup

    report = audit(str(directory))
    assert not report.findings, report.findings
    made = backup(directory, tmp_path / "backup")
    assert (made.size, made.root.hex()) == (SIZE, TOLD["root"])
    with merklelog.open_reader(tmp_path / "backup") as log:
        check_log(log)
