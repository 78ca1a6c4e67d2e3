"""Logs of every interesting size, published copies of them, and the tools to damage a copy of a copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.audit import AuditReport, audit
from merklelog.formats import Policy, single_log_policy
from merklelog.log import sequencer
from merklelog.publish import DirectoryStore, publish_copy

ORIGIN = "example.com/audited"
SIZES = (0, 1, 255, 256, 257, 1000, 70_000)
ENCODINGS = ("identity", "gzip")


def entry(index: int) -> bytes:
    """Entries of many lengths, empty ones among them."""
    return b"" if index % 97 == 0 else b"event %d " % index * (1 + index % 4)


@pytest.fixture(autouse=True, scope="module")
def every_commit_is_kept() -> Iterator[None]:
    """A checkpoint a second is kept; here one a commit, or no test would wait long enough for a second one.

    And no test cuts the power, so syncing would only take time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequencer, "KEEP_INTERVAL", 0.0)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        yield


def fill(path: Path, size: int) -> None:
    """Append up to `size`, in commits of uneven lengths, at least six of them."""
    with merklelog.open(path) as log:
        step = max(1, (size - log.size) // 6)
        while log.size < size:
            start = log.size
            log.append_batch([entry(i) for i in range(start, min(size, start + step + start % 3))])


def policy_of(path: Path) -> Policy:
    """The policy of somebody who knows the log's keys."""
    with merklelog.open_reader(path) as reader:
        return single_log_policy(reader.vkeys)


def publish(log: Path, copy: Path, encoding: str | None = None) -> None:
    with merklelog.open_reader(log) as reader:
        publish_copy(reader, DirectoryStore(copy), verifiers=reader.vkeys, bundle_encoding=encoding)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The data directory of a log of that size, made once and never changed."""
    made: dict[int, Path] = {}

    def get(size: int) -> Path:
        if size not in made:
            path = tmp_path_factory.mktemp("logs") / f"log{size}"
            merklelog.create_log(path, ORIGIN)
            fill(path, size)
            made[size] = path
        return made[size]

    return get


@pytest.fixture(scope="session")
def copies(
    tmp_path_factory: pytest.TempPathFactory, data: Callable[[int], Path]
) -> Callable[[int, str], Path]:
    """A published copy of the log of that size, made once and never changed."""
    made: dict[tuple[int, str], Path] = {}

    def get(size: int, encoding: str) -> Path:
        if (size, encoding) not in made:
            path = tmp_path_factory.mktemp("copies") / f"copy{size}-{encoding}"
            publish(data(size), path, encoding)
            made[size, encoding] = path
        return made[size, encoding]

    return get


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A log, and a copy of it that was published at three sizes: 300, 700 and 1,000."""
    path = tmp_path_factory.mktemp("grown")
    merklelog.create_log(path / "log", ORIGIN)
    for size in (300, 700, 1000):
        fill(path / "log", size)
        publish(path / "log", path / "copy")
    return path / "log", path / "copy"


class Victim:
    """A published copy that a test may damage, and the log it is of."""

    def __init__(self, log: Path, copy: Path) -> None:
        self.log = log
        self.path = copy
        self.policy = policy_of(log)

    def audit(self, **options: int) -> AuditReport:
        return audit(f"dir:{self.path}", self.policy, processes=1, **options)

    def write(self, key: str, content: bytes) -> None:
        """Put another file in the place of one: what is there is a link to the file of every other victim."""
        file = self.path / key
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content)

    def flip(self, key: str, position: int, bit: int = 0) -> None:
        damaged = bytearray((self.path / key).read_bytes())
        damaged[position] ^= 1 << bit
        self.write(key, bytes(damaged))


@pytest.fixture
def victim(
    tmp_path: Path, data: Callable[[int], Path], copies: Callable[[int, str], Path]
) -> Callable[[int, str], Victim]:
    """A copy of a published copy, to be damaged."""

    def get(size: int, encoding: str = "identity") -> Victim:
        shutil.copytree(copies(size, encoding), tmp_path / "victim", copy_function=os.link)
        return Victim(data(size), tmp_path / "victim")

    return get


@pytest.fixture
def grown_victim(tmp_path: Path, grown: tuple[Path, Path]) -> Victim:
    """The same, of the copy that was published three times."""
    shutil.copytree(grown[1], tmp_path / "victim", copy_function=os.link)
    return Victim(grown[0], tmp_path / "victim")
