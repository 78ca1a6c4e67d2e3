"""`merklelog policy check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from merklelog.formats.keys import SignatureType, SigningKey, format_vkey
from tests.cli.conftest import Run

ED, COSIGNER, MLDSA, _ = SignatureType


def vkey(number: int, kind: SignatureType, name: str) -> str:
    return format_vkey(SigningKey(name, kind, bytes([number]) * 32).verifier)


LOG = f"log {vkey(1, ED, 'example.com/log')} https://example.com/log/\n"
LOG_MLDSA = f"log {vkey(2, MLDSA, 'example.com/log')}\n"
WITNESSES = "".join(f"witness w{n} {vkey(10 + n, COSIGNER, f'{n}.example')}\n" for n in range(3))
MOST = "group most 2 w0 w1 w2\nquorum most\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trail.policy"
    path.write_text(LOG + WITNESSES + MOST)
    return path


def test_a_sound_policy(run: Run, file: Path) -> None:
    text = run("policy", "check", file).text
    assert "example.com/log, signing with its Ed25519 key" in text
    assert "most: has cosigned when 2 of these 3 have: w0, w1, w2\n" in text
    assert "2 of 3 witnesses can be enough\n" in text
    assert "any 1 of them may be silent\n" in text
    assert "needs at least 1 witness to cosign both\n" in text
    assert "warning" not in text


def test_as_json(run: Run, file: Path) -> None:
    result = run("policy", "check", "--json", file).json
    assert result["path"] == str(file)
    assert [result[key] for key in ("quorum", "counting", "fewest", "spare", "liars")] == ["most", 3, 2, 1, 1]
    assert result["groups"] == [{"name": "most", "threshold": 2, "members": ["w0", "w1", "w2"], "line": 5}]
    assert result["logs"] == [
        {
            "origin": "example.com/log",
            "vkey": vkey(1, ED, "example.com/log"),
            "url": "https://example.com/log/",
            "line": 1,
        }
    ]
    assert result["warnings"] == []


def test_warnings_come_last_and_change_no_status(run: Run, file: Path) -> None:
    file.write_text(LOG + LOG_MLDSA + WITNESSES + "group one any w0 w1 w2\nquorum one\n")
    lines = run("policy", "check", file).text.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert warnings == lines[-3:]
    assert any("line 1: log 'example.com/log': its Ed25519 key alone suffices" in line for line in warnings)
    assert any("one witness alone is enough" in line for line in warnings)
    assert any("two sets of witnesses that have none in common" in line for line in warnings)
    result = run("policy", "check", "--json", file).json
    assert {each["warning"] for each in result["warnings"]} == {  # type: ignore[attr-defined]
        "ed25519-suffices",
        "one-witness",
        "split-view",
    }


def test_quorum_none(run: Run, file: Path) -> None:
    file.write_text(LOG + "quorum none\n")
    text = run("policy", "check", file).text
    assert "none: the log's signature is enough" in text
    assert "warning: quorum none: no witness is asked for" in text


def test_from_standard_input(run: Run) -> None:
    text = run("policy", "check", "-", stdin=(LOG + WITNESSES + MOST).encode()).text
    assert "quorum   most must have cosigned" in text


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (LOG + "quorum most\n", 2, "'most' is not defined above"),
        (LOG + WITNESSES + "group most 4 w0 w1 w2\nquorum most\n", 5, "want 1 to its 3 members"),
        (
            LOG + f"witness w {vkey(9, COSIGNER, 'example.com/log')}\nquorum w\n",
            2,
            "no log is its own witness",
        ),
        (LOG + WITNESSES + f"witness x {vkey(9, COSIGNER, '1.example')}\n" + MOST, 5, "one 'any' group"),
    ],
)
def test_refused_with_the_line(run: Run, file: Path, text: str, line: int, said: str) -> None:
    file.write_text(text)
    done = run("policy", "check", file, status=2)
    assert not done.out
    assert f"{file}: policy line {line}: " in done.err
    assert said in done.err


def test_a_missing_file(run: Run) -> None:
    assert "gone.policy" in run("policy", "check", "gone.policy", status=4).err


def test_names_can_not_move_a_cursor(run: Run, file: Path) -> None:
    words = (
        (LOG + WITNESSES + MOST).encode().replace(b"w1 ", b"\xc2\x9b\xff ").replace(b" w1", b" \xc2\x9b\xff")
    )
    file.write_bytes(words)
    text = run("policy", "check", file).text
    assert "\\x9b\\xff" in text
    assert "\x9b" not in text


@pytest.mark.parametrize("command", ["audit", "checkpoint", "prove"])
def test_a_policy_that_nothing_meets_is_refused_before_anything_is_read(
    run: Run, file: Path, log: Path, command: str
) -> None:
    file.write_text(WITNESSES + MOST)
    words = (command, log, *(("0",) if command == "prove" else ()), "--policy", file)
    assert f"{file}: policy: it lists no log" in run(*words, status=2).err
    assert "warning: it lists no log" in run("policy", "check", file).text
