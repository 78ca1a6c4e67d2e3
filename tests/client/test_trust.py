"""Whom a client believes, what it remembers of a log, and when it tries again."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import merklelog
from merklelog.client.retry import Attempts, Retry
from merklelog.client.state import StateFile
from merklelog.client.trust import Trust, policy_of, trusted_head
from merklelog.errors import (
    DamagedError,
    FormatError,
    KeyFormatError,
    NotFoundError,
    OverloadedError,
    PolicyError,
    PolicyUnmetError,
    ProofError,
    SignatureError,
    StorageError,
    UnavailableError,
    UsageError,
)
from merklelog.formats import format_policy, format_vkey, single_log_policy
from merklelog.tree import Hash

ORIGIN = "trust.example/log"


class Made:
    """A log's keys and its checkpoints of sizes 0 to 4."""

    def __init__(self, path: Path, origin: str = ORIGIN) -> None:
        settings = {"store.min_free_bytes": 0}
        self.vkeys = merklelog.create_log(path, origin, settings=settings)
        with merklelog.open(path) as log:
            self.notes = [log.checkpoint()]
            self.notes += [log.append(b"%d" % i).checkpoint for i in range(4)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made") / "log")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("other") / "log", "other.example/log")


# --- what a caller may say ------------------------------------------------------------------------


def test_every_way_to_say_whom_to_trust(made: Made, tmp_path: Path) -> None:
    want = single_log_policy(made.vkeys)
    texts = [format_vkey(key) for key in made.vkeys]
    keys, policy = tmp_path / "log.vkeys", tmp_path / "log.policy"
    keys.write_text("\n".join(texts) + "\n")
    policy.write_bytes(format_policy(want))
    assert policy_of(want) is want
    for trust in (made.vkeys, texts, keys, str(keys)):
        assert policy_of(trust).logs == want.logs
    assert [log.key for log in policy_of(policy).logs] == list(made.vkeys[:2])
    assert [log.key for log in policy_of(texts[0]).logs] == [made.vkeys[0]]
    assert [log.key for log in policy_of(made.vkeys[0]).logs] == [made.vkeys[0]]


def test_trust_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    for content, error in (
        (b"nonsense\n", KeyFormatError),
        (b"log\tx\n", PolicyError),
        (b"\xff+\n", KeyFormatError),
    ):
        bad.write_bytes(content)
        with pytest.raises(error, match="bad"):
            policy_of(bad)
    bad.write_bytes(b"")
    with pytest.raises(PolicyError):
        policy_of(bad)
    with pytest.raises(UsageError, match="none: No such file"):
        policy_of(tmp_path / "none")
    with pytest.raises(UsageError, match="no verifier key"):
        policy_of([])
    with pytest.raises(KeyFormatError):
        policy_of("a+b+c")


# --- the newest head ------------------------------------------------------------------------------


def test_a_head_settles_when_it_is_proven_against_all_there_is(made: Made, tmp_path: Path) -> None:
    policy = policy_of(made.vkeys)
    state = StateFile(tmp_path / "state")
    trust, beside = Trust(policy, state), Trust(policy, state)
    heads = [trusted_head(trust.verify(note)) for note in made.notes]
    assert trust.head is None
    assert trust.origin == ORIGIN
    assert trust.settle(heads[0], ()) is None
    assert trust.settle(heads[2], ()) is None  # every history begins with the empty tree
    assert trust.settle(heads[3], ()) == heads[2]
    assert trust.head == heads[2]
    assert trust.settle(heads[3], [heads[2]]) is None
    assert state.read() == made.notes[3]
    # An older head is compared too, and moves nothing.
    assert trust.settle(heads[1], ()) == heads[3]
    assert trust.settle(heads[1], [heads[3]]) is None
    assert trust.head == heads[3]
    # Another process knows nothing yet, and hears of what is in the file before it writes there.
    assert beside.settle(heads[4], ()) == heads[3]
    assert beside.head is None
    assert beside.settle(heads[4], [heads[3]]) is None
    assert beside.head == heads[4]
    assert Trust(policy, state).head == heads[4]
    # What moves nothing here asks no file; what moves something hears of what others wrote there.
    assert trust.settle(heads[3], ()) is None
    assert trust.head == heads[3]
    assert trust.settle(heads[4], [heads[3]]) is None
    assert trust.head == heads[4]


def test_a_head_that_begins_one_of_the_past_begins_the_newest_too(made: Made) -> None:
    trust = Trust(policy_of(made.vkeys))
    heads = [trusted_head(trust.verify(note)) for note in made.notes]
    for before, head in pairwise([None, *heads[2:]]):
        assert trust.settle(head, [before] if before else []) is None
    assert trust.settle(heads[1], ()) == heads[4]
    assert trust.settle(heads[1], [heads[2]]) is None
    # But one that was never trusted here proves nothing of what is.
    forked = replace(heads[3], root=Hash(b"x" * 32))
    assert trust.settle(heads[1], [forked]) == heads[4]
    assert trust.settle(forked, [heads[2]]) == heads[4]
    assert trust.head == heads[4]


def test_a_state_file_that_was_set_back_does_not_set_back_what_runs(made: Made, tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state")
    trust = Trust(policy_of(made.vkeys), state)
    heads = [trusted_head(trust.verify(note)) for note in made.notes]
    assert trust.settle(heads[3], ()) is None
    (tmp_path / "state").write_bytes(made.notes[1])
    assert trust.settle(heads[4], [heads[3]]) == heads[1]
    assert trust.head == heads[3]
    assert trust.settle(heads[4], [heads[3], heads[1]]) is None
    assert trust.head == heads[4]
    assert state.read() == made.notes[4]


def test_a_state_file_that_is_gone_is_written_anew(made: Made, tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state")
    trust = Trust(policy_of(made.vkeys), state)
    heads = [trusted_head(trust.verify(note)) for note in made.notes]
    assert trust.settle(heads[3], ()) is None
    (tmp_path / "state").unlink()
    assert trust.settle(heads[4], [heads[3]]) is None
    assert state.read() == made.notes[4]


def test_a_state_file_is_not_believed_either(made: Made, other: Made, tmp_path: Path) -> None:
    policy = policy_of(made.vkeys)
    path = tmp_path / "state"
    note = made.notes[2]
    cases: list[tuple[bytes, type[Exception]]] = [
        (b"", DamagedError),
        (b"nothing\n", DamagedError),
        (note.replace(b"\n2\n", b"\n3\n", 1), SignatureError),
        (other.notes[1], PolicyUnmetError),
        (b"x" * (2 << 20), DamagedError),
    ]
    for content, error in cases:
        path.write_bytes(content)
        with pytest.raises(error, match="state"):
            Trust(policy, StateFile(path))
        assert path.read_bytes() == content
    with pytest.raises(StorageError, match="state file"):
        Trust(policy, StateFile(tmp_path))
    with pytest.raises(StorageError, match="no-such-folder"):
        Trust(policy, StateFile(tmp_path / "no-such-folder" / "state")).settle(
            trusted_head(Trust(policy).verify(note)), ()
        )


def test_another_log_under_the_same_policy_is_refused(made: Made, other: Made) -> None:
    policy = policy_of([made.vkeys[0], other.vkeys[0]])
    trust = Trust(policy)
    assert trust.origin is None
    assert trust.settle(trusted_head(trust.verify(made.notes[1])), ()) is None
    assert trust.origin == ORIGIN
    with pytest.raises(ProofError, match=r"other\.example/log"):
        trust.verify(other.notes[1])
    with pytest.raises(FormatError):
        trust.verify(b"nothing\n")


def test_threads_that_settle_at_once_end_at_the_newest(made: Made, tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state")
    policy = policy_of(made.vkeys)
    known = [trusted_head(Trust(policy).verify(note)) for note in made.notes]
    trusts = [Trust(policy, state) for _ in range(4)]

    def settle(trust: Trust) -> None:
        for head in known:
            assert trust.settle(head, known) is None

    threads = [threading.Thread(target=settle, args=(trust,)) for trust in trusts for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.read() == made.notes[4]
    assert {trust.head for trust in trusts} == {known[4]}


# --- trying again ---------------------------------------------------------------------------------


class Time:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_and_end_at_the_deadline() -> None:
    clock = Time()
    attempts = Attempts(Retry(total=10, attempt=4, first=1, most=3), clock=clock, draw=lambda: 1.0)
    pauses: list[float] = []
    assert attempts.seconds == 4
    for _ in range(4):
        pauses.append(attempts.pause(UnavailableError("gone")))
        clock.now += pauses[-1]
    with pytest.raises(UnavailableError, match=r"gone \(tried 5 times in 9\.0 s\)"):
        attempts.pause(UnavailableError("gone"))
    assert pauses == [1, 2, 3, 3]
    assert attempts.left == 1
    assert attempts.seconds == 1


def test_a_pause_is_never_shorter_than_the_server_asked_for() -> None:
    for draw, least, most in ((0.0, 5.0, 5.0), (1.0, 5.0, 6.25)):
        attempts = Attempts(Retry(total=60), clock=Time(), draw=lambda draw=draw: draw)
        assert least <= attempts.pause(OverloadedError("full", 5.0)) <= most
    assert 0.025 <= Attempts(Retry()).pause(UnavailableError("gone")) <= 0.05
    with pytest.raises(OverloadedError, match=r"^full$"):
        Attempts(Retry(total=4), clock=Time()).pause(OverloadedError("full", 5.0))


def test_what_would_fail_again_is_raised_at_once() -> None:
    error = NotFoundError("no such entry")
    with pytest.raises(NotFoundError) as caught:
        Attempts(Retry()).pause(error)
    assert caught.value is error
    for name in ("total", "attempt", "first", "most"):
        with pytest.raises(UsageError, match=name):
            Retry(**{name: 0.0})
