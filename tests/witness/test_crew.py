"""The threads that sign: rows are written in the order of decisions, and a key that fails stops the witness."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from merklelog.errors import KeyFormatError, LocalError, StoppedError
from merklelog.formats import Checkpoint, Note, NoteSignature, Policy, SigningKey
from merklelog.formats.witness import AddCheckpoint
from merklelog.protocol.witness import Refused, judge_signatures
from merklelog.witness import keys
from merklelog.witness.crew import Crew
from merklelog.witness.service import Witness
from tests.witness.support import GrownLog, make_witness

FIRST, SECOND = GrownLog("grown.example/first"), GrownLog("grown.example/second")
Opened = Callable[..., Witness]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_gets_its_own_result_or_error(threads: int) -> None:
    crew = Crew(threads)

    def work(number: int) -> int:
        if number % 7 == 0:
            raise KeyFormatError(str(number))
        return number * number

    async def asking() -> list[int | BaseException]:
        def asked(number: int) -> asyncio.Future[int]:
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            crew.compute(lambda: work(number), done)
            return done

        return await asyncio.gather(*map(asked, range(100)), return_exceptions=True)

    answers = asyncio.run(asking())
    crew.close()
    crew.close()
    for number, answer in enumerate(answers):
        if number % 7:
            assert answer == number * number
        else:
            assert isinstance(answer, KeyFormatError)
            assert str(answer) == str(number)


@pytest.mark.parametrize("used", [False, True])
def test_who_comes_when_it_was_closed_is_told(used: bool) -> None:
    crew = Crew(2)

    async def asking() -> None:
        loop = asyncio.get_running_loop()
        if used:
            crew.compute(lambda: 1, before := loop.create_future())
            assert await before == 1
        await asyncio.to_thread(crew.close)
        crew.compute(lambda: 2, done := loop.create_future())
        with pytest.raises(StoppedError, match="closed"):
            await asyncio.wait_for(done, 60)
        crew.close()

    asyncio.run(asking())


def test_all_is_worked_off_in_order_also_what_nobody_waits_for_and_what_others_answer() -> None:
    crew, begun, go, order = Crew(1), threading.Event(), threading.Event(), list[int]()

    def hold() -> str:
        begun.set()
        assert go.wait(60)
        return "held"

    def work(number: int) -> str | None:
        order.append(number)
        return None if number == 5 else str(number)

    async def asking() -> None:
        loop = asyncio.get_running_loop()
        held: asyncio.Future[str] = loop.create_future()
        crew.compute(hold, held)
        assert await asyncio.to_thread(begun.wait, 60)
        asked = [loop.create_future() for _ in range(20)]
        for number, done in enumerate(asked):
            crew.compute(partial(work, number), done)
        asked[3].cancel()
        go.set()
        given = [await each for number, each in enumerate(asked) if number not in (3, 5)]
        assert given == [str(number) for number in range(20) if number not in (3, 5)]
        assert await held == "held"
        assert not asked[5].done()

    asyncio.run(asking())
    crew.close()
    assert order == list(range(20))


def test_rows_behind_one_that_is_not_signed_wait_for_it(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash could keep what was built on a decision, and not the decision."""
    make_witness(tmp_path / "w", FIRST, SECOND)
    witness = opened(tmp_path / "w")
    monkeypatch.setattr(witness, "_crew", crew := Crew(3))
    go, signed, real = threading.Event(), threading.Event(), keys.cosign

    def cosign(held: list[SigningKey], checkpoint: Checkpoint, now: int) -> tuple[NoteSignature, ...]:
        if checkpoint.origin == FIRST.origin:
            assert go.wait(60)
        else:
            signed.set()
        return real(held, checkpoint, now)

    monkeypatch.setattr("merklelog.witness.service.cosign", cosign)

    async def asking() -> list[int]:
        first = asyncio.create_task(witness.add_checkpoint(FIRST.request(0, 5), "a"))
        while not witness.state.record_of(FIRST.origin).size:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(witness.add_checkpoint(SECOND.request(0, 5), "a"))
        assert await asyncio.to_thread(signed.wait, 60)
        done, _ = await asyncio.wait({first, second}, timeout=0.2)
        assert not done
        go.set()
        return [(await each).status for each in (first, second)]

    assert asyncio.run(asking()) == [200, 200]
    witness.close()
    crew.close()


def test_a_key_that_can_not_sign_stops_it(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided is not signed: nothing is recorded, and nothing more is decided."""
    make_witness(tmp_path / "w", FIRST)
    witness = opened(tmp_path / "w")

    def broken(*_arguments: object) -> None:
        raise LocalError("no such algorithm")

    with monkeypatch.context() as patched:
        patched.setattr("merklelog.witness.service.cosign", broken)
        assert asyncio.run(witness.add_checkpoint(FIRST.request(0, 5), "")).status == 503
    assert isinstance(witness.state.failure, LocalError)
    assert asyncio.run(witness.add_checkpoint(FIRST.request(0, 5), "")).status == 503
    witness.close()
    again = opened(tmp_path / "w")
    assert again.state.record_of(FIRST.origin).size == 0
    assert asyncio.run(again.add_checkpoint(FIRST.request(0, 5), "")).status == 200


def held_judge(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Whoever verifies a log's signature says that it began, and goes on when it is told to."""
    begun, go = threading.Event(), threading.Event()

    def judge(policy: Policy | None, request: AddCheckpoint) -> Note | Refused:
        begun.set()
        assert go.wait(60)
        return judge_signatures(policy, request)

    monkeypatch.setattr("merklelog.witness.service.judge_signatures", judge)
    return begun, go


def test_a_log_that_is_removed_while_its_signature_is_verified_is_not_cosigned(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_witness(tmp_path / "w", FIRST, SECOND)
    witness = opened(tmp_path / "w")
    begun, go = held_judge(monkeypatch)

    async def asking() -> list[int]:
        asked = [
            asyncio.create_task(witness.add_checkpoint(log.request(0, 5), "a")) for log in (FIRST, SECOND)
        ]
        assert await asyncio.to_thread(begun.wait, 60)
        for path in (tmp_path / "w" / "logs").iterdir():
            if FIRST.origin in path.read_text():
                path.unlink()
        assert witness.reload() == 1
        go.set()
        return [(await each).status for each in asked]

    assert asyncio.run(asking()) == [503, 200]
    assert witness.state.record_of(FIRST.origin).size == 0


def test_clients_that_leave_do_not_make_room_before_their_requests_are_done(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who asks and leaves could pile up requests without end; what was not begun by then never is."""
    make_witness(tmp_path / "w", FIRST, SECOND)
    witness = opened(tmp_path / "w")
    witness.config = replace(witness.config, waiting=3)
    monkeypatch.setattr(witness, "_crew", crew := Crew(1))
    begun, go = held_judge(monkeypatch)

    async def asking() -> None:
        bodies = (FIRST.request(0, 5), SECOND.request(0, 5), SECOND.request(0, 6))
        asked = [asyncio.create_task(witness.add_checkpoint(body, "a")) for body in bodies]
        assert await asyncio.to_thread(begun.wait, 60)
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
        assert witness.waiting == 3
        assert (await witness.add_checkpoint(SECOND.request(0, 7), "a")).status == 503
        go.set()
        ends = asyncio.get_running_loop().time() + 60
        while witness.waiting:
            assert asyncio.get_running_loop().time() < ends
            await asyncio.sleep(0.01)
        assert witness.state.record_of(FIRST.origin).size == 5  # it was at it already
        assert witness.state.record_of(SECOND.origin).size == 0
        assert (await witness.add_checkpoint(SECOND.request(0, 7), "a")).status == 200

    asyncio.run(asking())
    witness.close()
    crew.close()
