"""A WSGI application whose requests are audit events, sent by OpenTelemetry's SDK to a Collector or to a log.

    pip install merklelog opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
    merklelog serve trail --otlp-http 127.0.0.1:4318 &
    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python examples/wsgi_orders.py 8000

    curl -X POST -H 'X-Remote-User: ada' http://127.0.0.1:8000/orders
    curl -X DELETE -H 'X-Remote-User: ada' http://127.0.0.1:8000/orders/1

The SDK sends its batches behind the answers' back; when the network does not take them, it gives them up after a
while and says so. Where that must not be, send to a Collector with a persistent queue on the same machine
(docs/collector.md), or use a producer, as asgi_orders.py does.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

import merklelog
from merklelog.audit_events import WsgiAudit

OWNERS: dict[int, str] = {}


def orders(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """POST /orders makes an order, DELETE /orders/N cancels one."""
    user, path = environ.get("HTTP_X_REMOTE_USER"), environ["PATH_INFO"]
    number = path.removeprefix("/orders/")
    if user is None:
        status, text = "401 Unauthorized", "who are you?"
    elif (environ["REQUEST_METHOD"], path) == ("POST", "/orders"):
        OWNERS[len(OWNERS) + 1] = user
        status, text = "201 Created", str(len(OWNERS))
    elif environ["REQUEST_METHOD"] == "DELETE" and number.isdecimal():
        try:
            cancel(int(number), user)
            status, text = "200 OK", "cancelled"
        except PermissionError as error:
            status, text = "403 Forbidden", str(error)
    else:
        status, text = "404 Not Found", "no such thing"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


@merklelog.audited("order.cancel", resource="order/{number}")
def cancel(number: int, user: str) -> None:
    """An event of its own beside the request's; the actor is the request's."""
    if OWNERS.get(number) != user:
        raise PermissionError("not yours")
    del OWNERS[number]


# In this example a front server has authenticated the user; it must set this header whatever the client sent.
application = WsgiAudit(orders, actor=lambda environ: environ.get("HTTP_X_REMOTE_USER"))


def main(port: int) -> None:
    """Serve until SIGTERM, then hand over the last events."""
    provider = LoggerProvider(Resource.create({"service.name": "orders"}))
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(provider)
    try:
        with make_server("127.0.0.1", port, application) as server:
            # From a thread: shutdown waits for the request that the signal interrupts.
            signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            server.serve_forever()
    finally:
        provider.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
