"""The evidence that a witness keeps is whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from merklelog.errors import StorageFullError
from merklelog.formats.witness import parse_add_checkpoint
from merklelog.witness.evidence import Evidence
from tests.witness.support import GrownLog

LOG = GrownLog()


def test_a_file_that_could_not_be_written_whole_is_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, folder = Evidence(tmp_path), tmp_path / "evidence"
    request = parse_add_checkpoint(LOG.request(0, 5))
    write = Path.write_bytes

    def fill_up(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(StorageFullError):
            evidence.keep(request, b"recorded")
    assert list(folder.iterdir()) == []
    kept = evidence.keep(request, b"recorded")
    assert kept is not None
    assert list(folder.iterdir()) == [kept]
    assert kept.read_bytes().startswith(b"recorded\n---")
    assert kept.read_bytes().endswith(request.note)
    assert evidence.keep(request, b"recorded") is None


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    evidence, folder = Evidence(tmp_path), tmp_path / "evidence"
    request = parse_add_checkpoint(LOG.request(0, 5))
    kept = evidence.keep(request, b"recorded")
    assert kept is not None
    kept.rename(kept.with_suffix(".part"))
    assert evidence.keep(request, b"recorded") == kept
    assert list(folder.iterdir()) == [kept]
