"""One history: what a monitor says of targets that show another, less, or something else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.monitor import Monitor
from merklelog.audit.monitor_log import MonitorOptions
from merklelog.errors import DamagedError, LockedError, SignatureError, UsageError
from merklelog.formats import parse_checkpoint, single_log_policy
from tests.monitor.scene import BEGIN, Scene, append, make_log, numbered, publish, twin


def size_of(note: bytes) -> int:
    return parse_checkpoint(note).checkpoint.size


def test_a_log_that_grows_is_followed_in_silence(scene: Scene) -> None:
    append(scene.log, numbered(0, 300))
    target = scene.publish()
    with scene.monitor(target, str(scene.log)) as watch:
        for size in (300, 301, 1000):
            with merklelog.open_reader(scene.log) as reader:
                have = reader.size
            if size > have:
                append(scene.log, numbered(have, size))
                scene.publish()
            found = watch.round()
            assert (found.behind, found.unknown, found.told, found.logs) == (False, False, True, 1)
            (log,) = watch.logs
            assert log.trusted is not None
            assert (log.trusted.size, log.position) == (size, size)
    assert scene.heard.kinds() == []


@pytest.mark.parametrize("forked", [300, 250, 400])
def test_two_copies_with_two_histories_are_a_split_with_both_notes(scene: Scene, forked: int) -> None:
    """The fork's size is the trusted one's, smaller and larger: each is another comparison."""
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    append(other, numbered(200, forked, "forged"))
    good, bad = scene.publish("good"), scene.publish("bad", other)
    with scene.monitor(good, bad) as watch:
        watch.round()
        watch.round()
        assert [each.kind for each in watch.lasting] == ["split"]
    (finding,) = scene.heard.findings
    assert (finding["kind"], finding["source"], finding["disproven"]) == ("split", bad, True)
    first, second = (Path(path).read_bytes() for path in finding["evidence"])
    assert first == (scene.path / "good" / "checkpoint").read_bytes()
    assert second == (scene.path / "bad" / "checkpoint").read_bytes()
    assert (size_of(first), size_of(second)) == (300, forked)


def test_a_fork_is_found_against_what_an_earlier_monitor_saw(scene: Scene) -> None:
    """Server and copy agree with one another, and not with the past."""
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    target = scene.publish()
    with scene.monitor(target) as watch:
        watch.round()
    append(other, numbered(200, 900, "forged"))
    shutil.rmtree(scene.path / "copy")
    scene.publish("copy", other)
    shutil.rmtree(scene.log)
    other.rename(scene.log)
    with scene.monitor(target, str(scene.log)) as watch:
        watch.round()
        (log,) = watch.logs
        assert log.trusted is not None
        assert log.trusted.size == 300  # the history that was there first stays the trusted one
    assert scene.heard.kinds() == ["split", "split"]
    with scene.monitor(target, str(scene.log)) as watch:
        watch.round()
        assert {each.kind for each in watch.lasting} == {"split"}
    assert scene.heard.kinds() == [], "told once, not at each start"


def test_a_split_is_never_over(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    append(other, numbered(200, 300, "forged"))
    good, bad = scene.publish("good"), scene.publish("bad", other)
    with scene.monitor(good, bad) as watch:
        watch.round()
        shutil.rmtree(scene.path / "bad")
        scene.publish("bad")
        watch.round()
        assert [each.kind for each in watch.lasting] == ["split"]
    assert scene.heard.kinds() == ["split"]


def test_a_target_that_shows_less_than_before(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    shutil.copytree(scene.path / "copy", scene.path / "old")
    append(scene.log, numbered(200, 300))
    scene.publish()
    with scene.monitor(target, str(scene.log)) as watch:
        watch.round()
        (scene.path / "copy").rename(scene.path / "new")
        (scene.path / "old").rename(scene.path / "copy")
        watch.round()
        (finding,) = scene.heard.findings
        assert (finding["kind"], finding["source"], finding["disproven"]) == ("rollback", target, False)
        assert [size_of(Path(path).read_bytes()) for path in finding["evidence"]] == [300, 200]
        (scene.path / "copy").rename(scene.path / "old")
        (scene.path / "new").rename(scene.path / "copy")
        watch.round()
    assert scene.heard.kinds() == ["rollback", "-rollback"]


def test_a_copy_that_stays_behind(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    with scene.monitor(target, str(scene.log), options=MonitorOptions(lag=100)) as watch:
        watch.round()
        append(scene.log, numbered(200, 300))
        watch.round()
        scene.now += 99
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 1
        watch.round()
        assert [each["source"] for each in scene.heard.findings] == [target]
        assert scene.heard.kinds() == ["lag"]
        scene.publish()
        watch.round()
    assert scene.heard.kinds() == ["-lag"]


def test_silence_is_told_after_its_grace_and_hides_nothing(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    with scene.monitor(target, options=MonitorOptions(grace=60)) as watch:
        watch.round()
        (scene.path / "copy").rename(scene.path / "away")
        assert watch.round().unknown
        scene.now += 59
        watch.round()
        assert scene.heard.kinds() == []
    scene.now += 1
    (scene.path / "away").rename(scene.path / "copy")
    (scene.path / "copy" / "checkpoint").rename(scene.path / "checkpoint")
    with scene.monitor(target, options=MonitorOptions(grace=60)) as watch:
        watch.round()  # by another process: since when it was silent is on the disk
        assert scene.heard.kinds() == ["unreachable"]
        (scene.path / "checkpoint").rename(scene.path / "copy" / "checkpoint")
        assert not watch.round().unknown
    assert scene.heard.kinds() == ["-unreachable"]


def test_what_was_wrong_with_a_target_is_not_over_while_it_is_silent(scene: Scene) -> None:
    append(scene.log, numbered(0, 300))
    target = scene.publish()
    bundle = scene.path / "copy" / "tile" / "entries" / "000"
    good = bundle.read_bytes()
    bundle.unlink()
    bundle.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with scene.monitor(target) as watch:
        assert watch.round().behind
        assert scene.heard.kinds() == ["damaged"]
        (scene.path / "copy").rename(scene.path / "away")
        watch.round()
        assert scene.heard.kinds() == []
        (scene.path / "away").rename(scene.path / "copy")
        bundle.write_bytes(good)
        assert not watch.round().behind
    assert scene.heard.kinds() == ["-damaged"]


def test_entries_damaged_in_one_copy_are_read_from_the_other(scene: Scene) -> None:
    append(scene.log, numbered(0, 300))
    target = scene.publish()
    (scene.path / "copy" / "tile" / "entries" / "000").unlink()
    seen: list[int] = []
    with scene.monitor(target, str(scene.log), matcher=lambda index, _: seen.append(index)) as watch:
        assert not watch.round().behind
    assert seen == list(range(300))
    assert [each["source"] for each in scene.heard.findings] == [target]
    assert scene.heard.kinds() == ["damaged"]


@pytest.mark.parametrize("text", [b"", b"nothing signed\n", b"\xff\xfe"])
def test_a_checkpoint_that_is_none(scene: Scene, text: bytes) -> None:
    append(scene.log, numbered(0, 3))
    target = scene.publish()
    (scene.path / "copy" / "checkpoint").unlink()
    (scene.path / "copy" / "checkpoint").write_bytes(text)
    with scene.monitor(target) as watch:
        watch.round()
    assert scene.heard.kinds() == ["signature"]


def test_a_checkpoint_by_a_stranger_is_never_trusted(scene: Scene) -> None:
    stranger = scene.path / "stranger"
    make_log(stranger)
    append(stranger, numbered(0, 30))
    target = f"dir:{publish(stranger, scene.path / 'copy')}"
    with scene.monitor(target) as watch:
        watch.round()
        assert watch.logs == ()
    assert scene.heard.kinds() == ["signature"]


def test_many_logs_each_with_its_own_history(scene: Scene) -> None:
    paths = [scene.path / f"log{number}" for number in range(3)]
    keys = [make_log(path, f"many.example/{path.name}") for path in paths]
    for number, path in enumerate(paths):
        append(path, numbered(0, 10 + number))
    with scene.monitor(
        *map(str, paths), policy=single_log_policy([each for row in keys for each in row])
    ) as watch:
        watch.round()
        sizes = {log.origin: log.trusted.size for log in watch.logs if log.trusted}
    assert sizes == {"many.example/log0": 10, "many.example/log1": 11, "many.example/log2": 12}
    assert scene.heard.kinds() == []


def test_a_data_directory_needs_no_policy(scene: Scene) -> None:
    append(scene.log, numbered(0, 3))
    with Monitor([str(scene.log)], None, scene.path / "state", clock=lambda: BEGIN) as watch:
        assert watch.round().entries == 3
    with pytest.raises(UsageError, match="who signs this log"):
        Monitor([scene.publish()], None, scene.path / "state")


def test_one_monitor_a_state(scene: Scene) -> None:
    with scene.monitor(str(scene.log)), pytest.raises(LockedError, match="another monitor"):
        Monitor([str(scene.log)], None, scene.path / "state")
    with scene.monitor(str(scene.log)) as watch:
        watch.round()


@pytest.mark.parametrize("targets", [[], ["a", "a"], ["grpc://"], ["ftp://x/"], [""]])
def test_targets_that_can_not_be_meant(scene: Scene, targets: list[str]) -> None:
    with pytest.raises(UsageError):
        Monitor(targets, scene.policy(), scene.path / "state")


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("progress.json", b"{", DamagedError),
        ("progress.json", b'{"position":-1}', DamagedError),
        ("progress.json", b'{"position":"7"}', DamagedError),
        ("progress.json", b'{"grew":[[1]]}', DamagedError),
        ("checkpoint", b"who knows\n", (DamagedError, SignatureError, Exception)),
    ],
)
def test_a_state_that_was_tampered_with_is_refused(
    scene: Scene, name: str, text: bytes, error: type[Exception]
) -> None:
    append(scene.log, numbered(0, 3))
    with scene.monitor(str(scene.log)) as watch:
        watch.round()
    (file,) = (scene.path / "state" / "logs").glob(f"*/{name}")
    file.write_bytes(text)
    with scene.monitor(str(scene.log)) as watch, pytest.raises(error, match=r"state|progress"):
        watch.round()
