"""A log with two histories, each shown to half of the witnesses: nobody whose policy is sound takes both.

The witnesses are processes of their own. Sound is a policy of which any two quorums share a witness.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

from merklelog.audit.monitor import Monitor, MonitorOptions
from merklelog.client import Access
from merklelog.client.published import PublishedSource
from merklelog.client.reads import VerifiedReads
from merklelog.errors import MerklelogError, PolicyUnmetError
from merklelog.formats import (
    Note,
    Policy,
    VerifierKey,
    format_note,
    format_vkey,
    parse_checkpoint,
    parse_policy,
)
from merklelog.formats.bundle import format_bundle
from merklelog.formats.witness import format_add_checkpoint, parse_cosignatures
from merklelog.protocol.verdict import evaluate_policy
from merklelog.publish import DirectoryStore
from merklelog.tree import leaf_hash
from tests.witness.support import GrownLog, Process, make_witness, served

WITNESSES = 4
TRUE, FALSE = GrownLog("forked.example/log"), GrownLog("forked.example/log", salt="false", fork=8)


@dataclass
class Halves:
    """Four witnesses, of which the first two saw one history and the others another one of the same size."""

    processes: list[Process]
    keys: list[VerifierKey]
    notes: tuple[bytes, bytes]

    def policy(self, quorum: int) -> Policy:
        lines = [f"log {format_vkey(TRUE.key.verifier)}"]
        lines += [
            f"witness w{number} {format_vkey(key)} http://{process.address}"
            for number, (process, key) in enumerate(zip(self.processes, self.keys, strict=True))
        ]
        group = " ".join(f"w{number}" for number in range(WITNESSES))
        return parse_policy("\n".join([*lines, f"group g {quorum} {group}", "quorum g", ""]).encode())

    def takers(self, quorum: int) -> list[bool]:
        """Which of both notes this policy takes."""
        return [meets(self.policy(quorum), note) for note in self.notes]


def meets(policy: Policy, note: bytes) -> bool:
    try:
        evaluate_policy(policy, parse_checkpoint(note))
    except PolicyUnmetError:
        return False
    return True


def cosigned(log: GrownLog, old: int, new: int, witnesses: list[Process]) -> bytes:
    """The log's checkpoint with the cosignatures of these witnesses, which have it at `old`."""
    note = log.note(new)
    lines = list(parse_checkpoint(note).note.signatures)
    for each in witnesses:
        answer = each.add(format_add_checkpoint(old, log.proof(old, new), note))
        assert answer.status == 200, answer.body
        lines += parse_cosignatures(answer.body)
    return format_note(Note(parse_checkpoint(note).note.text, tuple(lines)))


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halves]:
    folder = tmp_path_factory.mktemp("halves")
    with ExitStack() as stack:
        keys, processes = [], []
        for number in range(WITNESSES):
            name = f"witness.example/{number}"
            keys.append(make_witness(folder / str(number), TRUE, name=name)[0])
            processes.append(stack.enter_context(served(folder / str(number))))
        cosigned(TRUE, 0, 8, processes)  # so far all saw the same
        true = cosigned(TRUE, 8, 20, processes[:2])
        false = cosigned(FALSE, 8, 20, processes[2:])
        yield Halves(processes, keys, (true, false))


def test_no_sound_policy_takes_both(halves: Halves) -> None:
    """A quorum of two of four is none that is sound: it shows why."""
    assert halves.takers(2) == [True, True]
    assert halves.takers(3) == [False, False]
    assert halves.takers(4) == [False, False]


def test_no_witness_is_brought_to_sign_the_other_history(halves: Halves) -> None:
    """From no size that either history has, nor by a proof of the other one; so no quorum can be completed."""
    for log, others in ((TRUE, halves.processes[2:]), (FALSE, halves.processes[:2])):
        for each in others:
            for old in (0, 8, 9, 20):
                for new in (20, 21, 40):
                    if old <= new:
                        answer = each.add(log.request(old, new))
                        assert answer.status in {409, 422}, (old, new)
                        assert answer.status == (409 if old != 20 else 422)


def test_each_witness_keeps_the_proof(halves: Halves) -> None:
    """Who was shown the second root of a size has both notes on its disk, signed by the log."""
    halves.processes[0].add(FALSE.request(20, 20))
    folder = halves.processes[0].said.parent / "evidence"
    (kept,) = folder.iterdir()
    first, second = (parse_checkpoint(part) for part in _notes(kept.read_bytes()))
    assert first.checkpoint.size == second.checkpoint.size == 20
    assert {first.checkpoint.root, second.checkpoint.root} == {TRUE.root(20), FALSE.root(20)}
    for each in (first, second):
        assert meets(
            parse_policy(f"log {format_vkey(TRUE.key.verifier)}\nquorum none\n".encode()),
            format_note(each.note),
        )


def _notes(evidence: bytes) -> list[bytes]:
    first, _, rest = evidence.partition(b"\n--- ")
    return [first, rest.partition(b"\n\n")[2]]


def shown_at(folder: Path, note: bytes) -> str:
    """A published copy of the true history under that checkpoint; gives its target."""
    entries = [b"%d" % number for number in range(20)]
    objects = {
        "checkpoint": note,
        "tile/0/000.p/20": b"".join(map(leaf_hash, entries)),
        "tile/entries/000.p/20": format_bundle(entries),
    }
    for key, data in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return f"dir:{folder}"


def test_clients_that_were_shown_different_histories(halves: Halves, tmp_path: Path) -> None:
    """Each client reads the copy it was given: with a sound policy neither goes on, with none at all both do."""
    for number, note in enumerate(halves.notes):
        folder = tmp_path / str(number)
        shown_at(folder, note)
        source = PublishedSource(DirectoryStore(folder))
        for quorum in (3, 4):
            with pytest.raises(MerklelogError, match="want the quorum"):
                VerifiedReads(source, halves.policy(quorum)).head()
        assert VerifiedReads(source, halves.policy(2)).head().checkpoint.size == 20


def test_a_monitor_reports_it_with_both_notes(halves: Halves, tmp_path: Path) -> None:
    """It was shown one history at a target, and finds the other one at the witnesses' monitoring endpoints."""
    target = shown_at(tmp_path / "copy", halves.notes[0])
    options = MonitorOptions(max_age=86_400.0)
    clock = time.time
    with Monitor(
        [target], halves.policy(2), tmp_path / "state", options=options, access=Access(), clock=clock
    ) as watch:
        watch.round()
        splits = [each for each in watch.lasting if each.kind.value == "split"]
    assert {each.source for each in splits} == {
        f"witness w{number} (http://{halves.processes[number].address})" for number in (2, 3)
    }
    for each in splits:
        roots = {parse_checkpoint(Path(file).read_bytes()).checkpoint.root for file in each.evidence}
        assert roots == {TRUE.root(20), FALSE.root(20)}


def test_any_two_sound_quorums_share_a_witness() -> None:
    """What makes a policy sound here, by counting."""
    for quorum, sound in ((2, False), (3, True), (4, True)):
        pairs = combinations(map(set, combinations(range(WITNESSES), quorum)), 2)
        assert all(one & two for one, two in pairs) is sound
