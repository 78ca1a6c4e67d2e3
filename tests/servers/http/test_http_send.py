"""Long answers: in parts, each with its time, and all that are under way with a bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from merklelog.servers.http_send import PART, Answers
from merklelog.servers.http_values import BYTES, IMMUTABLE, answer


class Client:
    """It takes so many messages, then none until it is told to `go_on`; `leaves` with an error instead."""

    def __init__(self, takes: int, *, leaves: bool = False) -> None:
        self._takes = takes
        self._leaves = leaves
        self.go_on = asyncio.Event()
        self.got: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        if len(self.got) >= self._takes:
            if self._leaves:
                raise ConnectionResetError("the client has gone")
            await self.go_on.wait()
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(each["body"] for each in self.got[1:])


def test_every_length_comes_whole() -> None:
    async def run() -> None:
        for length in (0, 1, PART, PART + 1, 2 * PART, 3 * PART + 7):
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
        answers = Answers(write_seconds=0.05)
        await asyncio.wait_for(answers.send(answer(bytes(4 * PART), BYTES, IMMUTABLE), client.send), 60)
        assert client.body == bytes(PART)
        other = Client(1_000)  # and what it held counts no more
        await Answers(most=0).send(answer(bytes(4 * PART), BYTES, IMMUTABLE), other.send)
        assert len(other.body) == 4 * PART

    asyncio.run(run())


def test_beyond_the_bound_those_that_began_first_are_cut_off() -> None:
    async def run() -> None:
        answers = Answers(most=10 * PART)
        long = answer(bytes(4 * PART), BYTES, IMMUTABLE)
        clients = [Client(2) for _ in range(5)]
        sends = [asyncio.create_task(answers.send(long, each.send)) for each in clients]
        await asyncio.wait(sends[:3], timeout=60)
        assert [each.done() for each in sends] == [True, True, True, False, False]
        for each in clients:
            each.go_on.set()
        await asyncio.gather(*sends)
        assert [len(each.body) // PART for each in clients] == [1, 1, 1, 4, 4]

    asyncio.run(run())
