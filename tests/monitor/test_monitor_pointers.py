"""Logs that show two checkpoints, one with and one without the quorum of their witnesses."""

from __future__ import annotations

from pathlib import Path

import pytest

from merklelog.audit.monitor_log import MonitorOptions
from merklelog.publish.layout import UNWITNESSED_KEY as UNWITNESSED
from merklelog.publish.layout import WITNESSED_KEY as WITNESSED
from tests.monitor.scene import BEGIN, Pages, Scene, append, cosigned, numbered, publish, twin


def move(scene: Scene, key: str, note: bytes, name: str = "copy") -> None:
    """Have a copy show that note under that name."""
    file = scene.path / name / key
    file.unlink(missing_ok=True)
    file.write_bytes(note)


def shown(scene: Scene, name: str = "copy") -> bytes:
    return (scene.path / name / "checkpoint").read_bytes()


def hold(scene: Scene) -> str:
    """200 entries that a quorum cosigned and are shown, and 100 more that wait for it; gives the target."""
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    first = scene.cosign("copy", {0: BEGIN, 1: BEGIN})
    append(scene.log, numbered(200, 300))
    scene.publish()
    move(scene, UNWITNESSED, shown(scene))
    move(scene, "checkpoint", first)
    return target


def test_entries_that_wait_for_witnesses_are_read_and_a_quorum_that_never_comes_is_told(scene: Scene) -> None:
    target = hold(scene)
    with scene.monitor(target, policy=scene.policy(quorum=2), options=MonitorOptions(grace=60)) as watch:
        assert watch.round().entries == 300
        scene.now += 59
        watch.round()
        assert scene.heard.kinds() == []
        scene.now += 61
        watch.round()
        scene.now += 60
        watch.round()
        (finding,) = scene.heard.findings
        assert "of size 300 waits for a quorum; the newest that is, is of size 200" in finding["detail"]
        move(
            scene,
            "checkpoint",
            cosigned(
                (scene.path / "copy" / UNWITNESSED).read_bytes(),
                {scene.witnesses[0]: scene.now, scene.witnesses[2]: scene.now},
            ),
        )
        watch.round()
    assert scene.heard.kinds() == ["quorum", "-quorum"]


def test_what_waits_for_witnesses_is_of_the_same_history_or_a_split(scene: Scene) -> None:
    """A log that shows its readers one tree, and its witnesses another one."""
    target = hold(scene)
    other = twin(scene.log, "other")
    with scene.monitor(target, policy=scene.policy(quorum=2)) as watch:
        watch.round()
        append(other, numbered(300, 400, "forged"))
        append(scene.log, numbered(300, 400))
        publish(other, scene.path / "forged")
        before = shown(scene)
        scene.publish()
        move(scene, UNWITNESSED, shown(scene))
        move(scene, "checkpoint", before)
        assert watch.round().entries == 100
        move(scene, UNWITNESSED, shown(scene, "forged"))
        watch.round()
    (finding,) = scene.heard.findings
    assert finding["kind"] == "split"
    assert len({Path(each).read_bytes() for each in finding["evidence"]}) == 2


def test_one_that_is_taken_back_is_a_rollback(scene: Scene) -> None:
    target = hold(scene)
    with scene.monitor(target, policy=scene.policy(quorum=2)) as watch:
        watch.round()
        move(scene, UNWITNESSED, shown(scene))
        watch.round()
    (finding,) = scene.heard.findings
    assert finding["kind"] == "rollback"
    assert f"it shows size 200 as {UNWITNESSED}, and showed 300 before" in finding["detail"]


def test_a_log_that_does_not_wait_is_met_by_the_one_with_the_quorum(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    witnessed = cosigned(shown(scene), {scene.witnesses[0]: BEGIN, scene.witnesses[1]: BEGIN})
    append(scene.log, numbered(200, 300))
    scene.publish()
    move(scene, WITNESSED, witnessed)
    options = MonitorOptions(grace=60, max_age=400)
    with scene.monitor(target, policy=scene.policy(quorum=2), options=options) as watch:
        watch.round()
        scene.now += 30
        watch.round()
        assert scene.heard.kinds() == [], "witnesses are given their time"
        scene.now += 60
        watch.round()
        scene.now += 60
        watch.round()
        assert "the newest that is, is of size 200" in scene.heard.findings[0]["detail"]
        move(scene, WITNESSED, cosigned(shown(scene), dict.fromkeys(scene.witnesses[:2], scene.now)))
        watch.round()
        assert scene.heard.kinds() == ["quorum", "-quorum"]
        scene.now += 401
        watch.round()
    assert scene.heard.kinds() == ["stale"]


@pytest.mark.parametrize("key", [UNWITNESSED, WITNESSED])
@pytest.mark.parametrize("what", ["no note", "by nobody known"])
def test_one_that_is_none(scene: Scene, key: str, what: str) -> None:
    target = hold(scene)
    note = b"hello\n" if what == "no note" else shown(scene).replace(b"\n200\n", b"\n201\n")
    move(scene, key, note)
    with scene.monitor(target, policy=scene.policy()) as watch:
        watch.round()
    (finding,) = scene.heard.findings
    assert (finding["kind"], finding["disproven"]) == ("signature", True)
    assert key in finding["detail"]


def test_two_witnesses_that_are_ahead_of_the_log_hold_each_other_to_one_history(
    scene: Scene, pages: Pages
) -> None:
    """What no target shows yet is compared all the same, and again once a target has come up to it."""
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    append(other, numbered(200, 300, "forged"))
    publish(scene.log, scene.path / "true")
    publish(other, scene.path / "forged")
    notes = [
        cosigned(shown(scene, name), {scene.witnesses[n]: BEGIN}) for n, name in enumerate(("true", "forged"))
    ]
    urls = {number: pages.witness(number, note) for number, note in enumerate(notes)}
    with scene.monitor(target, policy=scene.policy(urls=urls)) as watch:
        watch.round()
    (finding,) = scene.heard.findings
    assert finding["kind"] == "split"
    assert {Path(each).read_bytes() for each in finding["evidence"]} == set(notes)


def test_what_a_witness_had_once_is_held_against_what_comes_later(scene: Scene, pages: Pages) -> None:
    """A witness that showed a fork for a moment: it is found when the log comes up to that size."""
    append(scene.log, numbered(0, 200))
    target = scene.publish()
    other = twin(scene.log, "other")
    append(other, numbered(200, 250, "forged"))
    publish(other, scene.path / "forged")
    note = cosigned(shown(scene, "forged"), {scene.witnesses[1]: BEGIN})
    urls = {1: pages.witness(1, note)}
    with scene.monitor(target, policy=scene.policy(urls=urls)) as watch:
        watch.round()
        assert scene.heard.kinds() == []
        pages.pages.clear()  # nothing of it is seen any more
        append(scene.log, numbered(200, 300))
        scene.publish()
        watch.round()
        watch.round()
    (finding,) = scene.heard.findings
    assert finding["kind"] == "split"
    assert note in {Path(each).read_bytes() for each in finding["evidence"]}


def test_over_http_they_are_found_too(scene: Scene, pages: Pages) -> None:
    """A copy on a plain web server, with and without a checkpoint beside."""
    hold(scene)
    copy = scene.path / "copy"

    def put() -> None:
        files = [path for path in copy.rglob("*") if path.is_file()]
        pages.pages = {f"/{path.relative_to(copy)}": path.read_bytes() for path in files}

    put()
    with scene.monitor(f"{pages.url}/", policy=scene.policy(quorum=2)) as watch:
        assert watch.round().entries == 300
        (copy / UNWITNESSED).unlink()
        put()
        assert watch.round().entries == 0
        assert scene.heard.kinds() == []
        move(scene, UNWITNESSED, shown(scene).replace(b"\n200\n", b"\n201\n"))
        put()
        watch.round()
    assert scene.heard.kinds() == ["signature"]
