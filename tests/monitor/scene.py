"""A log, copies of it that may lie, witnesses' pages, and a monitor whose clock a test moves."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import merklelog
from merklelog.audit.monitor import LineSink, Monitor, MonitorOptions
from merklelog.audit.monitor_patterns import Matcher
from merklelog.client import Access, Retry
from merklelog.formats import (
    Note,
    Policy,
    SignatureType,
    SigningKey,
    VerifierKey,
    format_note,
    format_vkey,
    parse_checkpoint,
    parse_policy,
    sign_checkpoint,
)
from merklelog.formats.witness import checkpoint_path
from merklelog.publish import DirectoryStore, publish_copy

ORIGIN = "watched.example/log"
BEGIN = 1_800_000_000
QUICK = Access(retry=Retry(total=0.5, attempt=0.5))


def witness_key(number: int) -> SigningKey:
    return SigningKey(
        f"witness.example/{number}", SignatureType.COSIGNATURE_ED25519, bytes([40 + number]) * 32
    )


def cosigned(note: bytes, times: dict[SigningKey, int]) -> bytes:
    """A checkpoint with a witness' line of that time for each key."""
    signed = parse_checkpoint(note)
    lines = tuple(sign_checkpoint(signed.checkpoint, key, time) for key, time in times.items())
    return format_note(Note(signed.note.text, signed.note.signatures + lines))


def make_log(path: Path, origin: str = ORIGIN) -> tuple[VerifierKey, ...]:
    return merklelog.create_log(path, origin, settings={"store.min_free_bytes": 0})


def append(path: Path, entries: Iterable[bytes]) -> None:
    with merklelog.open(path) as log:
        log.append_batch(list(entries))


def numbered(start: int, end: int, word: str = "event") -> list[bytes]:
    return [b"%s %d" % (word.encode(), index) for index in range(start, end)]


def publish(log: Path, copy: Path) -> Path:
    with merklelog.open_reader(log) as reader:
        publish_copy(reader, DirectoryStore(copy), verifiers=reader.vkeys)
    return copy


def twin(log: Path, name: str) -> Path:
    """The log's directory once more, keys and all: what makes a fork possible."""
    return Path(shutil.copytree(log, log.with_name(name)))


@dataclass
class Heard:
    """What a monitor's sink was told."""

    findings: list[dict[str, Any]] = field(default_factory=list)

    def take(self, line: bytes) -> None:
        self.findings.append(json.loads(line))

    def kinds(self) -> list[str]:
        """The kinds in order, those that are over with a minus; forgotten once asked for."""
        found = [("-" if each["over"] else "") + each["kind"] for each in self.findings]
        self.findings.clear()
        return found

    def matches(self) -> list[int]:
        return [each["index"] for each in self.findings if each["kind"] == "match"]


class Scene:
    """Everything below one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = BEGIN
        self.heard = Heard()
        self.log = path / "log"
        self.vkeys = make_log(self.log)
        self.witnesses = [witness_key(number) for number in range(3)]

    def publish(self, name: str = "copy", log: Path | None = None) -> str:
        """Publish into a copy of that name; gives its target."""
        return f"dir:{publish(log or self.log, self.path / name)}"

    def cosign(self, name: str, times: dict[int, int]) -> bytes:
        """Give a copy's checkpoint cosignatures, by the witnesses' numbers; gives the note."""
        file = self.path / name / "checkpoint"
        note = cosigned(file.read_bytes(), {self.witnesses[n]: time for n, time in times.items()})
        file.unlink()
        file.write_bytes(note)
        return note

    def policy(self, *, quorum: int = 0, urls: dict[int, str] | None = None) -> Policy:
        lines = [f"log {format_vkey(key)}" for key in self.vkeys[:2]]
        for number, key in enumerate(self.witnesses):
            url = (urls or {}).get(number)
            lines.append(f"witness w{number} {format_vkey(key.verifier)}{' ' + url if url else ''}")
        lines.append(f"group most {quorum or 1} w0 w1 w2")
        lines.append("quorum most" if quorum else "quorum none")
        return parse_policy("".join(f"{line}\n" for line in lines).encode())

    @contextmanager
    def monitor(
        self,
        *targets: str,
        policy: Policy | None = None,
        matcher: Matcher | None = None,
        options: MonitorOptions | None = None,
        witnesses: dict[str, str] | None = None,
    ) -> Iterator[Monitor]:
        with Monitor(
            targets,
            policy or self.policy(),
            self.path / "state",
            options=options,
            matcher=matcher,
            sinks=[LineSink(self.heard.take)],
            witnesses=witnesses,
            access=QUICK,
            clock=lambda: self.now,
        ) as found:
            yield found


class Pages:
    """A real HTTP server over bytes by path; what is not there is a 404."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.posted: list[bytes] = []
        self.status = 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = outer.pages.get(self.path)
                self._answer(404 if page is None else 200, page or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status == 200:
                    outer.posted.append(body)
                self._answer(outer.status, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is written to standard error."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def witness(self, number: int, note: bytes, origin: str = ORIGIN) -> str:
        """Show a note at the monitoring prefix of a witness; gives the prefix."""
        self.pages[f"/w{number}{checkpoint_path(origin)}"] = note
        return f"{self.url}/w{number}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
