"""A log and its witnesses, all real: hold and continue, with a target and without, those that go and come back."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import ConfigError, PolicyError, PolicyUnmetError, UsageError
from merklelog.formats import parse_checkpoint, parse_policy
from merklelog.formats.note import parse_note
from merklelog.log import open_log
from merklelog.protocol.publication import PublicationStep, StepName
from tests.witness_client.scene import PATIENCE, OneLog, Scene

PLACES = pytest.mark.parametrize("has_target", [False, True], ids=["no target", "target"])


def place(tmp_path: Path, has_target: bool) -> Path | None:
    return tmp_path / "copy" if has_target else None


def shown(log: OneLog, name: str = "checkpoint") -> int:
    """The size that a pointer of the target shows; -1 for none."""
    assert log.target is not None
    try:
        return parse_checkpoint((log.target / name).read_bytes()).checkpoint.size
    except FileNotFoundError:
        return -1


def until(log: Log, what: Any) -> None:
    """Wait for something that `log` says of itself."""
    ends = time.monotonic() + PATIENCE
    while not what(log):
        assert time.monotonic() < ends, log.witnessing
        time.sleep(0.02)


@PLACES
@pytest.mark.parametrize("mode", ["hold", "continue"])
def test_what_is_shown_meets_the_policy(
    witnessed: Scene, tmp_path: Path, mode: str, has_target: bool
) -> None:
    one = witnessed.log(target=place(tmp_path, has_target), mode=f'"{mode}"')
    for turn in (1, 2):
        with merklelog.open(one.path) as log:
            assert log.levels == (
                ("integrated", "published", "witnessed") if has_target else ("integrated", "witnessed")
            )
            receipt = log.append(b"entry %d" % turn)
            head = log.wait_witnessed(receipt.index + 1).result(PATIENCE)
            assert head.size == turn
            assert len(one.names(head.note)) >= 2
            if mode == "hold":
                assert log.checkpoint() == head.note
                assert one.names(log.prove(receipt.index).split(b"\n\n", 1)[1])
        with merklelog.open_reader(one.path) as reader:
            assert reader.size == turn
            assert reader.witnessed is not None
            assert reader.witnessed.size == turn
            assert (len(parse_note(reader.checkpoint()).signatures) > 2) == (mode == "hold")
        if one.target is not None:
            other = "checkpoint.unwitnessed" if mode == "hold" else "checkpoint.witnessed"
            assert shown(one) == shown(one, other) == turn
            assert one.names((one.target / "cosigned" / f"{turn}").read_bytes())


@PLACES
def test_without_a_quorum_what_is_shown_waits_and_says_for_whom(
    witnessed: Scene, tmp_path: Path, has_target: bool
) -> None:
    one = witnessed.log(target=place(tmp_path, has_target), timeout=1.0)
    with merklelog.open(one.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        for each in witnessed.witnesses[1:]:
            each.kill()
        log.append(b"second")
        log.append(b"third")
        until(log, lambda log: sum(each.error is not None for each in log.witnessing.witnesses) == 2)
        if has_target:
            until(log, lambda _log: shown(one, "checkpoint.unwitnessed") == 3)
            assert shown(one) == 1
        assert log.size == 1
        assert log.integrated.size == 3
        assert log.witnessing is not None
        assert (log.witnessing.size, log.witnessing.lag_entries) == (1, 2)
        assert log.witnessing.lag_seconds > 0
        assert not log.wait_published(3).done()
        witnessed.witnesses[2].start()
        assert log.wait_witnessed(3).result(PATIENCE).size == 3
        assert log.size == 3
        if has_target:
            assert shown(one) == 3


@PLACES
def test_continue_shows_the_newest_and_keeps_the_newest_with_a_quorum(
    witnessed: Scene, tmp_path: Path, has_target: bool
) -> None:
    one = witnessed.log(target=place(tmp_path, has_target), timeout=0.5, mode='"continue"')
    with merklelog.open(one.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        for each in witnessed.witnesses[1:]:
            each.kill()
        log.append(b"second")
        log.wait_published(2).result(PATIENCE)
        assert log.size == 2
        assert log.witnessed is not None
        assert log.witnessed.size == 1
        with pytest.raises(PolicyUnmetError):
            one.names(log.checkpoint())
        if has_target:
            assert (shown(one), shown(one, "checkpoint.witnessed")) == (2, 1)
        witnessed.witnesses[1].start()
        log.append(b"third")
        log.wait_witnessed(3).result(PATIENCE)
    if has_target:
        assert shown(one) == shown(one, "checkpoint.witnessed") == 3


def test_an_unchanged_head_is_cosigned_again(witnessed: Scene, tmp_path: Path) -> None:
    """Its note is newer then, on the target too; `cosigned/<size>` stays as it was."""
    one = witnessed.log(target=tmp_path / "copy", heartbeat=1.0)
    with merklelog.open(one.path) as log:
        log.append(b"only")
        first = log.wait_witnessed(1).result(PATIENCE)
        until(log, lambda log: log.witnessed.note != first.note)
        assert log.size == 1
        until(log, lambda log: (tmp_path / "copy" / "checkpoint").read_bytes() != first.note)
    assert (tmp_path / "copy" / "cosigned" / "1").read_bytes() == first.note
    assert one.names((tmp_path / "copy" / "checkpoint").read_bytes())


def test_a_policy_may_come_and_go(witnessed: Scene) -> None:
    """What readers saw never goes back: with the first policy, without it again, and with it once more."""
    one = witnessed.log()
    rules = (one.path / "witnesses.policy").read_text()
    sizes = []
    for count, policy in enumerate(['""', '"witnesses.policy"', '""', '"witnesses.policy"']):
        one.configure(rules, policy=policy)
        with merklelog.open(one.path) as log:
            assert log.size == count
            log.append(b"%d" % count)
            log.wait_published(count + 1).result(PATIENCE)
            sizes.append(log.size)
            if not count:
                with pytest.raises(UsageError, match=r"witness\.policy is empty"):
                    log.wait_witnessed(1)
    assert sizes == [1, 2, 3, 4]


def test_a_target_may_be_held_later_and_let_go_again(witnessed: Scene, tmp_path: Path) -> None:
    one = witnessed.log(target=tmp_path / "copy")
    rules = (one.path / "witnesses.policy").read_text()
    changes: list[dict[str, Any]] = [{"policy": '""'}, {}, {"mode": '"continue"'}, {}, {"policy": '""'}]
    for count, said in enumerate(changes):
        one.configure(rules, **said)
        with merklelog.open(one.path) as log:
            assert log.size == count
            log.append(b"%d" % count)
            log.wait_published(count + 1).result(PATIENCE)
        assert shown(one) == count + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("quorum q", "quorum r"), "policy line 13: the name 'r' is not defined"),
        (lambda text: text.replace("group q 2", "group q 4"), "got threshold 4"),
        (lambda text: text + text.splitlines()[2] + "\n", "policy line 14: the name 'w0a' is there already"),
        (lambda text: text.replace("group q 2 w0", "group q 2 nobody"), "the name 'nobody' is not defined"),
        (lambda text: text.replace("quorum q", "quorum none"), "asks for no witness"),
        (lambda text: text.replace(" http://", " ftp://"), "want http\\(s\\)://HOST"),
        (lambda text: text.replace(" http://127.0.0.1:", " # "), "want: witness NAME"),
        (lambda text: re.sub(" http:.*", "", text), r"have a URL, and .* see line \d+, \d+"),
        (lambda text: text.split("\n", 2)[2], "it lists no key of this log"),
    ],
)
def test_a_policy_that_can_not_be_is_refused_with_its_line(
    witnessed: Scene, change: Any, message: str
) -> None:
    path, keys = witnessed.logs[0]
    one = OneLog(path, keys, None)  # type: ignore[arg-type]
    one.configure(change(witnessed.rules(keys)))
    with pytest.raises((ConfigError, PolicyError), match=message):
        merklelog.open(path)


def test_a_policy_that_is_not_there_is_refused(witnessed: Scene) -> None:
    path, keys = witnessed.logs[0]
    one = OneLog(path, keys, None)  # type: ignore[arg-type]
    one.configure(None, policy='"nowhere"')
    with pytest.raises(ConfigError, match=r"witness\.policy: .*nowhere: No such file"):
        merklelog.open(path)


def test_what_met_an_earlier_policy_alone_is_not_witnessed_any_more(witnessed: Scene) -> None:
    """Three are wanted where two were enough: the stored note is no answer, until the third has cosigned too."""
    one = witnessed.log(timeout=1.0)
    witnessed.witnesses[2].kill()
    with merklelog.open(one.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
    rules = witnessed.rules(one.keys, "all")
    one.configure(rules, timeout=1.0)
    one.policy = parse_policy(rules.encode())
    with merklelog.open_reader(one.path) as reader:
        assert reader.witnessed is None
    witnessed.witnesses[2].start()  # and it has not heard of this log
    with merklelog.open(one.path) as log:
        assert one.names(log.wait_witnessed(1).result(PATIENCE).note)


def test_a_new_target_is_filled_before_it_shows_what_witnesses_cosigned(
    witnessed: Scene, tmp_path: Path
) -> None:
    """The shown head had no quorum when the target was added, and gets one while that is brought up to it."""
    one = witnessed.log(target=tmp_path / "copy", mode='"continue"', timeout=0.5)
    with merklelog.open(one.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        for each in witnessed.witnesses[1:]:
            each.kill()
        log.append_batch([b"%d" % number for number in range(600)])
        log.wait_published(601).result(PATIENCE)
    for each in witnessed.witnesses[1:]:
        each.start()
    text = (one.path / "merklelog.toml").read_text()
    more = text.replace(f'"dir:{tmp_path}/copy"', f'"dir:{tmp_path}/copy", "dir:{tmp_path}/second"')
    (one.path / "merklelog.toml").write_text(more)
    seen = []

    def step(done: PublicationStep) -> None:
        if done.name is StepName.WITNESSED and done.target.endswith("second"):
            tiles = tmp_path / "second" / "tile" / "0"
            seen.append((tiles / "000").exists() and (tiles / "002.p" / f"{done.size - 512}").exists())

    with open_log(one.path, publication_step=step) as log:
        assert log.wait_witnessed(601).result(PATIENCE).size == 601
    assert seen
    assert all(seen)
