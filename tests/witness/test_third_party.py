"""A witness that others wrote, as a process: it cosigns our logs unchanged, and answers as ours does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.formats import (
    Note,
    Policy,
    SigningKey,
    VerifierKey,
    format_note,
    format_vkey,
    parse_checkpoint,
    parse_policy,
)
from merklelog.formats.witness import SIZE_TYPE, format_add_checkpoint, parse_cosignatures, parse_size
from merklelog.protocol.verdict import PolicyVerdict, evaluate_policy
from merklelog.tree import Hash
from tests.support.omniwitness import WHAT, keys, omniwitness
from tests.support.witness_programs import omniwitness as program
from tests.witness.support import Answered, GrownLog, Process, make_witness, served

REAL = "grown.example/real"
LOG, FORK = GrownLog("grown.example/made"), GrownLog("grown.example/made", salt="fork", fork=10)
OTHER, UNKNOWN = GrownLog("grown.example/other"), GrownLog("grown.example/unknown")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the log and both witnesses are."""
    return tmp_path_factory.mktemp("third")


@pytest.fixture(scope="module")
def log_keys(folder: Path) -> tuple[VerifierKey, ...]:
    """The keys of a real log, made for these tests."""
    return merklelog.create_log(folder / "log", REAL, settings={"store.min_free_bytes": 0})


@pytest.fixture(scope="module")
def theirs(
    folder: Path, log_keys: tuple[VerifierKey, ...], need: Callable[[bool, str], None]
) -> Iterator[Process]:
    need(program() is not None, WHAT)
    with omniwitness(folder / "theirs", [log_keys[0], LOG.key.verifier, OTHER.key.verifier]) as process:
        yield process


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[Process]:
    make_witness(folder / "ours", LOG, OTHER)
    with served(folder / "ours") as process:
        yield process


def checked(log: list[VerifierKey], note: bytes, answer: Answered, rule: str) -> PolicyVerdict:
    """What a policy says of a checkpoint with the lines that it was answered with."""
    assert answer.status == 200, (answer.status, answer.body)
    signed = parse_checkpoint(note)
    whole = Note(signed.note.text, (*signed.note.signatures, *parse_cosignatures(answer.body)))
    return evaluate_policy(policy(log, rule), parse_checkpoint(format_note(whole)))


def policy(log: list[VerifierKey], rule: str) -> Policy:
    lines = [f"log {format_vkey(key)}" for key in log]
    lines += [f"witness w{number} {format_vkey(key.verifier)}" for number, key in enumerate(keys())]
    return parse_policy("\n".join([*lines, "group both any w0 w1", f"quorum {rule}", ""]).encode())


def test_it_cosigns_a_real_log_as_it_grows(
    folder: Path, log_keys: tuple[VerifierKey, ...], theirs: Process
) -> None:
    """From nothing, over a tile's border, and again unchanged; with each of its keys."""
    old = 0
    for count in (3, 250, 10, 0, 300):
        with merklelog.open(folder / "log") as log:
            if count:
                log.append_batch([b"%d" % number for number in range(old, old + count)])
        with merklelog.open_reader(folder / "log") as reader:
            note = reader.checkpoint()
            size = parse_checkpoint(note).checkpoint.size
            assert size == old + count
            proof = reader.consistency_proof(old, size) if 0 < old < size else []
        answer = theirs.add(format_add_checkpoint(old, proof, note))
        for rule in ("w0", "w1", "both"):
            verdict = checked(list(log_keys[:2]), note, answer, rule)
            assert verdict.existed_by is not None
        old = size


def wrong_root(log: GrownLog, old: int, new: int) -> bytes:
    """A proof that leads elsewhere."""
    return format_add_checkpoint(old, [*log.proof(old, new)[:-1], Hash(b"\x01" * 32)], log.note(new))


def by_another_key(log: GrownLog, old: int, new: int) -> bytes:
    other = SigningKey(log.origin, log.key.type, b"\x77" * 32)
    return format_add_checkpoint(old, log.proof(old, new), log.note(new, [other]))


STEPS: list[tuple[str, bytes, int]] = [
    ("a log that it does not know", UNKNOWN.request(0, 5), 404),
    ("nobody's signature", by_another_key(LOG, 0, 5), 403),
    ("the first", LOG.request(0, 11), 200),
    ("the first again", LOG.request(0, 11), 409),
    ("the same size", LOG.request(11, 11), 200),
    ("another root of that size", FORK.request(11, 11), 422),
    ("a size that it is not at", LOG.request(4, 20), 409),
    ("an old size larger than the checkpoint's", format_add_checkpoint(11, [], LOG.note(7)), 400),
    ("a proof that leads elsewhere", wrong_root(LOG, 11, 20), 422),
    ("no proof", format_add_checkpoint(11, [], LOG.note(20)), 422),
    ("a fork", FORK.request(11, 20), 422),
    ("the next", LOG.request(11, 20), 200),
    ("signed by both of a log's keys", format_add_checkpoint(0, [], OTHER.note(9, [OTHER.key, OTHER.mldsa])), 200),
    ("nothing", b"", 400),
    ("half a request", LOG.request(20, 30)[:40], 400),
    ("a size with a sign", LOG.request(20, 30).replace(b"old 20", b"old +20"), 400),
    ("the size after", LOG.request(20, 30), 200),
]  # fmt: skip


# Where it does not answer as tlog-witness says; a log must bear that.
THEIRS = {"a log that it does not know": 500, "nobody's signature": 500}


def test_both_answer_the_same(theirs: Process, ours: Process) -> None:
    """One sequence of requests for both: the same statuses, and the same sizes in a conflict."""
    for what, body, status in STEPS:
        got = [witness.add(body) for witness in (theirs, ours)]
        assert [each.status for each in got] == [THEIRS.get(what, status), status], what
        if status == 409:
            assert [each.headers["content-type"] for each in got] == [SIZE_TYPE] * 2
            assert len({parse_size(each.body) for each in got}) == 1
        if status == 200:
            assert all(parse_cosignatures(each.body) for each in got)


def test_it_goes_on_from_where_it_was_when_it_is_killed(
    folder: Path, need: Callable[[bool, str], None]
) -> None:
    need(program() is not None, WHAT)
    grown = GrownLog("grown.example/killed")
    for old, new in ((0, 5), (5, 40)):
        with omniwitness(folder / "killed", [grown.key.verifier]) as process:
            if old:
                assert process.add(grown.request(0, new)).body == b"%d\n" % old
            verdict = checked(
                [grown.key.verifier], grown.note(new), process.add(grown.request(old, new)), "both"
            )
            assert len(verdict.cosigners) == 2
