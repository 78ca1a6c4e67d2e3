"""A checkpoint that lacks the policy's quorum alone: what is beside it is of the same tree, and may come later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from merklelog.client.appends import Appends
from merklelog.client.heads import head_of_size, newest_head
from merklelog.client.retry import Retry
from merklelog.client.steps import Ask, Local, Logic, Steps
from merklelog.client.transport import Appended, Batch
from merklelog.client.trust import Trust
from merklelog.errors import ForkError, NotFoundError, PolicyUnmetError, UnavailableError
from merklelog.formats import (
    Checkpoint,
    Note,
    SignatureType,
    format_checkpoint_text,
    format_note,
    format_vkey,
    generate_signing_key,
    parse_policy,
    sign_checkpoint,
)
from merklelog.tree import Hash, TreeSize, leaf_hash

LOG = generate_signing_key("quorum.example/log", SignatureType.ED25519)
STRANGER = generate_signing_key("quorum.example/log", SignatureType.ED25519)
WITNESS = generate_signing_key("w.example/w", SignatureType.COSIGNATURE_ED25519)
POLICY = parse_policy(
    f"log {format_vkey(LOG.verifier)}\nwitness w {format_vkey(WITNESS.verifier)}\nquorum w\n".encode()
)
ROOT, OTHER = leaf_hash(b"one"), Hash(bytes(32))
ONCE = Retry(total=0.01, first=0.001)


def note(root: Hash, *, cosigned: bool = False, key: Any = LOG) -> bytes:
    checkpoint = Checkpoint(LOG.verifier.name, TreeSize(1), root)
    lines = [sign_checkpoint(checkpoint, key)]
    if cosigned:
        lines.append(sign_checkpoint(checkpoint, WITNESS, 1_700_000_000))
    return format_note(Note(format_checkpoint_text(checkpoint), tuple(lines)))


def carried_out(steps: Steps[Any], **answers: Any) -> Any:
    """What steps give whose questions have these answers, errors among them; without waiting."""
    answer: Any = None
    while True:
        try:
            step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = step.call() if isinstance(step, Local) else None
        if isinstance(step, Ask):
            answer = answers.get(step.method)


class Source:
    """A copy whose newest checkpoint, of size 1, is not cosigned, and what is shown beside it."""

    def __init__(self, beside: bytes | None, newest: bytes) -> None:
        self._beside = beside
        self._newest = newest

    def checkpoint(self, size: int | None = None) -> bytes:
        return self._newest

    def pointer(self, key: str) -> bytes | None:
        return self._beside

    def stored_sizes(self) -> list[int]:
        return [1]


def reads(beside: bytes, newest: bytes) -> list[Callable[[], Any]]:
    """Each way to the newest checkpoint, or to the one of a size."""
    source: Any = Source(beside, newest)
    logic = Logic(Trust(POLICY), ONCE)
    return [
        lambda: newest_head(source, POLICY),
        lambda: head_of_size(source, POLICY, 1),
        lambda: carried_out(logic.checkpoint(), checkpoint=newest, witnessed=beside),
        lambda: carried_out(logic.checkpoint(1), checkpoint=newest, witnessed=beside),
    ]


def test_two_roots_for_one_size_are_a_fork_whoever_cosigned() -> None:
    beside, newest = note(OTHER, cosigned=True), note(ROOT)
    for read in reads(beside, newest):
        with pytest.raises(ForkError, match="two roots for size 1") as fork:
            read()
        assert (fork.value.first, fork.value.second) == (newest, beside)
    # What the log did not sign accuses nobody.
    for read in reads(beside, note(ROOT, cosigned=True, key=STRANGER)):
        assert read().checkpoint.root == OTHER
    for read in reads(note(ROOT, cosigned=True), newest):
        assert read().checkpoint.root == ROOT


def test_an_append_waits_for_the_quorum_and_says_that_it_is_stored() -> None:
    newest, none = note(ROOT), NotFoundError("none is shown")
    for wait in ("integrated", "published"):
        batch = Batch((b"one",), wait=wait)
        appended = Appended([0], newest, ())
        appends = Appends(Logic(Trust(POLICY), ONCE))
        with pytest.raises(UnavailableError, match="entry 0 is stored: no checkpoint that is shown meets"):
            carried_out(appends.append(batch), append=appended, grown=newest, witnessed=none)
        found = [type("Found", (), {"leaf": ROOT, "proof": ()})]
        beside = note(ROOT, cosigned=True)
        asked = {"append": appended, "grown": newest, "witnessed": beside, "inclusions": found}
        assert carried_out(appends.append(batch), **asked).note == beside
        # Where the log itself did not sign it, there is nothing to wait for.
        stranger = Appended([0], note(ROOT, cosigned=True, key=STRANGER), ())
        with pytest.raises(PolicyUnmetError, match="no listed key of that log"):
            carried_out(appends.append(batch), append=stranger)


def test_who_follows_waits_for_the_quorum() -> None:
    steps = Logic(Trust(POLICY), ONCE).grown(0, 0.001)
    with pytest.raises(UnavailableError, match="no checkpoint that is shown meets"):
        carried_out(steps, grown=note(ROOT), witnessed=NotFoundError("none is shown"))
