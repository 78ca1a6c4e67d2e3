"""The file of tokens: what is in it, who may read it, and that a change is whole or did not happen."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import ConfigError, NotFoundError, StorageError, UsageError
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import (
    FILE,
    Token,
    change_tokens,
    find_token,
    make_token,
    read_tokens,
    token_id,
)

NOW = 1_700_000_000


def add(directory: Path, *tokens: Token) -> None:
    change_tokens(directory, lambda old: (*old, *tokens), lambda _tokens: None)


def test_a_token_is_kept_as_its_hash_alone(tmp_path: Path) -> None:
    kept, shown = make_token("collector", [Scope.READ, Scope.APPEND], NOW)
    assert shown is not None
    add(tmp_path, kept)
    text = (tmp_path / FILE).read_text()
    assert shown not in text
    assert shown.split("_")[2] not in text
    assert read_tokens(tmp_path) == (kept,)
    assert kept.scopes == (Scope.APPEND, Scope.READ)
    assert kept.is_shown_by(shown)
    assert token_id(shown) == kept.id


def test_every_token_is_another_and_has_256_bits() -> None:
    shown = [make_token("a", [Scope.READ], NOW)[1] or "" for _ in range(50)]
    assert len(set(shown)) == 50
    assert {len(each.split("_", 2)[2]) for each in shown} == {43}


def test_one_changed_letter_is_another_token() -> None:
    kept, shown = make_token("a", [Scope.READ], NOW)
    assert shown is not None
    for i in range(len(shown)):
        other = shown[:i] + ("A" if shown[i] != "A" else "B") + shown[i + 1 :]
        assert not kept.is_shown_by(other)
    assert not kept.is_shown_by(shown + "A")
    assert not kept.is_shown_by("")
    assert not kept.is_shown_by("mlt_é")


@given(st.text())
def test_what_is_no_token_has_no_id(text: str) -> None:
    assert token_id(text) is None


def test_a_certificate_has_no_token() -> None:
    kept, shown = make_token("a", [Scope.READ], NOW, certificate="URI:spiffe://example.com/a")
    assert shown is None
    assert kept.sha256 is None
    assert not kept.is_shown_by("")


def test_when_a_token_counts() -> None:
    kept, _ = make_token("a", [Scope.READ], NOW, expires=NOW + 10)
    assert kept.good(NOW)
    assert kept.good(NOW + 9.9)
    assert not kept.good(NOW + 10)
    revoked = Token(kept.id, "a", kept.scopes, NOW, kept.sha256, revoked=NOW)
    assert not revoked.good(NOW)


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "-a", "a" * 65, "a\n", "a/b"])
def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(UsageError, match=r"name .*want 1 to 64"):
        make_token(name, [Scope.READ], NOW)


@pytest.mark.parametrize("name", ["", "x", "CN:", "cn:x", "DNS:a\nb", "URI:" + "a" * 1025])
def test_certificates_that_can_not_be(name: str) -> None:
    with pytest.raises(UsageError, match=r"certificate .*want URI:, DNS:, email:, CN:"):
        make_token("a", [Scope.READ], NOW, certificate=name)


def test_a_token_without_a_scope_or_a_future_is_refused() -> None:
    with pytest.raises(UsageError, match="scopes"):
        make_token("a", [], NOW)
    with pytest.raises(UsageError, match="expired already"):
        make_token("a", [Scope.READ], NOW, expires=NOW)


def test_a_log_that_never_had_a_token_has_none(tmp_path: Path) -> None:
    assert read_tokens(tmp_path) is None
    add(tmp_path)
    assert read_tokens(tmp_path) == ()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        add(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    for mode in (0o640, 0o602, 0o604):
        (tmp_path / FILE).chmod(mode)
        with pytest.raises(ConfigError, match=f"mode {mode:04o}, want 0600"):
            read_tokens(tmp_path)


def good() -> dict[str, object]:
    kept, _ = make_token("a", [Scope.READ], NOW)
    return {"id": kept.id, "name": "a", "scopes": ["read"], "created": NOW, "sha256": kept.sha256}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": "x"}, "id 'x': want 16 hex digits"),
        ({"name": "a b"}, "name 'a b'"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "read"]}, "scopes"),
        ({"scopes": ["everything"]}, "everything"),
        ({"sha256": None}, "either sha256 or certificate"),
        ({"sha256": "ab"}, "sha256: want 64"),
        ({"certificate": "CN:a"}, "either sha256 or certificate"),
        ({"sha256": None, "certificate": "a"}, "certificate 'a'"),
        ({"created": -1}, "out of bounds"),
        ({"created": "yesterday"}, "created"),
        ({"expires": 1 << 60}, "out of bounds"),
        ({"admin": True}, "admin"),
    ],
)
def test_a_file_that_is_not_right_is_refused_whole(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    write(tmp_path, [good(), good() | change])
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_tokens(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)


def write(directory: Path, tokens: list[dict[str, object]], version: int = 1) -> None:
    (directory / FILE).touch(0o600)
    (directory / FILE).write_text(json.dumps({"version": version, "tokens": tokens}))


def test_two_of_an_id_or_a_hash_are_refused(tmp_path: Path) -> None:
    one, two = good(), good()
    write(tmp_path, [one, two | {"id": one["id"]}])
    with pytest.raises(ConfigError, match="the same id"):
        read_tokens(tmp_path)
    write(tmp_path, [one, two | {"sha256": one["sha256"]}])
    with pytest.raises(ConfigError, match="the same sha256"):
        read_tokens(tmp_path)


GARBAGE = {
    "nothing": b"",
    "half": b"{",
    "list": b"[]",
    "null": b"null",
    "no text": b"\xff",
    "no tokens": b'{"version":1}',
    "deep": b'{"version":1,"tokens":[],"x":' + b"[" * 100_000,
    "large": b" " * (5 << 20),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_a_configuration_error(tmp_path: Path, what: str) -> None:
    data = GARBAGE[what]
    (tmp_path / FILE).touch(0o600)
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(ConfigError):
        read_tokens(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError):
        add(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_another_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [good()], version=2)
    with pytest.raises(ConfigError, match="version 2"):
        read_tokens(tmp_path)


def test_a_link_a_folder_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch(0o600)
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="a link; want a file"):
        read_tokens(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigError, match="not a file"):
        read_tokens(tmp_path)
    (tmp_path / FILE).rmdir()
    os.mkfifo(tmp_path / FILE, 0o600)
    with pytest.raises(ConfigError, match="not a file"):
        read_tokens(tmp_path)


def test_a_change_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    kept, _ = make_token("a", [Scope.READ], NOW)
    add(tmp_path, kept)
    before = (tmp_path / FILE).read_bytes()

    def refuse(_tokens: tuple[Token, ...]) -> None:
        raise StorageError("no room for the line that tells of it")

    with pytest.raises(StorageError, match="no room"):
        change_tokens(tmp_path, lambda _old: (), refuse)
    assert (tmp_path / FILE).read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        add(tmp_path / "none")


def test_many_at_once_lose_nobodys_token(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from merklelog.servers.tokens import *;"
        "from merklelog.servers.caller import Scope\n"
        "for i in range(10):\n"
        "    kept, _ = make_token(f'{sys.argv[2]}-{i}', [Scope.READ], 1)\n"
        "    change_tokens(Path(sys.argv[1]), lambda old: (*old, kept), lambda _: None)\n"
    )
    root = str(Path(__file__).resolve().parents[3])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), f"p{n}"], env={"PYTHONPATH": root, "PATH": ""}
        )
        for n in range(3)
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    names = sorted(token.name for token in read_tokens(tmp_path) or ())
    assert names == sorted(f"p{n}-{i}" for n in range(3) for i in range(10))
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_finding_by_id_and_by_name() -> None:
    one, _ = make_token("a", [Scope.READ], NOW)
    two, _ = make_token("a", [Scope.READ], NOW)
    old = Token("0" * 16, "a", (Scope.READ,), NOW, "0" * 64, revoked=NOW)
    every = (one, two, old)
    assert find_token(every, one.id) == (one,)
    assert find_token(every, "a") == (one, two)
    assert find_token(every, old.id) == (old,)
    with pytest.raises(NotFoundError, match="'b'"):
        find_token(every, "b")
