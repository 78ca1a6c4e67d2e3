"""Witnesses in threads of the test: one that is as it should be, and every way in which one can be bad."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from merklelog.formats import SignatureType, SigningKey, VerifierKey, sign_checkpoint
from merklelog.formats.witness import SIZE_TYPE, format_cosignatures, format_size, parse_add_checkpoint

TEXT = "text/plain"


def key(number: int, kind: SignatureType = SignatureType.COSIGNATURE_ED25519) -> SigningKey:
    """A witness' key of its own."""
    return SigningKey(f"w{number}.example/w", kind, bytes([number + 100]) * 32)


@dataclass
class Scripted:
    """A witness that keeps one size, verifies nothing, and does what `fault` says before it does what it should.

    `fault` gets the number of the request and gives (status, type, body, headers), or None to answer as it should.
    """

    signer: SigningKey
    fault: Callable[[int], tuple[int, str, bytes, dict[str, str]] | None] = lambda _number: None
    size: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)  # (old, size) of each request
    drip: float = 0.0  # seconds between bytes of an answer
    silent: threading.Event | None = None  # no answer before it is set
    url: str = ""

    @property
    def verifier(self) -> VerifierKey:
        return self.signer.verifier

    def answer(self, body: bytes) -> tuple[int, str, bytes, dict[str, str]]:
        request = parse_add_checkpoint(body)
        self.asked.append((request.old, request.checkpoint.size))
        if self.silent is not None:
            self.silent.wait(120)
        if (found := self.fault(len(self.asked))) is not None:
            return found
        if request.old != self.size:
            return 409, SIZE_TYPE, format_size(self.size), {}
        self.size = request.checkpoint.size
        line = sign_checkpoint(request.checkpoint, self.signer, int(time.time()))
        return 200, TEXT, format_cosignatures([line]), {}


@contextmanager
def serve(witness: Scripted) -> Iterator[Scripted]:
    """It answers at `witness.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, kind, data, more = witness.answer(body)
            try:
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                for at in range(len(data) if witness.drip else 0):
                    self.wfile.write(data[at : at + 1])
                    time.sleep(witness.drip)
                if not witness.drip:
                    self.wfile.write(data)
            except OSError:
                self.close_connection = True  # who asked went away

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    witness.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        if witness.silent is not None:
            witness.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()
