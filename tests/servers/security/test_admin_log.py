"""admin.jsonl: who changed what and when, in lines that stay."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from merklelog.errors import StorageError
from merklelog.servers.admin_log import FILE, note, note_changed, operator, read_lines


def test_a_line_says_who_when_and_what(tmp_path: Path) -> None:
    note(tmp_path, "token added", {"id": "ab", "scopes": ["read"]}, who="alice")
    note(tmp_path, "token revoked", {"id": "ab"})
    first, second = (tmp_path / FILE).read_text().splitlines()
    told = json.loads(first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told.pop("time"))
    assert told == {"who": "alice", "what": "token added", "details": {"id": "ab", "scopes": ["read"]}}
    assert json.loads(second)["who"] == operator()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert operator().endswith(", sudo of alice")


def test_only_a_change_is_noted(tmp_path: Path) -> None:
    assert note_changed(tmp_path, "certificate", {"fingerprint": "1"})
    note(tmp_path, "token added", {"id": "x"})
    assert not note_changed(tmp_path, "certificate", {"fingerprint": "1"})
    assert note_changed(tmp_path, "certificate", {"fingerprint": "2"})
    assert note_changed(tmp_path, "certificate", {"fingerprint": "1"})
    told = [line.details for line in read_lines(tmp_path) if line.what == "certificate"]
    assert told == [{"fingerprint": each} for each in "121"]


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path: Path) -> None:
    note(tmp_path, "one", {})
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"time":"","who":"","what":"","details":{"a":' + b"[" * 100_000)
    note(tmp_path, "two", {})
    assert [line.what for line in read_lines(tmp_path)] == ["one", "two"]
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 3


def test_what_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        note(tmp_path / "none", "one", {})
    (tmp_path / FILE).mkdir()
    with pytest.raises(StorageError):
        note(tmp_path, "one", {})
    with pytest.raises(StorageError):
        read_lines(tmp_path)
    assert read_lines(tmp_path / "none") == []
