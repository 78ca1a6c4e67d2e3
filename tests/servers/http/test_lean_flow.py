"""What a client's pace is: how long it may take over a body, and how much it may leave unread."""

from __future__ import annotations

import asyncio
from typing import cast

from merklelog.servers import lean_flow
from merklelog.servers.lean_body import Chunks, Counted
from merklelog.servers.lean_flow import Outflow, Unread
from merklelog.servers.lean_inflow import LEAST_RATE, Inflow

IDLE = 20.0


class Pipe:
    """A transport that nobody reads from, and that counts what is held of bodies."""

    def __init__(self, unsent: int = 0) -> None:
        self.unsent = unsent
        self.aborted = self.paused = False
        self.held = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def hold(self, size: int) -> bool:
        self.held += size
        return self.held <= 10

    @property
    def transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self)


def inflow(pipe: Pipe) -> Inflow:
    return Inflow(pipe.transport, pipe.hold)


def test_a_body_that_drips_has_an_end() -> None:
    """A byte every ten seconds is never late for the next, and is over when the first wait is, nearly."""
    for body, drop in ((Counted(1 << 16), b"x"), (Chunks(1 << 16), b"1\r\nx\r\n")):
        flow, now = inflow(Pipe()), 1_000.0
        flow.begin(body, now)
        while now < flow.due(now, IDLE):
            flow.feed(drop)
            now += 10
            assert now < 1_050, "it drips for ever"


def test_a_body_at_the_least_rate_may_be_as_long_as_it_likes() -> None:
    flow, now = inflow(Pipe()), 1_000.0
    flow.begin(Counted(1 << 30), now)
    for _ in range(1_000):
        now += 10
        assert now < flow.due(now - 10, IDLE)
        flow.feed(bytes(10 * LEAST_RATE))
    assert flow.due(now, IDLE) == now + IDLE, "and what came early saves nothing up"


def test_a_client_that_was_not_read_from_has_its_time_anew() -> None:
    flow = inflow(Pipe())
    flow.begin(Counted(10), 1_000.0)
    assert flow.due(1_500.0, IDLE) == 1_020.0
    flow.renew(1_500.0)
    assert flow.due(1_500.0, IDLE) == 1_520.0


def test_what_is_kept_is_counted_until_it_is_let_go_of() -> None:
    pipe = Pipe()
    flow = inflow(pipe)
    assert flow.keep(b"12345")
    assert flow.keep(b"67890")
    assert not flow.keep(b"1")
    assert flow.whole() == b"12345678901"
    assert pipe.held == 0
    flow.hold(b"later")
    assert pipe.paused
    assert flow.take_later() == b"later"
    assert not pipe.paused
    flow.keep(b"1")
    flow.release()
    assert pipe.held == 0


def test_who_has_not_read_for_longest_is_cut_off_first() -> None:
    async def run() -> None:
        third = lean_flow.MAX_UNSENT // 3
        unread = Unread()
        pipes = [Pipe(third) for _ in range(4)]
        flows = [Outflow(each.transport, unread) for each in pipes]
        for at in range(3):
            flows[at].block(float(at))
        assert not any(each.aborted for each in pipes)
        flows[0].release()  # it read, and is blocked again
        flows[0].block(3.0)
        flows[3].block(4.0)
        assert [each.aborted for each in pipes] == [False, True, False, False]
        assert not flows[1].blocked
        pipes[2].unsent = 0  # it reads, and is blocked by little
        flows[1] = Outflow(Pipe(third).transport, unread)
        flows[1].block(5.0)
        assert [each.aborted for each in pipes] == [False, True, False, False]
        for each in flows:
            each.release()
            each.release()
        last = Pipe(lean_flow.MAX_UNSENT + 1)
        Outflow(last.transport, unread).block(6.0)
        assert last.aborted, "what is blocked no more is not counted"

    asyncio.run(run())
