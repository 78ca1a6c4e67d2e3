"""Quorum, freshness, and what witnesses show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from merklelog.audit.monitor_log import MonitorOptions
from merklelog.audit.monitor_target import quorum_time
from merklelog.errors import UsageError
from merklelog.formats import parse_checkpoint
from tests.monitor.scene import BEGIN, Pages, Scene, append, cosigned, numbered, twin


def test_a_checkpoint_without_its_quorum_is_told_after_its_grace(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    scene.cosign("copy", {0: BEGIN})
    policy = scene.policy(quorum=2)
    with scene.monitor(target, policy=policy, options=MonitorOptions(grace=60)) as watch:
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 60
        watch.round()
        (finding,) = scene.heard.findings
        assert "want the quorum" in finding["detail"]
        assert not finding["disproven"]
        scene.cosign("copy", {2: BEGIN + 50})
        watch.round()
    assert scene.heard.kinds() == ["quorum", "-quorum"]


def test_an_older_checkpoint_with_its_quorum_is_enough_for_a_while(scene: Scene) -> None:
    """A log that moves on before its witnesses signed: what counts is how far behind the quorum is."""
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    note = scene.cosign("copy", {0: BEGIN, 1: BEGIN})
    kept = scene.path / "copy" / "checkpoints" / "200"
    kept.unlink()
    kept.write_bytes(note)
    policy = scene.policy(quorum=2)
    with scene.monitor(target, policy=policy, options=MonitorOptions(grace=60)) as watch:
        watch.round()
        scene.now += 1_000
        append(scene.log, numbered(200, 300))
        scene.publish()
        watch.round()
        scene.now += 59
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 61
        watch.round()
        scene.now += 60
        watch.round()
    assert "the newest that is, is of size 200" in scene.heard.findings[0]["detail"]
    assert scene.heard.kinds() == ["quorum"]


def test_cosignatures_that_are_too_old(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    scene.cosign("copy", {0: BEGIN - 500, 1: BEGIN - 100, 2: BEGIN - 300})
    with scene.monitor(target, policy=scene.policy(quorum=2), options=MonitorOptions(max_age=400)) as watch:
        watch.round()
        scene.now += 100
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 1  # two of three signed at BEGIN - 300 or later
        watch.round()
        assert scene.heard.kinds() == ["stale"]
        scene.cosign("copy", {0: BEGIN + 90})  # cosigned again: the newest time of each witness counts
        watch.round()
    assert scene.heard.kinds() == ["-stale"]


@pytest.mark.parametrize(
    ("times", "quorum", "want"),
    [
        ({0: 10, 1: 20, 2: 30}, 1, 30),
        ({0: 10, 1: 20, 2: 30}, 2, 20),
        ({0: 10, 1: 20, 2: 30}, 3, 10),
        ({0: 10, 1: 10}, 2, 10),
        ({0: 10}, 0, None),
    ],
)
def test_since_when_a_quorum_is(scene: Scene, times: dict[int, int], quorum: int, want: int | None) -> None:
    append(scene.log, numbered(0, 2))
    scene.publish()
    note = scene.cosign("copy", times)
    assert quorum_time(scene.policy(quorum=quorum), parse_checkpoint(note)) == want


def test_a_witness_that_was_shown_another_history(scene: Scene, pages: Pages) -> None:
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    append(other, numbered(200, 280, "forged"))
    target = scene.publish()
    scene.publish("forged", other)
    note = scene.cosign("forged", {1: BEGIN})
    urls = {1: pages.witness(1, note)}
    with scene.monitor(target, policy=scene.policy(urls=urls)) as watch:
        watch.round()
    (finding,) = scene.heard.findings
    assert finding["kind"] == "split"
    assert finding["source"] == f"witness w1 ({urls[1]})"
    first, second = (Path(path).read_bytes() for path in finding["evidence"])
    assert first == (scene.path / "copy" / "checkpoint").read_bytes()
    assert second == note


def test_a_witness_that_signed_more_than_is_shown(scene: Scene, pages: Pages) -> None:
    """What a log took back from everybody is still with its witness; when it comes out it must agree."""
    append(scene.log, numbered(0, 200))
    shutil.copytree(scene.log, scene.path / "before")
    append(scene.log, numbered(200, 300))
    scene.publish("later")
    later = scene.cosign("later", {0: BEGIN})
    target = scene.publish("copy", scene.path / "before")
    policy = scene.policy(urls={0: pages.witness(0, later)})
    with scene.monitor(target, policy=policy, options=MonitorOptions(lag=300)) as watch:
        watch.round()
        scene.now += 299
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 1
        watch.round()
        (finding,) = scene.heard.findings
        assert Path(finding["evidence"][1]).read_bytes() == later
        scene.publish()
        watch.round()
        assert scene.heard.kinds() == ["ahead", "-ahead"]


def test_a_history_that_was_taken_back_and_written_anew_is_a_split_with_the_witness(
    scene: Scene, pages: Pages
) -> None:
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    scene.publish("later")
    policy = scene.policy(urls={0: pages.witness(0, scene.cosign("later", {0: BEGIN}))})
    target = scene.publish("copy", other)
    with scene.monitor(target, policy=policy) as watch:
        watch.round()
        append(other, numbered(200, 400, "forged"))
        scene.publish("copy", other)
        watch.round()
    assert scene.heard.kinds() == ["split"]


def test_a_witness_may_lag_an_hour(scene: Scene, pages: Pages) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    note = (scene.path / "copy" / "checkpoint").read_bytes()
    urls = {2: pages.witness(2, cosigned(note, {scene.witnesses[2]: BEGIN}))}
    with scene.monitor(target, policy=scene.policy(urls=urls)) as watch:
        watch.round()
        append(scene.log, numbered(200, 300))
        scene.publish()
        watch.round()
        scene.now += 3_599
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 1
        watch.round()
        assert scene.heard.kinds() == ["lag"]
        note = (scene.path / "copy" / "checkpoint").read_bytes()
        pages.witness(2, cosigned(note, {scene.witnesses[2]: BEGIN + 9}))
        watch.round()
    assert scene.heard.kinds() == ["-lag"]


@pytest.mark.parametrize("what", ["not cosigned", "by another witness", "nothing", "megabytes", "no note"])
def test_a_witness_that_shows_what_it_did_not_sign(scene: Scene, pages: Pages, what: str) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    note = (scene.path / "copy" / "checkpoint").read_bytes()
    shown = {
        "not cosigned": note,
        "by another witness": cosigned(note, {scene.witnesses[0]: BEGIN}),
        "nothing": None,
        "megabytes": b"x" * (5 << 20),
        "no note": b"hello\n",
    }[what]
    url = pages.witness(1, shown or b"")
    if shown is None:
        pages.pages.clear()
    with scene.monitor(target, policy=scene.policy(urls={1: url}), options=MonitorOptions(grace=0)) as watch:
        found = watch.round()
        assert found.entries == 200, "and the log is followed all the same"
    (finding,) = scene.heard.findings
    want = {"nothing": "unreachable", "megabytes": "damaged"}.get(what, "signature")
    assert finding["kind"] == want
    assert "w1" in finding["source"]


def test_a_prefix_that_the_caller_names_goes_before_the_policy(scene: Scene, pages: Pages) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    note = (scene.path / "copy" / "checkpoint").read_bytes()
    url = pages.witness(1, cosigned(note, {scene.witnesses[1]: BEGIN}))
    policy = scene.policy(urls={1: "http://127.0.0.1:1"})
    with scene.monitor(target, policy=policy, witnesses={"w1": url}) as watch:
        assert not watch.round().unknown
    with pytest.raises(UsageError, match="the policy has none"), scene.monitor(target, witnesses={"w9": url}):
        raise AssertionError
