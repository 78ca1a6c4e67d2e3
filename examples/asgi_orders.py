"""An ASGI application whose requests are audit events, and which answers none before its event is in the log.

    pip install 'merklelog[client]' h2corn
    export ORDERS_LOG=grpc://127.0.0.1:7070 ORDERS_TRUST=trail.vkeys
    h2corn --app-dir examples --factory asgi_orders:make --bind 127.0.0.1:8000

    curl -X POST -H 'Authorization: Bearer ada-1815' http://127.0.0.1:8000/orders
    curl -X DELETE -H 'Authorization: Bearer ada-1815' http://127.0.0.1:8000/orders/1

Events go straight into the log, by a producer: each is verified to be there. `required=True` makes the client wait
for that; when it can not be had, the answer is 503.
"""

from __future__ import annotations

import os
from typing import Any

import merklelog
from merklelog.audit_events import AsgiAudit, ProducerEmitter, use
from merklelog.client import open_producer

USERS = {"Bearer ada-1815": "ada", "Bearer grace-1906": "grace"}


def make() -> AsgiAudit:
    """The application, as a server of ASGI takes it."""
    producer = open_producer(os.environ["ORDERS_LOG"], trust=os.environ["ORDERS_TRUST"])
    emitter = ProducerEmitter(producer, {"service.name": "orders"})
    use(emitter)  # for the events that the application emits itself
    return AsgiAudit(Orders(), required=True, wait=30, ignore={"/healthz"}, emitter=emitter)


class Orders:
    """POST /orders makes an order, DELETE /orders/N cancels one."""

    def __init__(self) -> None:
        self.owners: dict[int, str] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        user = USERS.get(headers.get(b"authorization", b"").decode("latin-1"))
        if scope["path"] == "/healthz":
            await answer(send, 200, "well")
        elif user is None:
            await answer(send, 401, "who are you?")
        else:
            scope["user"] = user  # what the middleware looks for: an authentication middleware does the same
            await self.serve(user, scope["method"], scope["path"], send)

    async def serve(self, user: str, method: str, path: str, send: Any) -> None:
        number = path.removeprefix("/orders/")
        if (method, path) == ("POST", "/orders"):
            self.owners[len(self.owners) + 1] = user
            await answer(send, 201, str(len(self.owners)))
        elif method == "DELETE" and number.isdecimal():
            await answer(send, *await self.cancel(user, int(number)))
        else:
            await answer(send, 404, "no such thing")

    async def cancel(self, user: str, number: int) -> tuple[int, str]:
        # An event of its own beside the request's: what happened, in the words of this trade.
        async with merklelog.auditing("order.cancel", resource=f"order/{number}") as event:
            event.details["owner"] = self.owners.get(number)
            if self.owners.get(number) != user:
                event.outcome = "failure"
                return 403, "not yours"
            del self.owners[number]
        return 200, "cancelled"


async def answer(send: Any, status: int, text: str) -> None:
    """One answer of text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
