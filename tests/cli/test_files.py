"""Files that `-o` names: whole under their name, or as they were."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.cli.files import output, read_argument, write_file
from merklelog.cli.session import Session
from merklelog.errors import UsageError

SESSION = Session()


def _names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def _write_and_fail(path: Path, error: BaseException) -> None:
    with output(str(path), SESSION) as write:
        write(b"half")
        raise error


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("old")
    file.chmod(0o600)
    with output(str(file), SESSION) as write:
        write(b"new ")
        assert file.read_text() == "old"
        write(b"bytes")
    assert file.read_text() == "new bytes"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _names(tmp_path) == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("old")
    with pytest.raises(OSError, match=r"^\[Errno 5\] of another file$"):
        _write_and_fail(file, OSError(5, "of another file"))
    with pytest.raises(KeyboardInterrupt):
        _write_and_fail(tmp_path / "new", KeyboardInterrupt())
    assert file.read_text() == "old"
    assert _names(tmp_path) == ["out"]


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_file(str(tmp_path / "link"), b"new", SESSION)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    write_file(os.devnull, b"x", SESSION)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("path", ["no/such/place", ".", "file/below"])
def test_what_can_not_be_written_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Errno") as caught:
        write_file(path, b"x", SESSION)
    assert caught.value.filename == path
    assert _names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("size", [1, 1_000_000], ids=["at its end", "at once"])
def test_a_full_device_is_named_however_much_was_written(size: int) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_file("/dev/full", bytes(size), SESSION)
    assert caught.value.filename == "/dev/full"


def test_a_file_that_is_too_long_is_never_read_whole(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_argument("file", 5, "policy") == b"12345"
    with pytest.raises(UsageError, match="file: more than 4 bytes, which is no policy"):
        read_argument("file", 4, "policy")
    assert (
        "no policy" in run("verify", "file", "--leaf-hash", "0" * 64, "--policy", "/dev/zero", status=2).err
    )
