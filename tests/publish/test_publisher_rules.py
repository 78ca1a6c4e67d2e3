"""The publisher follows the model, and without any one of its rules these tests notice.

The walks interleave two writers request by request, with faults, crashes, old disks and lost ones. Each rule of
the model can be left out of the publisher by a switch that only tests reach; the scenes below show what then
happens, and the walks find it by themselves.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from failing_store import Killed, WrittenOnce
from publication_path import Departure
from publication_walk import Walk
from published_log import DiskLog, recovered
from publisher_tools import drain, publisher, running, shown

from merklelog.errors import FencedError, MerklelogError, NotFoundError
from merklelog.publish.memory import MemoryStore
from merklelog.publish.target_writer import ALL_RULES, Rules

SEEDS = 48
BROKEN = {
    "sign-first": Rules(signs_after_head=False),
    "no-staging": Rules(stages=False),
    "no-epoch-cas": Rules(swaps_head=False),
    "plain-pointer": Rules(keeps_pointer=False),
    "reuse-epoch": Rules(takes_epoch=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_walk_is_a_path_of_the_model(part: int) -> None:
    counts: dict[str, int] = {}
    finished = 0
    for seed in range(part, SEEDS, 4):
        walk = Walk(seed)
        walk.run(240)
        for name, count in walk.counts.items():
            counts[name] = counts.get(name, 0) + count
        finished += sum(label.startswith(("A 7", "B 7")) for label in walk.paths[0].trail)
    assert finished > 20, "too few publications came to their end"
    for name in ("fault", "kill", "lose", "recover", "restore", "FencedError", "BehindError"):
        assert counts.get(name, 0) >= 4, f"too few of {name}: {counts}"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_every_walk_with_two_targets_is_one_on_each(part: int) -> None:
    """No step of any writer is one that the model can not do on either, and the first is never behind."""
    finished = 0
    for seed in range(part, 24, 2):
        walk = Walk(seed, targets=2)
        walk.run(300)
        finished += sum(label.startswith(("A 7", "B 7")) for label in walk.paths[1].trail)
    assert finished > 12, "too few publications came to their end"


@pytest.mark.slow
@pytest.mark.parametrize("broken", [name for name in BROKEN if name != "plain-pointer"])
def test_walks_notice_a_rule_that_is_left_out(broken: str) -> None:
    """By the first step that the model can not do, before any harm. A pointer goes back too rarely for chance."""
    noticed = 0
    for seed in range(12):
        try:
            Walk(seed, BROKEN[broken]).run(200)
        except (Departure, AssertionError, MerklelogError):
            noticed += 1
    assert noticed > 2


def two_clones(rules: Rules) -> tuple[MemoryStore, DiskLog, DiskLog, Any, Any]:
    """Two copies of one disk, both started, each with entries of its own; the second one has the target."""
    target = MemoryStore()
    kept = WrittenOnce(target)
    log = DiskLog().grow(300)
    other = log.copy()
    made, second = running(log, kept, rules=rules), running(other, kept, rules=rules)
    log.grow(300, b"one")
    other.grow(300, b"other")
    return target, log, other, made, second


def test_sign_first_makes_two_checkpoints_of_one_size() -> None:
    for rules, signed in ((ALL_RULES, set()), (BROKEN["sign-first"], {600})):
        _, log, other, made, second = two_clones(rules)
        drain(second)
        with pytest.raises(FencedError):
            drain(made)
        assert set(log.notes) == signed
        assert log.notes.get(600) != other.notes[600]


def test_no_staging_loses_what_head_names() -> None:
    for rules in (ALL_RULES, BROKEN["no-staging"]):
        target = MemoryStore()
        log = DiskLog().grow(300)

        def step(passed: Any) -> None:
            if passed.name == "headed":
                raise Killed

        made = publisher(log, target, step=step, rules=rules)
        made.start()
        with pytest.raises(Killed):
            drain(made)
        if rules is ALL_RULES:
            assert recovered(target, log.told).entries == log.entries
        else:
            with pytest.raises(NotFoundError, match="tile/entries/000"):
                recovered(target, log.told)


def test_no_epoch_cas_lets_both_go_on() -> None:
    for rules in (ALL_RULES, BROKEN["no-epoch-cas"]):
        _, log, other, made, second = two_clones(rules)
        drain(second)
        with pytest.raises(FencedError if rules is ALL_RULES else AssertionError, match=None) as caught:
            drain(made)
        if rules is not ALL_RULES:
            assert "is locked and was to be changed" in str(caught.value)
            assert log.notes[600] != other.notes[600], "two checkpoints"


def test_a_plain_pointer_goes_back() -> None:
    """A writer stops between its last two requests while another takes over and publishes more."""
    for rules, size in ((ALL_RULES, 310), (BROKEN["plain-pointer"], 300)):
        target = MemoryStore()
        log, others = DiskLog().grow(300), []

        def step(passed: Any, log: Any = log, others: Any = others, target: Any = target) -> None:
            if passed.name == "filed" and not others:
                others.append(log.copy())
                made = running(others[0], target)
                others[0].grow(10, b"other")
                drain(made)

        made = publisher(log, target, step=step, rules=rules)
        made.start()
        if rules is ALL_RULES:
            with pytest.raises(FencedError, match="shows size 310"):
                drain(made)
        else:
            drain(made)
        assert shown(target, log.verifiers) == size


def test_a_reused_epoch_belongs_to_two_writers() -> None:
    for rules, epochs in ((ALL_RULES, (1, 2)), (BROKEN["reuse-epoch"], (1, 1))):
        _, _, _, made, second = two_clones(rules)
        assert (made.epoch, second.epoch) == epochs


def test_the_rules_are_not_configured() -> None:
    """Nothing in the product makes Rules but the default."""
    product = Path(__file__).resolve().parent.parent.parent / "merklelog"
    sources = {path.name: path.read_text("utf-8") for path in product.rglob("*.py")}
    known = [name for name, text in sources.items() if re.search(r"target_writer import .*\bRules\b", text)]
    assert known == ["publisher.py"]
    assert "Rules(" not in sources["publisher.py"]
    assert ALL_RULES == Rules() == Rules(True, True, True, True, True)
