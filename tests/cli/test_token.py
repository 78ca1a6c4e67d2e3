"""`token add|list|revoke`: the token is shown once, the log keeps its hash, and each change is a line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from merklelog.servers.tokens import read_tokens, token_id


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (log / "admin.jsonl").read_text().splitlines()]


def test_add_prints_the_token_and_nothing_else(run: Callable, log: Path) -> None:
    done = run("token", "add", log, "--name", "collector", "--scope", "append", "--scope", "read")
    shown = done.text.removesuffix("\n")
    kept = read_tokens(log)
    assert kept is not None
    assert token_id(shown) == kept[0].id
    assert kept[0].is_shown_by(shown)
    assert (kept[0].name, kept[0].scopes, kept[0].expires) == ("collector", ("append", "read"), None)
    assert "not shown again" in done.err
    assert "SIGHUP" in done.err
    secret = shown.split("_", 2)[2]
    for path in log.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert secret not in done.err


def test_each_change_is_a_line_of_admin_jsonl(run: Callable, log: Path) -> None:
    run("token", "add", log, "--name", "a", "--scope", "append", "--days", "7")
    run("token", "add", log, "--name", "b", "--scope", "admin", "--certificate", "DNS:b.example.com")
    run("token", "revoke", log, "a")
    run("token", "list", log)
    told = lines(log)
    assert [each["what"] for each in told] == ["token added", "token added", "token revoked"]
    kept = read_tokens(log) or ()
    first, second, third = (each["details"] for each in told)
    expires = kept[0].expires
    assert first == {
        "id": kept[0].id,
        "name": "a",
        "certificate": None,
        "scopes": ["append"],
        "expires": expires,
    }
    assert second["certificate"] == "DNS:b.example.com"
    assert third == {"id": kept[0].id, "name": "a", "certificate": None}
    assert all(each["who"] and each["time"] for each in told)


def test_days(run: Callable, log: Path) -> None:
    before = int(time.time())
    result = run("token", "add", log, "--name", "a", "--scope", "read", "--days", "7", "--json").json
    assert 7 * 86_400 <= result["expires"] - before <= 7 * 86_400 + 60
    assert "until 20" in run("token", "list", log).text
    for days in ("0", "-1", "x", "1.5"):
        run("token", "add", log, "--name", "a", "--scope", "read", "--days", days, status=2)
    assert len(read_tokens(log) or ()) == 1


def test_list_shows_states_and_no_secret(run: Callable, log: Path) -> None:
    assert run("token", "list", log).text == ""
    assert "never had a token" in run("token", "list", log).err
    shown = [
        run("token", "add", log, "--name", name, "--scope", "read").text.strip() for name in ("a", "b", "b")
    ]
    run("token", "revoke", log, "a")
    listed = run("token", "list", log).text.splitlines()
    assert [line.split("  ")[1:] for line in listed] == [
        ["revoked", "read", "a"],
        ["counts", "read", "b"],
        ["counts", "read", "b"],
    ]
    assert [line.split()[0] for line in listed] == [token_id(each) for each in shown]


def test_revoke_by_id_takes_one_and_by_name_all(run: Callable, log: Path) -> None:
    ids = [run("token", "add", log, "--name", "a", "--scope", "read", "--json").json["id"] for _ in range(3)]
    first = run("token", "revoke", log, ids[0], "--json").json["tokens"]
    assert [each["id"] for each in first] == ids[:1]
    again = run("token", "revoke", log, ids[0], "--json").json["tokens"]
    assert again == first
    both = run("token", "revoke", log, "a", "--json").json["tokens"]
    assert [each["id"] for each in both] == ids[1:]
    assert "no token" in run("token", "revoke", log, "a", status=3).err
    assert all(each.revoked for each in read_tokens(log) or ())
    assert [each["what"] for each in lines(log)].count("token revoked") == 3


def test_what_was_revoked_for_nobody_changes_nothing(run: Callable, log: Path) -> None:
    assert "no token" in run("token", "revoke", log, "nobody", status=3).err
    assert read_tokens(log) is None
    assert not (log / "admin.jsonl").exists()


def test_a_certificate_by_its_file(run: Callable, log: Path, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([])
    uri = x509.UniformResourceIdentifier("spiffe://example.com/collector")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        .sign(private, hashes.SHA256())
    )
    (tmp_path / "client.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    words = ("token", "add", log, "--name", "collector", "--scope", "append", "--certificate")
    done = run(*words, "client.pem")
    assert done.text == "URI:spiffe://example.com/collector: append\n"
    assert run(*words, "client.pem", "--json").json["token"] is None
    (tmp_path / "other.pem").write_bytes(b"no certificate")
    assert "no certificate in PEM" in run(*words, "other.pem", status=2).err
    assert "no file" in run(*words, "missing.pem", status=2).err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--scope", "read"), "--name"),
        (("--name", "a"), "--scope"),
        (("--name", "a", "--scope", "write"), "'write' is not one of"),
        (("--name", "a b", "--scope", "read"), "want 1 to 64 letters"),
        (("--name", "a", "--scope", "read", "--certificate", "CN:"), "certificate 'CN:'"),
    ],
)
def test_words_that_can_not_be(run: Callable, log: Path, words: tuple[str, ...], complaint: str) -> None:
    assert complaint in run("token", "add", log, *words, status=2).err
    assert read_tokens(log) is None


def test_what_is_no_log(run: Callable, tmp_path: Path) -> None:
    for command in (("add", "d", "--name", "a", "--scope", "read"), ("list", "d"), ("revoke", "d", "a")):
        assert "not a log's data directory" in run("token", *command, status=2).err
    assert "dir: target" in run("token", "list", "dir:copy", status=2).err
    assert not (tmp_path / "d").exists()


def test_a_damaged_file_is_left_as_it_is(run: Callable, log: Path) -> None:
    (log / "tokens.json").touch(0o600)
    (log / "tokens.json").write_text("{")
    for command in (("add", log, "--name", "a", "--scope", "read"), ("list", log), ("revoke", log, "a")):
        assert "tokens.json" in run("token", *command, status=2).err
    assert (log / "tokens.json").read_text() == "{"


def test_no_line_no_token(run: Callable, log: Path) -> None:
    """What can not be written down does not happen."""
    (log / "admin.jsonl").mkdir()
    assert "admin.jsonl" in run("token", "add", log, "--name", "a", "--scope", "read", status=4).err
    assert read_tokens(log) is None


def test_a_backup_asks_for_the_same_tokens(run: Callable, log: Path, tmp_path: Path) -> None:
    """Else a log that is brought back would be open to everyone."""
    run("backup", log, "before")
    assert read_tokens(tmp_path / "before") is None
    run("token", "add", log, "--name", "a", "--scope", "read")
    run("backup", log, "after")
    assert read_tokens(tmp_path / "after") == read_tokens(log)
    assert lines(tmp_path / "after") == lines(log)
    for name in ("tokens.json", "admin.jsonl"):
        assert (tmp_path / "after" / name).stat().st_mode & 0o777 == 0o600


def test_the_group_says_what_there_is(run: Callable) -> None:
    assert "add" in run("token", "--help").text
    assert "No such command 'show'" in run("token", "show", status=2).err
    assert "revoke" in run("token", status=2).err
