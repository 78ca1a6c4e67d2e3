"""Make `tests/fixtures/format-1`, a data directory that every later version must open.

    python3 tools/make_fixture.py [DIRECTORY]      default: tests/fixtures/format-<the format of this version>

Run once for each new format, and never again for an old one: what is committed is what a user's disk holds. It is
made at a path that says nothing of the machine, since RocksDB writes that into its files. Its keys are in it, and
so are worth nothing; its last commits are only in the write-ahead log, as a kill leaves them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path("/tmp/merklelog-fixture")
ORIGIN = "fixture.merklelog.example/format-1"
LIMIT = 200_000

sys.path.insert(0, str(ROOT))

import merklelog  # noqa: E402 - from this repository, wherever the tool is started
from merklelog.store import FORMAT  # noqa: E402


def entry(index: int) -> bytes:
    """Entries of many lengths, one of them empty."""
    return b"" if index == 5 else b"fixture entry %d %s" % (index, b"." * (index % 23))


def fill(log: merklelog.Log) -> None:
    """Commits of one entry and of many, over two borders of a tile; keys and identities beside them."""
    identity = bytes(range(32))
    log.append(entry(0))
    log.append(entry(1), idempotency_key=b"single", submitter="fixture")
    log.append(entry(2), identity=identity)
    log.append_batch([entry(i) for i in range(3, 200)])
    log.append_batch([entry(i) for i in range(200, 520)], idempotency_key=b"batch")
    for i in range(520, 530):
        log.append(entry(i))


def finish(log: merklelog.Log) -> None:
    """What stays in the write-ahead log."""
    log.append_batch([entry(i) for i in range(530, 540)], idempotency_keys=[b"key %d" % i for i in range(10)])
    log.append(entry(540))


def make() -> None:
    """The whole log at PLACE: closed once, opened again, and left by a process that ends without closing it."""
    shutil.rmtree(PLACE, ignore_errors=True)
    # Row times decide whether an idempotency key is still remembered: these rows are, for a hundred years.
    settings: dict[str, str | int | bool] = {
        "log.dedupe": True,
        "store.min_free_bytes": 0,
        "idempotency.days": 36_500,
    }
    merklelog.create_log(PLACE, ORIGIN, settings=settings)
    with merklelog.open(PLACE) as log:
        fill(log)
    if os.fork() == 0:
        log = merklelog.open(PLACE)
        finish(log)
        os._exit(0)
    os.wait()


def tidy() -> None:
    """Delete what says something about the process that wrote, and what is made anew at each open."""
    shutil.rmtree(PLACE / "diary", ignore_errors=True)
    options = sorted((PLACE / "db").glob("OPTIONS-*"))
    for file in [PLACE / "lock", *(PLACE / "db").glob("LOG*"), *options[:-1]]:
        file.unlink(missing_ok=True)
    (PLACE / "lock").touch()


def describe() -> dict[str, object]:
    """What a test compares with."""
    with merklelog.open_reader(PLACE) as log:
        return {
            "format": FORMAT,
            "made_by": merklelog.__version__,
            "origin": log.origin,
            "size": log.size,
            "root": log.root.hex(),
            "stored_sizes": list(log.stored_sizes()),
        }


def check() -> None:
    """No path of this machine in any file, and nothing large."""
    files = [path for path in PLACE.rglob("*") if path.is_file()]
    if (total := sum(path.stat().st_size for path in files)) > LIMIT:
        raise SystemExit(f"{PLACE}: {total} bytes, want at most {LIMIT}")
    words = [str(ROOT), str(Path.home()), os.uname().nodename]
    for path in files:
        found = [word for word in words if len(word) > 2 and word.encode() in path.read_bytes()]
        if found:
            raise SystemExit(f"{path} holds {found}")


def main(arguments: list[str]) -> None:
    """Make the fixture and put it in its place, which must not exist."""
    target = Path(arguments[0]) if arguments else ROOT / "tests" / "fixtures" / f"format-{FORMAT}"
    if target.exists():
        raise SystemExit(f"{target} is there already; what a format's first version wrote is not replaced")
    make()
    tidy()
    told = describe()
    check()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PLACE, target)
    target.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    shutil.rmtree(PLACE)
    print(f"{target}: {told}", flush=True)
    subprocess.run(["ls", "-lR", str(target)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
