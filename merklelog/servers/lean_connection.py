"""A connection of the lean front: it reads one request after the other, and each is answered before the next.

What comes by the ten thousand is answered without a task: a plain append (`lean_plain`), and a read that waits for
nothing. Everything else is the ASGI application's.

Time limits are one number: when the state that the connection is in must be over. The front looks at all of them
now and then, so that a request costs no timer.

Sources: RFC 9112, sections 2.2 (empty lines), 9.3 (keeping connections), 9.6 (closing them).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, cast

from . import lean_states as states
from .http_values import problem_answer
from .http_wishes import RefusedError
from .lean_body import Chunks, Counted
from .lean_exchange import MAX_UNREAD, Exchange
from .lean_flow import Outflow
from .lean_head import END, Head, parse_head, refusal
from .lean_inflow import Inflow
from .lean_plain import PlainAppend, answer_read
from .lean_states import Known, Phase, overloaded, whole_answer
from .problems import INTERNAL, Problem

if TYPE_CHECKING:
    from .lean import LeanFront

_NEVER: Final = math.inf
_LINGER_BYTES: Final = 8 << 20


class Connection(asyncio.Protocol):
    """One client, and the carrier of its exchanges. The front looks at `phase` and `deadline`."""

    __slots__ = (
        *("_eof", "_exchange", "_inflow", "_known", "_linger", "_plain", "_task", "_transport"),
        *("deadline", "flow", "front", "phase", "write"),
    )

    def __init__(self, front: LeanFront) -> None:
        self.front = front
        self._transport = cast("asyncio.Transport", None)
        self.phase = Phase.IDLE
        self.deadline = _NEVER
        self._known: Known | None = None
        self._linger = _LINGER_BYTES
        self._plain = PlainAppend(self)
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._eof = False

    # --- what the transport says ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        front = self.front
        self.flow = Outflow(self._transport, front.unread)
        self._inflow = Inflow(self._transport, front.hold)
        self.deadline = front.now() + front.limits.handshake_seconds
        front.connections.add(self)
        if len(front.connections) > front.limits.connections:
            self._tell(overloaded("connections"))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See asyncio.BaseProtocol."""
        front = self.front
        front.connections.discard(self)
        if self.phase in (Phase.BODY, Phase.ANSWER):
            front.under_way -= 1
        self.phase = Phase.OVER
        self._inflow.release()
        self._plain.leave()
        self._let_go()
        self.flow.release()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.phase < Phase.ANSWER:
            if self._inflow.head:
                data = self._inflow.head + data
                self._inflow.head = b""
            self._take(data)
        elif self.phase is Phase.LINGER:
            self._linger -= len(data)
            if self._linger < 0:
                self._transport.abort()
        elif self.phase is Phase.ANSWER:
            self._hold(data)

    def eof_received(self) -> bool:
        """See asyncio.Protocol. Who said all may still wait for an answer."""
        self._eof = True
        streams = self._exchange is not None and self._exchange.streaming
        return self.phase is Phase.ANSWER and not streams

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.flow.block(self.front.now())
        self.deadline = self.flow.since + self.front.limits.write_seconds

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.flow.release()
        now = self.front.now()
        if self.phase is Phase.IDLE:
            self._become_idle()
            self._go_on()
        elif self.phase is Phase.ANSWER:
            self.deadline = _NEVER
        elif self.phase is Phase.LINGER:
            self.deadline = now + self.front.linger_seconds
        else:
            self._inflow.renew(now)
            self._await_body()

    # --- reading -----------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Take one request after the other, as far as these bytes go."""
        try:
            while data:
                if self.phase is Phase.BODY:
                    data = self._take_body(data)
                elif self.phase is Phase.REST:
                    data = self._take_rest(data)
                elif self.phase < Phase.BODY and not self.flow.blocked:
                    data = self._take_head(data)
                else:
                    self._hold(data)
                    return
        except RefusedError as error:
            self._refuse(error.problem)

    def _take_head(self, data: bytes) -> bytes:
        """Begin a request; gives what is behind its head. Raises RefusedError."""
        front, known = self.front, self._known
        if known is not None and data.startswith(known.raw):
            return self._begin(known, data[len(known.raw) :])
        start = 2 if data.startswith(b"\r\n") else 0  # one empty line, and no more of them
        most = front.limits.header_bytes
        end = data.find(END, start, start + most + len(END))
        if end < 0:
            if len(data) - start > most:
                raise refusal(431, "HEAD_TOO_LONG", f"the head of the request has more than {most:,} bytes")
            if self.phase is Phase.IDLE and len(data) > start:
                self.phase = Phase.HEAD
                self.deadline = front.now() + front.limits.header_seconds
            self._inflow.head = data
            return b""
        raw = data[start : end + len(END)]
        if raw == states.PREFACE:
            self.write(states.NO_HTTP2)
            self._linger_on()
            return b""
        head = parse_head(data[start:end], front.head_limits)
        self._known = Known(raw, head, front.quick(head))
        return self._begin(self._known, data[start + len(raw) :])

    def _begin(self, known: Known, data: bytes) -> bytes:
        front, head = self.front, known.head
        self.phase = Phase.BODY
        front.under_way += 1
        if front.under_way > front.limits.requests:
            raise RefusedError(overloaded("requests"))
        length = head.length
        if length is not None and length > front.limits.body_bytes:
            raise refusal(413, "BODY_TOO_LARGE", f"the body has over {front.limits.body_bytes:,} bytes")
        if known.add is not None and length is not None:
            if len(data) == length:
                self._append(known, data)
                return b""
            if len(data) > length:
                self._append(known, data[:length])
                return data[length:]
        else:
            if length == 0:
                # Many in a row would keep all others waiting, so who pipelines gets a task for each.
                if known.read is not None and not data:
                    self.phase = Phase.ANSWER
                    answer_read(self, head, known.read)
                else:
                    self.ask(head, b"")
                return data
            self._ask(head)
        body = Chunks(front.limits.body_bytes) if length is None else Counted(length)
        self._inflow.begin(body, front.now())
        if head.expects and not data:
            self.write(states.CONTINUE)
        self._await_body()
        return data

    def _take_body(self, data: bytes) -> bytes:
        """Take what is there of a body; gives what is behind its end. Raises RefusedError."""
        body, rest, complete = self._inflow.feed(data)
        if self._exchange is not None:
            self._feed(body, complete=complete)
            return rest
        self._await_body()
        if not self._inflow.keep(body):
            raise RefusedError(overloaded("bodies"))
        if complete and self._known is not None:
            self._append(self._known, self._inflow.whole())
        return rest

    def _take_rest(self, data: bytes) -> bytes:
        """Throw away what is there of a body that was answered already; gives what is behind its end."""
        _, rest, complete = self._inflow.feed(data)
        self._await_body()
        if complete:
            self._become_idle()
        return rest

    def _await_body(self) -> None:
        """More of the body is to come."""
        if not self.flow.blocked:
            self.deadline = self._inflow.due(self.front.now(), self.front.limits.body_idle_seconds)

    def _append(self, known: Known, body: bytes) -> None:
        self.phase, self.deadline = Phase.ANSWER, _NEVER
        self._plain.begin(known, body)
        self.front.later(self._plain)

    def _feed(self, body: bytes, *, complete: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.feed(body, complete=complete)
        if complete:
            self.phase, self.deadline = Phase.ANSWER, _NEVER
        elif exchange.unread > MAX_UNREAD:
            self._inflow.pause()
            self.deadline = _NEVER
        else:
            self._await_body()

    def _hold(self, data: bytes) -> None:
        """Keep what came too early."""
        if self.phase < Phase.LINGER:
            self._inflow.hold(data)

    # --- exchanges with the application: see Carrier ------------------------------------------------------------

    def ask(self, head: Head, body: bytes) -> None:
        """Have the application answer a request whose body is here."""
        self._ask(head)
        self._feed(body, complete=True)

    def _ask(self, head: Head) -> None:
        exchange = self._exchange = Exchange(self, head)
        task = self._task = self.front.ask(head, exchange, self._transport)
        task.add_done_callback(lambda done: self._asked(exchange, done))

    def _asked(self, exchange: Exchange, task: asyncio.Task[Any]) -> None:
        """The application is done with that request."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not exchange.gone:  # then it heard by an error that the client left
            self.front.report(error)
        if exchange is not self._exchange or exchange.finished or self.phase is Phase.OVER:
            return
        if exchange.started or task.cancelled():
            self._transport.abort()
        else:
            self._refuse(INTERNAL)

    def _let_go(self) -> None:
        """The application needs to answer no more."""
        exchange, task = self._exchange, self._task
        self._exchange = self._task = None
        if exchange is not None:
            exchange.leave()
            if task is not None and not exchange.finished:
                task.cancel()

    @property
    def date(self) -> bytes:
        """See Carrier."""
        return self.front.date

    async def room(self) -> None:
        """See Carrier."""
        await self.flow.room()

    def read_on(self) -> None:
        """See Carrier."""
        if self._inflow.paused and self.phase is Phase.BODY:
            self._inflow.read_on()
            self._inflow.renew(self.front.now())
            self._await_body()

    def may_keep(self, head: Head) -> bool:
        """See Carrier."""
        # What is short and on its way is read on behind its answer; who waits for 100 may never send it.
        on_its_way = self.phase is Phase.BODY and self._inflow.ends_soon and not head.expects
        return head.keeps and not self.front.draining and (on_its_way or self.phase is Phase.ANSWER)

    def answered(self, *, keep: bool) -> None:
        """See Carrier."""
        was = self.phase
        if was not in (Phase.BODY, Phase.ANSWER):
            return
        self.front.under_way -= 1
        self._exchange = self._task = None
        if self._known is not None and len(self._known.raw) > states.KEPT_HEAD:
            self._known = None
        if not keep or self.front.draining:
            if was is Phase.BODY or self._inflow.later or self.front.draining:
                self._linger_on()
            else:
                self._close()
            return
        if was is Phase.BODY:
            self.phase = Phase.REST
            self._inflow.read_on()
            self._await_body()
            return
        self._become_idle()
        if not self.flow.blocked and (self._inflow.later or self._eof or self._inflow.paused):
            self._go_on()

    def _become_idle(self) -> None:
        """Wait for another request."""
        self.phase = Phase.IDLE
        if not self.flow.blocked:
            self.deadline = self.front.now() + self.front.limits.idle_seconds

    def _go_on(self) -> None:
        """What came meanwhile is next."""
        self._take(self._inflow.take_later())
        if self._eof and self.phase < Phase.ANSWER:
            self._close()

    # --- ending --------------------------------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Tell what is wrong with what came, and end the connection."""
        if self.phase in (Phase.BODY, Phase.ANSWER):
            self.front.under_way -= 1
        begun = self._exchange is not None and self._exchange.started
        self.phase = Phase.LINGER
        self._let_go()
        if begun:
            self._transport.abort()
            return
        self._tell(problem)
        self._linger_on()

    def _tell(self, problem: Problem) -> None:
        self.write(whole_answer(problem_answer(problem), self.date, keep=False))

    def _linger_on(self) -> None:
        """Say that this was all, and listen for a while."""
        self.phase = Phase.LINGER
        self._inflow.release()
        seconds = self.front.limits.write_seconds if self.flow.blocked else self.front.linger_seconds
        self.deadline = self.front.now() + seconds
        self._inflow.read_on()
        if self._eof:
            self._close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        """End it once all was sent."""
        self.phase = Phase.OVER
        self.deadline = self.front.now() + self.front.limits.write_seconds
        self._transport.close()

    def drain(self, *, hurry: bool = False) -> None:
        """Take no more requests; one that is being answered is, unless there is no time for that."""
        if hurry:
            self._transport.abort()
        elif self.phase is Phase.IDLE and not self._inflow.later:
            self._close()
        elif self.phase is Phase.REST:
            self._linger_on()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.flow.blocked and self.flow.moves():
            self.deadline = self.front.now() + self.front.limits.write_seconds
        elif self.flow.blocked:
            self._transport.abort()
        elif self.phase in (Phase.HEAD, Phase.BODY):
            self._refuse(states.TIMED_OUT)
        elif self.phase is Phase.OVER:
            self._transport.abort()
        else:
            self._close()


__all__ = ["Connection", "Phase"]
