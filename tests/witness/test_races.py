"""Many requests at once for one log: never two cosignatures of which neither tree begins the other."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import ProofError
from merklelog.formats import parse_note, verify_note
from merklelog.formats.witness import format_add_checkpoint, parse_size
from merklelog.tree import verify_consistency
from merklelog.witness.answer import Answer
from merklelog.witness.service import Witness
from tests.witness.support import ORIGIN, GrownLog, make_witness

LOG = GrownLog()
FORK = GrownLog(salt="fork", fork=20)
Opened = Callable[..., Witness]


async def at_once(witness: Witness, bodies: list[bytes]) -> list[Answer]:
    """These requests, all begun before any is answered."""
    return await asyncio.gather(*[witness.add_checkpoint(body, "127.0.0.1") for body in bodies])


async def decided(witness: Witness) -> None:
    """Until the log's first checkpoint is recorded."""
    while not witness.state.record_of(ORIGIN).size:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_sizes_at_once(tmp_path: Path, opened: Opened, seed: int) -> None:
    """Of requests from one old size, one is cosigned, and the others are told its size."""
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w")
    sizes = list(range(1, 101))
    random.Random(seed).shuffle(sizes)
    old = 0
    cosigned: list[int] = []
    while old < 100:
        asked = [size for size in sizes if size > old]
        answers = asyncio.run(at_once(witness, [LOG.request(old, size) for size in asked]))
        won = [size for size, answer in zip(asked, answers, strict=True) if answer.status == 200]
        assert len(won) == 1
        told = {parse_size(answer.body) for answer in answers if answer.status == 409}
        assert told <= {won[0]}
        assert len(told) == min(1, len(asked) - 1)
        old = won[0]
        cosigned.append(old)
    assert cosigned == sorted(cosigned)


def test_two_histories_at_once(tmp_path: Path, opened: Opened) -> None:
    """A log that forks at 20, each history offered from each size that any of both could go on from."""
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w")
    bodies = [
        (log, new, log.request(old, new))
        for log in (LOG, FORK)
        for old in (0, 10, 20, 21, 25, 30, 40)
        for new in (20, 21, 25, 30, 40)
        if new >= old
    ]
    random.Random(1).shuffle(bodies)
    cosigned: set[tuple[int, bytes]] = set()
    for _ in range(6):
        answers = asyncio.run(at_once(witness, [body for _, _, body in bodies]))
        for (log, size, _), answer in zip(bodies, answers, strict=True):
            if answer.status == 200:
                verify_note(parse_note(log.note(size) + answer.body), witness.verifiers)
                cosigned.add((size, log.root(size)))
    assert max(size for size, _ in cosigned) == 40
    sides = {log: [size for size, root in cosigned if log.root(size) == root] for log in (LOG, FORK)}
    assert any(len(sizes) == len(cosigned) for sizes in sides.values()), "two histories were cosigned"


def test_a_conflict_is_told_only_once_its_size_is_durable(tmp_path: Path, opened: Opened) -> None:
    """The disk is held; nobody is told anything of what it has not stored."""
    make_witness(tmp_path / "w", LOG)
    go = threading.Event()

    def step(name: str) -> None:
        if name == "written":
            assert go.wait(60)

    witness = opened(tmp_path / "w", step=step)

    async def asking() -> list[int]:
        cosigned = asyncio.create_task(witness.add_checkpoint(LOG.request(0, 5), "a"))
        await decided(witness)
        conflict = asyncio.create_task(witness.add_checkpoint(LOG.request(0, 7), "a"))
        grown = asyncio.create_task(witness.add_checkpoint(LOG.request(5, 9), "a"))
        done, _ = await asyncio.wait({cosigned, conflict, grown}, timeout=0.2)
        assert not done
        assert witness.shown("0" * 64) is None
        assert witness.state.shown(bytes(32)) is None
        go.set()
        return [(await each).status for each in (cosigned, conflict, grown)]

    assert asyncio.run(asking()) == [200, 409, 200]
    assert witness.state.record_of(LOG.origin).size == 9


def test_a_client_that_leaves_changes_nothing_for_the_next(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    go = threading.Event()
    witness = opened(tmp_path / "w", step=lambda name: name == "written" and go.wait(60))

    async def asking() -> Answer:
        left = asyncio.create_task(witness.add_checkpoint(LOG.request(0, 5), "a"))
        await decided(witness)
        left.cancel()
        second = asyncio.create_task(witness.add_checkpoint(format_add_checkpoint(0, [], FORK.note(30)), "a"))
        await asyncio.sleep(0.05)
        go.set()
        return await second

    answer = asyncio.run(asking())
    assert (answer.status, answer.body) == (409, b"5\n")
    shown = witness.state.note_of(LOG.origin)
    assert shown is not None
    assert verify_note(parse_note(shown), witness.verifiers)
    assert witness.waiting == 0


def test_many_wait_for_one_sync(tmp_path: Path, opened: Opened) -> None:
    logs = [GrownLog(f"grown.example/{number}") for number in range(100)]
    make_witness(tmp_path / "w", *logs)
    come, signed = threading.Event(), threading.Semaphore(0)

    def step(name: str) -> None:
        if name == "signed":
            signed.release()
        if name == "written" and not come.is_set():  # the first ones' sync takes until all are signed
            for _ in logs:
                assert signed.acquire(timeout=60)
            come.set()

    witness = opened(tmp_path / "w", step=step)

    async def asking() -> list[Answer]:
        return await at_once(witness, [log.request(0, 9) for log in logs])

    assert [answer.status for answer in asyncio.run(asking())] == [200] * 100
    syncs, waits, _ = witness.state.syncs
    assert waits == 100
    assert syncs <= 5, "one for who came first, and few for all who came meanwhile"


def test_the_two_histories_do_differ() -> None:
    verify_consistency(20, 30, LOG.root(20), FORK.root(30), FORK.proof(20, 30))
    with pytest.raises(ProofError):
        verify_consistency(25, 30, LOG.root(25), FORK.root(30), FORK.proof(25, 30))
