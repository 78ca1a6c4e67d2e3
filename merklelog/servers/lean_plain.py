"""The plain append of a connection: from the bytes that came to the log's queue, and back as one write.

And the plain read, which is answered at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from merklelog.errors import MerklelogError
from merklelog.log import Receipt

from .http_quick import PlainAdd, PlainRead
from .lean_head import Head
from .lean_states import LEFT, Known, whole_answer

if TYPE_CHECKING:
    from .lean_connection import Connection


class PlainAppend:
    """One at a time, made once for a connection; it is what the log tells (`log.waiting.Outcome`)."""

    __slots__ = ("_add", "_began", "_body", "_connection", "_head", "_queued")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._add: PlainAdd | None = None  # while one is under way
        self._head: Head | None = None
        self._body = b""  # until it is queued
        self._queued = False
        self._began = 0.0

    def begin(self, known: Known, body: bytes) -> None:
        """These bytes are to be appended; `submit` is to follow soon."""
        self._add, self._head, self._body = known.add, known.head, body

    def submit(self) -> None:
        """Queue it; or give it to the application, which finds out again why that can not be, and says so."""
        add, head, body = self._add, self._head, self._body
        self._body = b""
        if add is None or head is None:  # the client has gone
            return
        try:
            add.submit(body, self)
        except Exception:  # noqa: BLE001 - whatever it is, the application tells the client
            self._add = None
            self._connection.ask(head, body)
            return
        self._queued, self._began = True, add.tally.begin()

    def leave(self) -> None:
        """The client has gone. What is queued is stored all the same."""
        if self._add is not None and self._queued:
            self._add.tally.end(self._began, LEFT)
        self._add, self._queued, self._body = None, False, b""

    def done(self) -> bool:
        """See Outcome."""
        return self._add is None

    def set_result(self, receipt: Receipt, /) -> None:
        """See Outcome."""
        add, head, connection = self._add, self._head, self._connection
        if add is None or head is None:
            return
        self._add, self._queued = None, False
        add.tally.end(self._began, 200)
        keep = connection.may_keep(head)
        connection.write(connection.front.plain_answer(receipt.index, keep=keep))
        connection.answered(keep=keep)

    def set_exception(self, error: MerklelogError, /) -> None:
        """See Outcome."""
        add, head, connection = self._add, self._head, self._connection
        if add is None or head is None:
            return
        self._add, self._queued = None, False
        response = add.problem(error)
        add.tally.end(self._began, response.status)
        keep = connection.may_keep(head)
        connection.write(whole_answer(response, connection.date, keep=keep))
        connection.answered(keep=keep)


def answer_read(connection: Connection, head: Head, read: PlainRead) -> None:
    """Answer a read that waits for nothing."""
    began = read.tally.begin()
    response = read.answer()
    read.tally.end(began, response.status)
    keep = connection.may_keep(head)
    connection.write(whole_answer(response, connection.date, keep=keep))
    connection.answered(keep=keep)


__all__ = ["PlainAppend", "answer_read"]
