"""What a front answers without the application's task, found by the head of a request.

Plain appends, POST /add with nothing asked for beside the entry: their bytes go to the log, which tells what
became of them. Whatever is out of the ordinary, a refusal first of all, is left to the application, which does all
of it again. And reads that wait for nothing: their answer is the application's own, refusals too.
"""

from __future__ import annotations

import asyncio
from typing import Final

from merklelog.errors import FieldError
from merklelog.formats import MAX_ENTRY
from merklelog.log import Log
from merklelog.log.waiting import Outcome

from .http_api import HttpApi
from .http_append import TOO_LARGE
from .http_values import Request, Response
from .http_wishes import OPTIONS, RefusedError, option
from .lean_head import Head
from .reserved import is_reserved
from .tally import RequestTally
from .watch import Watch

_POST: Final = "POST"


class PlainAdd:
    """One kind of request: those with this very head. Who asks is looked at anew for each."""

    __slots__ = ("_api", "_head", "_host", "_log", "_loop", "_shown", "tally")

    def __init__(self, api: HttpApi, log: Log, head: Head, tally: RequestTally) -> None:
        self._api = api
        self._log = log
        self._head = head
        self._loop = asyncio.get_running_loop()
        self._shown, self._host = api.credentials(head.fields)
        self.tally = tally

    def submit(self, body: bytes, outcome: Outcome) -> None:
        """Queue this entry; `outcome` hears of it in this loop.

        Raises RefusedError and what `Log.append` and the admission raise; then nothing was queued.
        """
        if is_reserved(body) or self._api.log_of_add(self._head.path) is not self._log:
            raise RefusedError(TOO_LARGE)  # the application says what it really is
        self._api.admit_add(self._log, self._shown, self._host)
        self._log.append_to(body, self._loop, outcome)

    def problem(self, error: Exception) -> Response:
        """The answer to a request that was queued and failed."""
        return self._api.problem(error, _POST, self._head.path, self._head.fields)


class PlainRead:
    """One read, answered anew each time: who asks, and what is there, is looked at then."""

    __slots__ = ("_api", "_request", "tally")

    def __init__(self, api: HttpApi, request: Request, tally: RequestTally) -> None:
        self._api = api
        self._request = request
        self.tally = tally

    def answer(self) -> Response:
        """The answer. Raises nothing."""
        return self._api.answer(self._request)


Quick = PlainAdd | PlainRead


class QuickRequests:
    """Finds what is answered so of one HTTP application. It belongs to one event loop."""

    def __init__(self, api: HttpApi, watch: Watch) -> None:
        self._api = api
        self._watch = watch

    def find(self, head: Head) -> Quick | None:
        """What answers the requests with this head; None where the application is to be asked."""
        if not head.minor or self._watch.traces or head.length is None:
            return None
        return self._add(head) if head.method == _POST else self._read(head)

    def _read(self, head: Head) -> PlainRead | None:
        if head.length:
            return None
        request = Request(head.method, head.path, head.query, head.fields)
        if not self._api.answers_at_once(request):
            return None
        return PlainRead(self._api, request, self._watch.route(head.method, head.path))

    def _add(self, head: Head) -> PlainAdd | None:
        log = self._api.log_of_add(head.path)
        if log is None or head.length is None or head.length > MAX_ENTRY:
            return None
        wanted = None
        try:
            for each in head.fields:
                if each[0] in OPTIONS:
                    wanted = option(wanted, each)
        except FieldError:
            return None
        if wanted is not None:
            return None
        return PlainAdd(self._api, log, head, self._watch.route(_POST, head.path))


__all__ = ["PlainAdd", "PlainRead", "Quick", "QuickRequests"]
