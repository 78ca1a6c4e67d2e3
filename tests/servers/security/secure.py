"""A server with TLS, tokens and certificates as a process of its own, and a client for both of its doors."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

import merklelog
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token
from merklelog.v1 import log_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60
SERVICE = "/merklelog.v1.LogService/"
LOGS = {"open": "auto", "public": "public", "closed": "auto"}  # and their log.read; "open" has no token
SPIFFE = "spiffe://example.com/collector"


@dataclass(frozen=True)
class Shown:
    """What a client shows: a token by its name here, and in mutual TLS a certificate by its."""

    token: str | None = None
    certificate: str | None = "stranger"


class Place:
    """Logs, tokens and certificates of one server, and its configuration."""

    def __init__(self, folder: Path, authority: Any, foreign: Any, mode: str, front: str) -> None:
        self.folder, self.mode, self.authority = folder, mode, authority
        self.tokens: dict[str, str] = {"wrong": "mlt_0123456789abcdef_" + "A" * 43}
        for name, read in LOGS.items():
            settings = {"store.min_free_bytes": 0, "log.read": read}
            merklelog.create_log(folder / "logs" / name, f"example.com/{name}", settings=settings)
            if name != "open":
                for scope in Scope:
                    self.tokens[f"{name}-{scope}"] = self.grant(name, scope)
        self.grant("closed", Scope.READ, certificate=f"URI:{SPIFFE}")
        self.grant("public", Scope.APPEND, certificate=f"URI:{SPIFFE}")
        self.ca = authority.root.pem
        self.pairs = {
            "known": authority.issue("x", x509.UniformResourceIdentifier(SPIFFE)),
            "stranger": authority.issue("stranger"),
            "foreign": foreign.issue("x", x509.UniformResourceIdentifier(SPIFFE)),
            "expired": authority.issue("x", x509.UniformResourceIdentifier(SPIFFE), days=(-2, -1)),
        }
        lines = [
            "[server]",
            f'grpc_front = "{front}"',
            'grpc = "127.0.0.1:0"',
            'http = "127.0.0.1:0"',
            'admin = ""',
        ]
        if mode != "plain":
            self.show(authority.server("first"))
            lines += ["[tls]", 'certificate = "server.pem"', 'key = "server.key"']
        if mode == "mutual":
            (folder / "ca.pem").write_bytes(authority.root.pem.read_bytes())
            lines.append('client_ca = "ca.pem"')
        (folder / "server.toml").write_text("\n".join(lines) + "\n")

    def show(self, pair: Any) -> None:
        """Put this certificate in the place of the server's."""
        for source, name in ((pair.pem, "server.pem"), (pair.key, "server.key")):
            (self.folder / f"{name}.new").touch(0o600)
            (self.folder / f"{name}.new").write_bytes(source.read_bytes())
            (self.folder / f"{name}.new").rename(self.folder / name)

    def grant(self, log: str, *scopes: Scope, certificate: str | None = None) -> str:
        kept, shown = make_token(f"{log}-holder", scopes, 0, certificate=certificate)
        change_tokens(self.folder / "logs" / log, lambda old: (*old, kept), lambda _tokens: None)
        return shown or ""


class Running:
    """`merklelog serve` over a place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said: list[dict[str, Any]] = []
        words = ["serve", "--root", place.folder / "logs", "--config", place.folder / "server.toml"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "merklelog", *map(str, words), "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)},
        )
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        first = self.wait_for(" serves")
        self.ports = {door: int(first[door].rpartition(":")[2]) for door in ("grpc", "http")}

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.said.append(json.loads(line) if line.startswith("{") else {"message": line})
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, message: str, count: int = 1) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [each for each in self.said if message in each.get("message", "")]

        with self._more:
            self._more.wait_for(lambda: len(found()) >= count or not self._reader.is_alive(), SECONDS)
            assert len(found()) >= count, self.said
            return found()[count - 1]

    def reload(self) -> None:
        told = sum("reloaded" in each.get("message", "") for each in self.said)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("reloaded", told + 1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(SECONDS)
            assert self.process.stderr is not None
            self.process.stderr.close()

    # --- the two doors ---

    def http(self, shown: Shown, method: str, path: str, body: bytes | None = None) -> str:
        """The status, or "no connection"."""
        try:
            connection = self.connect(shown)
        except OSError:
            return "no connection"
        try:
            headers = {} if shown.token is None else self.bearer(shown.token)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return "no connection"
        finally:
            connection.close()
        return {200: "ok", 401: "unauthenticated", 403: "forbidden"}.get(answer.status, str(answer.status))

    def bearer(self, token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.place.tokens.get(token, token)}"}

    def connect(self, shown: Shown) -> http.client.HTTPConnection:
        if self.place.mode == "plain":
            return http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=SECONDS)
        context = ssl.create_default_context(cafile=str(self.place.ca))
        if self.place.mode == "mutual" and shown.certificate is not None:
            pair = self.place.pairs[shown.certificate]
            context.load_cert_chain(pair.pem, pair.key)
        made = http.client.HTTPSConnection("127.0.0.1", self.ports["http"], timeout=SECONDS, context=context)
        made.connect()
        return made

    def channel(self, shown: Shown) -> grpc.Channel:
        address = f"127.0.0.1:{self.ports['grpc']}"
        # gRPC's own retries are off, as in this project's clients: where a connection is told to go away in the
        # moment it was made (certificates changed), they go on with it until the deadline.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if self.place.mode == "plain":
            return grpc.insecure_channel(address, options)
        key = chain = None
        if self.place.mode == "mutual" and shown.certificate is not None:
            pair = self.place.pairs[shown.certificate]
            key, chain = pair.key.read_bytes(), pair.pem.read_bytes()
        credentials = grpc.ssl_channel_credentials(self.place.ca.read_bytes(), key, chain)
        return grpc.secure_channel(address, credentials, options)

    def grpc(self, shown: Shown, name: str, request: Any, channel: grpc.Channel | None = None) -> str:
        own = channel or self.channel(shown)
        metadata = [] if shown.token is None else list(self.bearer(shown.token).items())
        try:
            own.unary_unary(SERVICE + name)(request.SerializeToString(), timeout=SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()  # type: ignore[attr-defined]
            named = {"UNAVAILABLE": "no connection", "PERMISSION_DENIED": "forbidden"}
            return named.get(code.name, code.name.lower())
        finally:
            if channel is None:
                own.close()
        return "ok"

    def ask(self, door: str, shown: Shown, log: str, scope: str) -> str:
        origin = f"example.com/{log}"
        if door == "grpc" and scope == "append":
            return self.grpc(shown, "Append", pb.AppendRequest(origin=origin, entry=pb.NewEntry(data=b"x")))
        if door == "grpc":
            return self.grpc(shown, "GetCheckpoint", pb.GetCheckpointRequest(origin=origin))
        if scope == "append":
            return self.http(shown, "POST", f"/{log}/add", b"x")
        return self.http(shown, "GET", f"/{log}/checkpoint")
