"""`merklelog pack`, and `verify` of what it made."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.formats import generate_signing_key
from merklelog.formats.algorithms import SignatureType

ROOT = Path(__file__).resolve().parents[2]
PACK = "evidence.mlpack"


@pytest.fixture
def grown(run: Callable, log: Path) -> Path:
    """The log with 2,000 entries more: 2,003 in all."""
    run("append", log, "--jsonl", stdin=b"".join(b'{"n":%d}\n' % n for n in range(3, 2003)))
    return log


def test_a_pack_is_made_verified_and_read_by_eye(
    run: Callable, grown: Path, vkeys: list[str], tmp_path: Path
) -> None:
    done = run("pack", grown, "100:1100", "-o", PACK)
    size = (tmp_path / PACK).stat().st_size
    assert done.text.splitlines()[0] == (
        f"pack of entries 100:1100 of cli.example/log, in its tree of size 2003: {PACK} ({size} bytes)"
    )
    assert done.text.splitlines()[1].startswith("signed by  cli.example/log (Ed25519 key ")
    for vkey in vkeys[:2]:
        text = run("verify", PACK, "--vkey", vkey).text
        assert text.startswith(
            "proven: entries 100:1100, all 1000, of cli.example/log, in its tree of size 2003\n"
        )
    with zipfile.ZipFile(tmp_path / PACK) as archive:
        assert archive.read("entries/100.txt").splitlines() == [b'{"n":%d}' % n for n in range(100, 1024)]
        page = archive.read("README.txt").decode("ascii")
        assert "It holds 1000 of the log's entries: every one from index 100 to index 1099" in page
        assert vkeys[0].encode() in archive.read("policy.txt")
        names = archive.namelist()
    assert names[4:] == ["entries/100.txt", "entries/1024.txt"]


def test_results_as_json(run: Callable, grown: Path, vkeys: list[str], tmp_path: Path) -> None:
    made = run("pack", grown, "0:5", "-o", PACK, "--json", "--size", 2003).json
    data = (tmp_path / PACK).read_bytes()
    assert (made["start"], made["end"], made["size"], made["path"]) == (0, 5, 2003, PACK)
    assert (made["bytes"], made["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    said = run("verify", PACK, "--vkey", vkeys[0], "--json").json
    assert (said["start"], said["end"], said["index"], said["leaf_hash"]) == (0, 5, None, None)
    for name in ("origin", "size", "root", "log_key", "cosigners", "existed_by"):
        assert said[name] == made[name]
    assert said["existed_by"] is None


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("7", 7, 8), (":3", 0, 3), ("2000:", 2000, 2003), (":", 0, 2003), ("5:6", 5, 6)],
)
def test_ranges(run: Callable, grown: Path, vkeys: list[str], wanted: str, start: int, end: int) -> None:
    run("pack", grown, wanted, "-o", PACK)
    said = run("verify", PACK, "--vkey", vkeys[0], "--json").json
    assert (said["start"], said["end"]) == (start, end)


def test_the_same_pack_from_every_target(
    run: Callable, grown: Path, vkeys: list[str], tmp_path: Path
) -> None:
    run("publish", grown, "--to", f"dir:{tmp_path / 'copy'}")
    trust = ("--vkey", vkeys[0])
    run("pack", grown, "900:2000", "-o", "a", *trust)
    run("pack", f"dir:{tmp_path / 'copy'}", "900:2000", "-o", "b", *trust)
    run("pack", f"dir:{tmp_path / 'copy'}", "900:2000", "-o", "c", *trust, "--state", "state")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    run("pack", f"dir:{tmp_path / 'copy'}", "900:2000", "-o", "d", status=2)


def test_an_older_checkpoint(run: Callable, grown: Path, vkeys: list[str]) -> None:
    assert run("pack", grown, ":", "--size", 3, "-o", PACK, "--json").json["end"] == 3
    run("verify", PACK, "--vkey", vkeys[0])
    assert "size 3" in run("pack", grown, "2:5", "--size", 3, "-o", PACK, status=2).err


def test_by_pipe(run: Callable, grown: Path, vkeys: list[str]) -> None:
    made = run("pack", grown, "5:1500", "-o", "-")
    assert made.out.startswith(b"PK")
    text = run("verify", "-", "--vkey", vkeys[0], stdin=made.out).text
    assert text.startswith("proven: entries 5:1500, all 1495,")
    run("verify", "-", "--vkey", vkeys[0], stdin=made.out[:-1], status=1)
    assert run("pack", grown, "5:6", "-o", "-", "--json", status=2).json["error"] == "UsageError"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("5:6",), "name its file with -o FILE"),
        (("5:5", "-o", PACK), "at least one entry"),
        (("3000:", "-o", PACK), "at least one entry"),
        (("0:3000", "-o", PACK), "below the checkpoint's size 2003"),
        (("6:5", "-o", PACK), "ends before it begins"),
        (("x", "-o", PACK), "'x' is not a whole number"),
        (("0:1", "-o", "no/such/folder"), "No such file"),
    ],
)
def test_mistakes_leave_nothing_behind(
    run: Callable, grown: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run("pack", grown, *words, status=None)
    assert done.status in {2, 4}
    assert said in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_pack_that_was_there_stays_when_a_new_one_fails(run: Callable, grown: Path, tmp_path: Path) -> None:
    run("publish", grown, "--to", f"dir:{tmp_path / 'copy'}")
    vkey = run("vkey", grown).text.splitlines()[0]
    run("pack", f"dir:{tmp_path / 'copy'}", "0:300", "-o", PACK, "--vkey", vkey)
    before = (tmp_path / PACK).read_bytes()
    bundle = tmp_path / "copy" / "tile" / "entries" / "003"
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    done = run("pack", f"dir:{tmp_path / 'copy'}", "0:2000", "-o", PACK, "--vkey", vkey, status=1)
    assert "tile/entries/003" in done.err
    assert (tmp_path / PACK).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_what_is_verified_with_what(run: Callable, grown: Path, vkeys: list[str], tmp_path: Path) -> None:
    run("pack", grown, "5:9", "-o", PACK)
    (tmp_path / "entry").write_bytes(b'{"n":5}')
    assert "give --vkey KEY" in run("verify", PACK, status=2).err
    assert (
        "a pack holds its entries"
        in run("verify", PACK, "--entry", "entry", "--vkey", vkeys[0], status=2).err
    )
    assert "a pack holds" in run("verify", PACK, "--leaf-hash", "00" * 32, "--vkey", vkeys[0], status=2).err
    stranger = generate_signing_key("cli.example/log", SignatureType.ED25519)
    from merklelog.formats import format_vkey

    done = run("verify", PACK, "--vkey", format_vkey(stranger.verifier), status=1)
    assert done.err.startswith(f"merklelog: {PACK}: not proven: no trusted key signed this note")
    data = bytearray((tmp_path / PACK).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / PACK).write_bytes(data)
    failed = run("verify", PACK, "--vkey", vkeys[0], "--json", status=1)
    assert failed.json["exit_status"] == 1


def test_the_stand_alone_program_verifies_it(
    run: Callable, grown: Path, vkeys: list[str], tmp_path: Path
) -> None:
    run("pack", grown, "5:1900", "-o", PACK)
    command = [sys.executable, "-I", "-S", str(ROOT / "tools" / "verify_pack.py"), PACK, "--vkey", vkeys[0]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("verify", PACK, "--vkey", vkeys[0]).text
    done = subprocess.run([*command[:-1], vkeys[1]], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 3


def test_help_tells_how(run: Callable) -> None:
    text = run("pack", "--help").text
    assert "verify_pack.py" in text
    assert "merklelog pack trail 100:1100 -o evidence.mlpack" in text
