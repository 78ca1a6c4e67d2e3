"""Cosignatures are collected whatever some witnesses do: slow, silent, wrong, broken or huge, the others count."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from merklelog.cosign.client import Offer, WitnessClient
from merklelog.cosign.collector import Collector, Cosigned
from merklelog.formats import format_vkey, parse_checkpoint, parse_policy
from merklelog.formats.witness import SIZE_TYPE, format_size
from merklelog.protocol.cosigning import peers
from merklelog.protocol.verdict import evaluate_policy
from tests.witness.support import GrownLog
from tests.witness_client.faulty import TEXT, Scripted, key, serve

LOG = GrownLog()
PATIENCE = 60


class Round:
    """A collector of the witnesses given, two of which are enough."""

    def __init__(self, witnesses: list[Scripted], stack: ExitStack, *, seconds: float, enough: int) -> None:
        served = [stack.enter_context(serve(each)) for each in witnesses]
        lines = [f"log {format_vkey(LOG.key.verifier)}"]
        lines += [f"witness w{n} {format_vkey(each.verifier)} {each.url}" for n, each in enumerate(served)]
        names = " ".join(f"w{n}" for n in range(len(served)))
        lines += [f"group q {enough} {names}", "quorum q", ""]
        self.policy = parse_policy("\n".join(lines).encode())
        self.results: queue.Queue[Cosigned] = queue.Queue()
        self.alarms = threading.Event()
        self.collector = Collector(
            self.policy,
            [WitnessClient(peer, None) for peer in peers(self.policy)],
            seconds=seconds,
            done=self.results.put,
            alarmed=self.alarms.set,
        )
        stack.callback(self.collector.close)

    def offer(self, size: int) -> None:
        self.collector.offer(Offer(parse_checkpoint(LOG.note(size)), LOG.proof))

    def cosigners(self, size: int) -> set[bytes]:
        """Who cosigned that size, in the next result that is of it."""
        while True:
            found = self.results.get(timeout=PATIENCE)
            if found.offer.size == size:
                verdict = evaluate_policy(self.policy, parse_checkpoint(found.note))
                return {each.witness.name for each in verdict.cosigners}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def begin(stack: ExitStack, *witnesses: Scripted, seconds: float = 3.0, enough: int = 2) -> Round:
    return Round(list(witnesses), stack, seconds=seconds, enough=enough)


def faults() -> dict[str, Scripted]:
    """Bad witnesses by what is wrong with them."""
    return {
        "500s": Scripted(key(2), lambda _n: (500, TEXT, b"oops", {})),
        "megabytes": Scripted(key(2), lambda _n: (200, TEXT, b"x" * (2 << 20), {})),
        "garbage": Scripted(key(2), lambda _n: (200, TEXT, b"\xff\x00\n", {})),
        "redirects": Scripted(key(2), lambda _n: (301, TEXT, b"", {"Location": "http://127.0.0.1:1/"})),
        "unknown log": Scripted(key(2), lambda _n: (404, TEXT, b"unknown log\n", {})),
        "other size each time": Scripted(key(2), lambda n: (409, SIZE_TYPE, format_size(n % 3), {})),
        "no size": Scripted(key(2), lambda _n: (409, SIZE_TYPE, b"many\n", {})),
        "lies in its length": Scripted(key(2), lambda _n: (200, TEXT, b"x", {"Content-Length": "99"})),
        "drips": Scripted(key(2), lambda _n: (200, TEXT, b"x" * 100_000, {}), drip=0.05),
        "says nothing": Scripted(key(2), silent=threading.Event()),
    }


@pytest.mark.parametrize("wrong", faults())
def test_one_bad_witness_is_named_and_the_others_count(stack: ExitStack, wrong: str) -> None:
    bad = faults()[wrong]
    scene = begin(stack, Scripted(key(0)), Scripted(key(1)), bad, seconds=1.0)
    for size in (3, 8, 20):
        scene.offer(size)
        assert scene.cosigners(size) == {b"w0", b"w1"}
    ended = threading.Event()
    for _ in range(600):
        if (error := scene.collector.status[2].error) is not None:
            break
        ended.wait(0.1)
    assert error
    assert [each.size for each in scene.collector.status[:2]] == [20, 20]
    assert not scene.alarms.is_set()


def test_a_cosignature_of_another_key_does_not_count(stack: ExitStack) -> None:
    wrong = Scripted(key(5))
    scene = begin(stack, Scripted(key(0)), wrong)
    wrong.signer = key(6)  # not the one of the policy
    scene.offer(4)
    with pytest.raises(queue.Empty):
        scene.results.get(timeout=1.0)
    assert "other keys" in str(scene.collector.status[1].error)


def test_a_size_that_is_not_known_is_asked_for_and_remembered(stack: ExitStack) -> None:
    known, empty = Scripted(key(0), size=5), Scripted(key(1))
    scene = begin(stack, known, empty)
    scene.offer(7)
    assert scene.cosigners(7) == {b"w0", b"w1"}
    scene.offer(9)
    assert scene.cosigners(9) == {b"w0", b"w1"}
    assert known.asked == [(0, 7), (5, 7), (7, 9)]
    assert empty.asked == [(0, 7), (7, 9)]


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_busy_is_asked_again(stack: ExitStack, status: int) -> None:
    """Within the same round, and not before it wants to be."""
    busy = Scripted(key(1), lambda n: (status, TEXT, b"", {"Retry-After": "1"}) if n < 3 else None)
    scene = begin(stack, Scripted(key(0)), busy, seconds=PATIENCE)
    scene.offer(6)
    assert scene.cosigners(6) == {b"w0", b"w1"}
    assert busy.asked == [(0, 6)] * 3


def test_one_size_is_offered_until_its_time_is_over_then_the_newest(stack: ExitStack) -> None:
    """Sizes between are left out, and none is ever smaller than one before."""
    slow = Scripted(key(1), silent=threading.Event())
    other = Scripted(key(0))
    scene = begin(stack, other, slow, seconds=0.5)
    for size in (2, 3, 4, 9):
        scene.offer(size)
    assert slow.silent is not None
    threading.Timer(0.8, slow.silent.set).start()
    assert scene.cosigners(9) == {b"w0", b"w1"}
    assert [size for _, size in other.asked] == sorted({size for _, size in other.asked})
    assert other.asked[-1][1] == 9


def test_a_quorum_without_those_who_are_away_does_not_wait_for_them(stack: ExitStack) -> None:
    away = Scripted(key(2), silent=threading.Event())
    scene = begin(stack, Scripted(key(0)), Scripted(key(1)), away, seconds=PATIENCE)
    for size in (1, 2, 3):
        scene.offer(size)
        assert scene.cosigners(size) == {b"w0", b"w1"}  # a round may last a minute, and none does


@pytest.mark.parametrize(
    "answer",
    [(409, SIZE_TYPE, format_size(1_000), {}), (422, TEXT, b"", {})],
    ids=["more than was signed", "another tree"],
)
def test_what_no_witness_should_ever_say_is_an_alarm(
    stack: ExitStack, answer: tuple[int, str, bytes, dict[str, str]]
) -> None:
    scene = begin(stack, Scripted(key(0)), Scripted(key(1), lambda _n: answer))
    scene.offer(4)
    assert scene.alarms.wait(PATIENCE)
    assert [each.alarm for each in scene.collector.status] == [False, True]
