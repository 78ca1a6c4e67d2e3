"""Long answers: in parts, each with its time, and all that are under way with a bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from merklelog.servers.http_send import PART, Answers
from merklelog.servers.http_values import BYTES, IMMUTABLE, answer


class Client:
    """It takes so many messages, then none until it `may`; `leaves` with an error instead."""

    def __init__(self, takes: int, *, leaves: bool = False) -> None:
        self._takes = takes
        self._leaves = leaves
        self._more = asyncio.Event()
        self.got: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        while len(self.got) >= self._takes:
            if self._leaves:
                raise ConnectionResetError("the client has gone")
            self._more.clear()
            await self._more.wait()
        self.got.append(message)

    async def may(self, take: int) -> None:
        """Take so many messages in all, and let all that comes of it happen."""
        self._takes = take
        self._more.set()
        await settled()

    @property
    def body(self) -> bytes:
        return b"".join(each["body"] for each in self.got[1:])


async def settled() -> None:
    """Nothing can go on by itself."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_every_length_comes_whole() -> None:
    async def run() -> None:
        for length in (0, 1, PART, PART + 1, 2 * PART, 3 * PART + 7, 9 * PART, 16 * PART + 1):
            body, client = bytes(range(256)) * (length // 256) + bytes(length % 256), Client(1_000)
            await Answers().send(answer(body, BYTES, IMMUTABLE), client.send)
            assert client.body == body
            assert [each.get("more_body", False) for each in client.got[1:]][-1] is False
            assert max(len(each["body"]) for each in client.got[1:]) <= PART

    asyncio.run(run())


@pytest.mark.parametrize("leaves", [False, True])
def test_who_takes_nothing_or_leaves_is_let_go_of(leaves: bool) -> None:
    async def run() -> None:
        client = Client(2, leaves=leaves)
        answers, long = Answers(write_seconds=0.05, most=8 * PART), answer(bytes(4 * PART), BYTES, IMMUTABLE)
        await asyncio.wait_for(answers.send(long, client.send), 60)
        assert client.body == bytes(PART)
        others = [Client(1_000), Client(1_000)]  # what it held counts no more: there is room for both
        await asyncio.gather(*(answers.send(long, each.send) for each in others))
        assert [len(each.body) for each in others] == [4 * PART] * 2

    asyncio.run(run())


def test_beyond_the_bound_those_that_took_nothing_for_longest_are_cut_off() -> None:
    async def run() -> None:
        answers = Answers(most=10 * PART, idle_seconds=0)
        long = answer(bytes(4 * PART), BYTES, IMMUTABLE)
        clients = [Client(2) for _ in range(5)]
        sends = [asyncio.create_task(answers.send(long, each.send)) for each in clients]
        await asyncio.wait(sends[:3], timeout=60)
        assert [each.done() for each in sends] == [True, True, True, False, False]
        for each in clients:
            await each.may(1_000)
        await asyncio.gather(*sends)
        assert [len(each.body) // PART for each in clients] == [1, 1, 1, 4, 4]

    asyncio.run(run())


def test_who_reads_steadily_stays_and_counts_with_what_is_left() -> None:
    async def run() -> None:
        answers = Answers(most=20 * PART, idle_seconds=0)
        long = answer(bytes(8 * PART), BYTES, IMMUTABLE)
        clients = [Client(2) for _ in range(4)]
        steady = clients[0]
        sends: list[asyncio.Task[None]] = []
        for each in clients[:3]:  # the steady one began first, and each other one after it took a part
            await steady.may(2 + len(sends))
            sends.append(asyncio.create_task(answers.send(long, each.send)))
            await settled()
        assert [each.done() for each in sends] == [False, True, False]
        await steady.may(5)  # half of it is still to come
        sends.append(asyncio.create_task(answers.send(long, clients[3].send)))
        await settled()
        assert [each.done() for each in sends] == [False, True, False, False]
        for each in clients:
            await each.may(1_000)
        await asyncio.gather(*sends)
        assert [len(each.body) // PART for each in clients] == [8, 1, 8, 8]

    asyncio.run(run())


def test_where_all_are_being_read_one_more_is_refused() -> None:
    async def run() -> None:
        answers = Answers(most=10 * PART, idle_seconds=60)
        long = answer(bytes(4 * PART), BYTES, IMMUTABLE)
        clients = [Client(2) for _ in range(3)]
        sends = [asyncio.create_task(answers.send(long, each.send)) for each in clients]
        await settled()
        assert [each.done() for each in sends] == [False, False, True]
        assert clients[2].got[0]["status"] == 503
        assert b"TOO_MANY_ANSWERS" in clients[2].body
        assert (b"retry-after", b"1") in clients[2].got[0]["headers"]
        for each in clients:
            await each.may(1_000)
        await asyncio.gather(*sends)
        again = Client(1_000)
        await answers.send(long, again.send)
        assert [len(each.body) // PART for each in (*clients[:2], again)] == [4, 4, 4]

    asyncio.run(run())
