"""`merklelog verify-content` on each kind of target: what it counts, what it finds, and its exit status."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.cli import main
from merklelog.formats import format_vkey
from merklelog.ingest.entry import encode_entry
from merklelog.publish import DirectoryStore, publish_copy
from tests.support.s3_servers import MakeBucket, S3Server

from .serving import Process, addresses
from .test_recheck import BODY, LONG, NO_JSON, NONE, RIGHT, WRONG, entry, python_hash, record

GOOD = [
    entry(RIGHT, "ok"),
    encode_entry(None, RIGHT),
    b"raw",
    *LONG,
    entry(NO_JSON, "not checkable"),
    entry(NONE),
]
SUMMARY = (
    f"proven: content.example/log at size {len(GOOD)}, entries 0:{len(GOOD)}: records 5 (ok 3, mismatch 0, "
    "not checkable 1, protected 0, without a hash 1), raw entries 1, malformed 0\n"
)


def make(path: Path, entries: list[bytes]) -> str:
    """A log of these entries; its first verifier key."""
    keys = merklelog.create_log(path, "content.example/log", settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch(entries)
    return format_vkey(keys[0])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("good") / "log"
    return path, make(path, GOOD)


def run(*words: object) -> tuple[int, str, str]:
    """A command in this process: its status and what it printed."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        status = main(["verify-content", *map(str, words)])
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return status, out, err


def test_a_log_and_its_copy(good: tuple[Path, str], tmp_path: Path) -> None:
    path, vkey = good
    assert run(path) == (0, SUMMARY, "")
    with merklelog.open_reader(path) as source:
        publish_copy(source, DirectoryStore(tmp_path / "copy"), verifiers=source.vkeys)
    assert run(f"dir:{tmp_path / 'copy'}", "--vkey", vkey) == (0, SUMMARY, "")
    status, _, err = run(f"dir:{tmp_path / 'copy'}")
    assert (status, "who signs this log?" in err) == (2, True)
    bundle = tmp_path / "copy" / "tile" / "entries" / "000.p" / str(len(GOOD))
    bundle.write_bytes(bundle.read_bytes().replace(b"mallory", b"MALLORY").replace(b"login", b"logon"))
    status, out, err = run(f"dir:{tmp_path / 'copy'}", "--vkey", vkey)
    assert (status, out) == (1, "")
    assert "entries/000" in err


@pytest.fixture(scope="module")
def servers(good: tuple[Path, str]) -> Iterator[tuple[str, str]]:
    """The log over gRPC and HTTP, by a real server."""
    doors = {f"MERKLELOG_SERVER__{door}": "127.0.0.1:0" for door in ("GRPC", "HTTP", "ADMIN")}
    server = Process("-m", "merklelog", "serve", good[0], environment=doors)
    told = addresses(server.wait_for(" serves"))
    yield f"grpc://{told['grpc']}", f"http://{told['http']}"
    assert server.end() == 0


@pytest.mark.parametrize("door", [0, 1])
def test_a_server(good: tuple[Path, str], servers: tuple[str, str], door: int) -> None:
    assert run(servers[door], "--vkey", good[1]) == (0, SUMMARY, "")


@pytest.mark.parametrize(
    ("wanted", "counted"),
    [
        ("0", "entries 0:1: records 1 (ok 1,"),
        ("0:2", "entries 0:2: records 2 (ok 2,"),
        (f"4:{len(GOOD)}", f"entries 4:{len(GOOD)}: records 2 (ok 0,"),
        ("2:4", "entries 2:4: records 1 (ok 1,"),
        (f"{len(GOOD)}:", f"entries {len(GOOD)}:{len(GOOD)}: records 0 (ok 0,"),
    ],
)
def test_ranges(good: tuple[Path, str], wanted: str, counted: str) -> None:
    status, out, _ = run(good[0], wanted)
    assert (status, counted in out) == (0, True), out


def test_a_range_outside_the_log_is_a_usage_error(good: tuple[Path, str]) -> None:
    for wanted in ("99", "0:99", "99:"):
        status, out, err = run(good[0], wanted)
        assert (status, out) == (2, "")
        assert f"the log has {len(GOOD)} entries" in err


def test_what_does_not_match_is_named(tmp_path: Path) -> None:
    make(
        tmp_path / "log",
        [entry(RIGHT), entry(WRONG, "mismatch"), entry(RIGHT, "mismatch"), entry(WRONG)[:-1]],
    )
    status, out, _ = run(tmp_path / "log")
    assert status == 1
    lines = out.splitlines()
    assert lines[0].startswith("mismatch: entry 1 (record r): neither Python's json nor RFC 8785")
    assert lines[0].endswith("; on arrival: mismatch")
    assert lines[1] == "contradiction: entry 2 (record r): now its content is ok; on arrival: mismatch"
    assert lines[2].startswith("malformed: entry 3: entry: ")
    assert lines[3].startswith(
        "disproven: content.example/log at size 4, entries 0:4: records 3 (ok 2, mismatch 1, "
    )
    status, out, _ = run(tmp_path / "log", "--json")
    result = json.loads(out)
    assert (status, result["verdict"], result["malformed"]) == (1, "disproven", 1)
    assert [(each["index"], each["kind"], each["stored"]) for each in result["findings"]] == [
        (1, "mismatch", "mismatch"),
        (2, "contradiction", "mismatch"),
        (3, "malformed", None),
    ]


def test_many_findings_are_counted_and_a_hundred_listed(tmp_path: Path) -> None:
    claimed = python_hash("other")
    make(tmp_path / "log", [entry(record({**BODY, "n": n}, claimed, f"r\x1b{n}")) for n in range(103)])
    status, out, _ = run(tmp_path / "log")
    assert status == 1
    assert "\x1b" not in out
    assert len(out.splitlines()) == 102
    assert "and 3 findings more" in out


def test_a_bucket(
    good: tuple[Path, str], seaweedfs: S3Server, s3_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, vkey = good
    bucket = s3_bucket(seaweedfs)
    with merklelog.open_reader(path) as source:
        publish_copy(source, bucket.store(), verifiers=source.vkeys, bundle_encoding="gzip")
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    assert run(bucket.url(), "--vkey", vkey) == (0, SUMMARY, "")
