"""A log that is watched over gRPC, where there are no tiles: by itself, beside its copy, and when it forks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.monitor_grpc import GrpcTiles
from merklelog.client import Access
from merklelog.client.transport import Included, Stretch
from merklelog.errors import DamagedError, NotFoundError, ProofError
from merklelog.formats import parse_checkpoint
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import Hash
from tests.client.conftest import Process
from tests.monitor.scene import Scene, append, numbered, twin


@contextmanager
def serving(*logs: Path) -> Iterator[str]:
    """A process that serves these logs; gives its target."""
    process = Process("grpc_server.py", *logs)
    try:
        yield process.url
    finally:
        process.kill()


def test_every_tile_and_bundle_is_what_the_log_has(scene: Scene) -> None:
    """66,000 entries: tiles of two levels, full and partial."""
    append(scene.log, numbered(0, 66_000))
    with merklelog.open_reader(scene.log) as reader:
        want = {
            (level, index, width): reader.tile(level, index, width)
            for level, index, width in (
                (0, 0, 256),
                (0, 257, 208),
                (1, 0, 256),
                (1, 1, 1),
                (2, 0, 1),
                (0, 9, 256),
            )
        }
        bundles = {at: reader.bundle(at, width) for at, width in ((0, 256), (16, 256), (257, 208))}
        note = reader.checkpoint()
        head = parse_checkpoint(note).checkpoint
    with serving(scene.log) as target:
        source = GrpcTiles(target, Access(), "")
        assert source.checkpoint() == note
        assert list(source.stored_sizes()) == []
        for (level, index, width), hashes in want.items():
            assert source.tile(level, index, width) == hashes, (level, index)
        for index, framed in bundles.items():
            assert source.bundle(index, 208 if index == 257 else 256) == framed
        tiles = VerifiedTiles(source, head.size, head.root)
        tiles.check()
        assert tiles.entries(100) == numbered(25_600, 25_856)
        source.close()


def test_a_log_is_followed_as_it_grows_and_told_by_its_copy(scene: Scene) -> None:
    """What the copy has too is one history; each entry is matched once."""
    append(scene.log, numbered(0, 300))
    copy = scene.publish()

    def matcher(_index: int, entry: bytes) -> str | None:
        return "seven" if entry.endswith(b"7") else None

    with serving(scene.log) as target, scene.monitor(target, copy, matcher=matcher) as watch:
        found = watch.round()
        assert (found.entries, found.unknown, found.behind) == (300, False, False)
        with merklelog.connect(target, scene.vkeys[:2]) as client:
            client.append_batch(numbered(300, 700))
        assert watch.round().entries == 400
        assert watch.lasting == []
    assert scene.heard.matches() == list(range(7, 700, 10))


def test_a_server_with_another_history_is_a_split(scene: Scene) -> None:
    append(scene.log, numbered(0, 300))
    other = twin(scene.log, "other")
    append(scene.log, numbered(300, 310))
    append(other, numbered(300, 310, "forged"))
    copy = scene.publish()
    with serving(other) as target, scene.monitor(copy, target) as watch:
        watch.round()
        (split,) = watch.lasting
    assert (split.kind, split.source) == ("split", target)
    first, second = (Path(file).read_bytes() for file in split.evidence)
    assert first.split(b"\n")[1] == second.split(b"\n")[1] == b"310"
    assert first.split(b"\n")[2] != second.split(b"\n")[2]


def test_of_several_logs_of_a_server_the_policy_names_one(scene: Scene, tmp_path: Path) -> None:
    append(scene.log, numbered(0, 30))
    merklelog.create_log(tmp_path / "second", "second.example/log", settings={"store.min_free_bytes": 0})
    with serving(tmp_path / "second", scene.log) as target, scene.monitor(target) as watch:
        assert watch.round().entries == 30
        assert watch.lasting == []


def test_a_server_that_does_not_answer_is_told_and_asked_again(scene: Scene) -> None:
    append(scene.log, numbered(0, 30))
    with scene.monitor("grpc://127.0.0.1:1") as watch:
        assert watch.round().unknown
        assert [each.kind.value for each in watch.lasting] == []  # within its grace
        scene.now += 60
        watch.round()
        assert [each.kind.value for each in watch.lasting] == ["unreachable"]


class Liar:
    """What a transport would be that answers something else."""

    def __init__(self, found: list[Included], entries: list[bytes]) -> None:
        self.found, self.stretch = found, Stretch(entries, ())

    def inclusions(self, *_: object) -> list[Included]:
        return self.found

    def entries(self, *_: object) -> Stretch:
        return self.stretch


A = Hash(b"a" * 32)


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ([], ProofError),
        ([Included(A, (A,) * 7)], ProofError),  # no whole subtree of 256
        ([Included(A, (A,) * 20)] * 2, ProofError),
        ([Included(A, (A,) * 20)], DamagedError),  # a hash, and not one that the root confirms
    ],
)
def test_answers_that_are_none(found: list[Included], error: type[Exception]) -> None:
    source = GrpcTiles("grpc://127.0.0.1:1", Access(), "")
    source.close()
    source._transport = Liar(found, [b"x"])  # type: ignore[assignment]
    with pytest.raises(error):
        VerifiedTiles(source, 256, A).check()


def test_a_server_without_the_entries_that_it_signed() -> None:
    source = GrpcTiles("grpc://127.0.0.1:1", Access(), "")
    source.close()
    source._transport = Liar([], [])  # type: ignore[assignment]
    with pytest.raises(NotFoundError, match="it has no entry 512"):
        source.bundle(2, 10)
