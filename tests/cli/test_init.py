"""`merklelog init`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ORIGIN = "cli.example/log"


def test_init_prints_the_keys_and_what_protects_them(run: Callable, tmp_path: Path) -> None:
    lines = run("init", "log", "--origin", ORIGIN).text.splitlines()
    assert "rollback protection: none" in lines
    assert "personal data: nothing is protected; what enters stays (docs/privacy.md)" in lines
    assert f"private keys: {tmp_path / 'log' / 'keys'}" in lines
    assert lines[-3:] == run("vkey", "log").text.splitlines()
    assert [line.split("+")[0] for line in lines[-3:]] == [ORIGIN, ORIGIN, f"{ORIGIN}/receipt"]
    for name in ("ed25519.key", "mldsa44.key", "receipt.key"):
        file = tmp_path / "log" / "keys" / name
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text().strip().split("+", 4)[-1] not in "\n".join(lines)


def test_init_as_json(run: Callable, tmp_path: Path) -> None:
    result = run("init", "log", "--origin", ORIGIN, "--keys", "secret/keys", "--json").json
    assert result["origin"] == ORIGIN
    assert result["path"] == str(tmp_path / "log")
    assert result["keys"] == str(tmp_path / "secret" / "keys")
    assert result["rollback_protection"] == "none"
    assert result["vkeys"] == run("vkey", "log").text.splitlines()
    assert not (tmp_path / "log" / "keys").exists()


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "",
            "https://cli.example/log",
            "/log",
            "log/",
            "a b",
            "a\u2003b",
            "a+b",
            "a\x1bb",
            "a\x85b",
            "é" * 128,
        ),
        "a\nb",
    ],
)
def test_an_origin_the_design_refuses_makes_nothing(run: Callable, tmp_path: Path, origin: str) -> None:
    done = run("init", "log", "--origin", origin, status=2)
    assert "origin" in done.err
    assert ascii(origin)[:40] in done.err.replace("... ", "") or origin == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("idempotency.days", "want KEY=VALUE"),
        ("idempotency.days=0", "want 1 to"),
        ("idempotency.days=ten", "want a whole number"),
        ("idempotency.days=٣", "want a whole number"),
        ("idempotency.weeks=1", "no key idempotency.weeks"),
        ("log.max_pending_bytes=1", "want 1048576 to"),
        ("log.dedupe=true", "use --dedupe"),
        ("log.origin=other.example", "use --origin"),
        ("log.keys=elsewhere", "use --keys"),
    ],
)
def test_a_bad_setting_makes_nothing(run: Callable, tmp_path: Path, setting: str, said: str) -> None:
    done = run("init", "log", "--origin", ORIGIN, "--set", setting, status=2)
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_init_says_what_is_protected(run: Callable) -> None:
    drop = 'ingest.protect.drop=["body.ssn", "user.email"]'
    done = run("init", "log", "--origin", ORIGIN, "--set", drop)
    assert "personal data: kept out of audit events: body.ssn, user.email" in done.text.splitlines()
    assert run("init", "two", "--origin", ORIGIN, "--set", drop, "--json").json["protected"] == [
        "body.ssn",
        "user.email",
    ]
    assert run("init", "three", "--origin", ORIGIN, "--json").json["protected"] == []


def test_settings_are_written_and_obeyed(run: Callable, tmp_path: Path) -> None:
    run("init", "log", "--origin", ORIGIN, "--dedupe", "--lookup", "--set", "idempotency.days=7")
    text = (tmp_path / "log" / "merklelog.toml").read_text()
    assert "\ndays = 7\n" in text
    assert "\ndedupe = true\n" in text
    assert "\nlookup = true\n" in text


def test_a_directory_with_something_in_it_stays_as_it_is(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "thesis.txt").write_text("years of work")
    done = run("init", "log", "--origin", ORIGIN, status=2)
    assert str(tmp_path / "log") in done.err
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["thesis.txt"]


def test_keys_that_are_there_are_reused_only_when_that_is_said(run: Callable, tmp_path: Path) -> None:
    first = run("init", "one", "--origin", ORIGIN, "--keys", "keys", "--json").json
    done = run("init", "two", "--origin", ORIGIN, "--keys", "keys", status=2)
    assert "--reuse-keys" in done.err
    assert not (tmp_path / "two").exists()
    again = run("init", "two", "--origin", ORIGIN, "--keys", "keys", "--reuse-keys", "--json").json
    assert again["vkeys"] == first["vkeys"]
    run("init", "three", "--origin", "other.example", "--keys", "keys", "--reuse-keys", status=2)
    assert "--keys PATH" in run("init", "four", "--origin", ORIGIN, "--reuse-keys", status=2).err
