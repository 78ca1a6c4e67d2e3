from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from merklelog.errors import KeyFileError
from merklelog.formats.keys import (
    SignatureType,
    SigningKey,
    format_signing_key,
    load_signing_key,
    write_signing_key,
)

KEY = SigningKey("example.com/log", SignatureType.ED25519, bytes(range(32)))
SECRET = format_signing_key(KEY).rsplit("+", 1)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ed25519.key"


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("kind", list(SignatureType))
def test_write_and_load(path: Path, kind: SignatureType) -> None:
    key = SigningKey("例え.example/log", kind, bytes(range(32)))
    write_signing_key(path, key)
    assert path.read_bytes() == format_signing_key(key).encode() + b"\n"
    assert load_signing_key(path).seed == key.seed


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_mode_is_0600_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_signing_key(path, KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_written_once(path: Path) -> None:
    put(path, b"precious")
    with pytest.raises(KeyFileError, match="exists already"):
        write_signing_key(path, KEY)
    assert path.read_bytes() == b"precious"


def test_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="exists already"):
        write_signing_key(path, KEY)
    assert not (tmp_path / "elsewhere").exists()


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        write_signing_key(tmp_path / "missing" / "key", KEY)


def test_file_and_directory_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = os.fsync

    def record(handle: int) -> None:
        status = os.fstat(handle)
        synced.append(("directory" if stat.S_ISDIR(status.st_mode) else "file", status.st_size))
        real(handle)

    monkeypatch.setattr(os, "fsync", record)
    write_signing_key(path, KEY)
    assert [kind for kind, _ in synced] == ["file", "directory"]
    assert synced[0][1] == len(format_signing_key(KEY)) + 1, "synced before it was written"


def test_a_failed_write_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        write_signing_key(path, KEY)
    assert not path.exists()


def test_loads_with_or_without_the_newline(path: Path) -> None:
    text = format_signing_key(KEY).encode()
    assert load_signing_key(put(path, text)) == KEY
    assert load_signing_key(put(path, text + b"\n")) == KEY


def test_loads_through_a_link(path: Path, tmp_path: Path) -> None:
    # A mounted secret is a link into a directory that is swapped whole.
    path.symlink_to(put(tmp_path / "real", format_signing_key(KEY).encode()))
    assert load_signing_key(path) == KEY


def test_missing(path: Path) -> None:
    with pytest.raises(KeyFileError, match=f"{path}: No such file") as caught:
        load_signing_key(path)
    assert caught.value.exit_status == 2


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="a directory"):
        load_signing_key(tmp_path)


def test_a_pipe_does_not_hang(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_signing_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601, 0o666, 0o444, 0o777])
def test_readable_by_others(path: Path, mode: int) -> None:
    put(path, format_signing_key(KEY).encode(), mode)
    with pytest.raises(KeyFileError, match=f"mode is {mode:04o}"):
        load_signing_key(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_modes(path: Path, mode: int) -> None:
    assert load_signing_key(put(path, format_signing_key(KEY).encode(), mode)) == KEY


def test_another_owner_chose_the_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, format_signing_key(KEY).encode(), 0o644)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert load_signing_key(path) == KEY


def test_a_read_only_mount_chose_the_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, format_signing_key(KEY).encode(), 0o644)

    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "fstatvfs", lambda _handle: ReadOnly)
    assert load_signing_key(path) == KEY


MALFORMED = [
    b"",
    b"\n",
    b"PRIVATE+KEY+" + SECRET.encode(),
    f"PRIVATE+KEY+{SECRET[:9]}+{SECRET[9:]}".encode(),
    f"PRIVATE+KEY+{SECRET[:9]}+{SECRET[9:17]}+{SECRET[17:]}".encode(),
    f"PRIVATE+KEY+ {SECRET[:9]}+{SECRET[9:17]}+{SECRET[17:]}".encode(),
    SECRET.encode(),
    b"PRIVATE+KEY+",
    format_signing_key(KEY).encode() + b"\n\n",
    format_signing_key(KEY).encode() + b"\r\n",
    b"\n" + format_signing_key(KEY).encode(),
    format_signing_key(KEY).encode() * 2,
    format_signing_key(KEY).encode()[:-1],
    format_signing_key(KEY).encode() + b"\xff",
    format_signing_key(KEY).replace("+KEY+", "+KEY+x").encode(),
    b"PRIVATE+KEY+" + b"A" * 1_000_000,
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed(path: Path, data: bytes) -> None:
    with pytest.raises(KeyFileError, match=r"key file .*ed25519\.key: ") as caught:
        load_signing_key(put(path, data))
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(SECRET[at : at + 8] in repr(error) for at in range(0, len(SECRET) - 8, 4))
        error = error.__cause__ or error.__context__
