"""The HTTP door asks who comes: every route, with and without a token, for public and for closed logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.servers import http_events, http_reads
from merklelog.servers.access import Access, LogAccess
from merklelog.servers.caller import Scope
from merklelog.servers.hosts import Hosts
from merklelog.servers.http_api import HttpApi
from merklelog.servers.openapi import describe
from merklelog.servers.served import ServedLogs
from merklelog.servers.tokens import change_tokens, make_token

READS = [
    *(
        "checkpoint",
        "checkpoint.witnessed",
        "checkpoints/0",
        "tile/0/000.p/1",
        "tile/entries/000.p/1",
        "entry/0",
    ),
    *(
        "proof/inclusion?index=0",
        "proof/by-hash?leaf_hash=" + "0" * 64,
        "proof/consistency?old=1",
        "proof/0.tlog-proof",
    ),
    *("events/checkpoints", "events/entries"),
]


class Closed:
    """Two logs behind one application: /a/ reads are public, /b/ reads take a token; appends take one at both."""

    def __init__(self, folder: Path) -> None:
        self.logs = ServedLogs()
        self.tokens: dict[str, str] = {}
        rules = []
        for name, read in (("a", "public"), ("b", "auto")):
            origin = f"example.com/{name}"
            merklelog.create_log(
                folder / name, origin, settings={"store.min_free_bytes": 0, "log.lookup": True}
            )
            self.logs.add(merklelog.open(folder / name), f"/{name}/")
            self.logs.find(origin).log.append(b"first")
            for scope in Scope:
                kept, shown = make_token(f"{name}-{scope}", [scope], 0)
                change_tokens(folder / name, lambda old, new=kept: (*old, new), lambda _tokens: None)
                self.tokens[f"{name}-{scope}"] = f"Bearer {shown}"
            rules.append(LogAccess(origin, folder / name, read))
        self.access = Access(open_to_all=False)
        self.access.refresh(rules)
        self.api = HttpApi(self.logs, self.access)

    def ask(
        self, method: str, path: str, token: str | None = None, body: bytes = b"", **more: str
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if token is not None:
            headers["authorization"] = self.tokens.get(token, token)
        return asyncio.run(self._asgi(method, path, body, headers))

    async def _asgi(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        path, _, query = path.partition("?")
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": raw,
        }
        await self.api(scope, receive, send)
        fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], fields, b"".join(each["body"] for each in sent[1:])


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    made = Closed(tmp_path_factory.mktemp("closed"))
    yield made
    made.logs.close()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """One log at / that nobody said to be public, open as it is on the machine of whoever runs it."""
    path = tmp_path_factory.mktemp("private") / "log"
    merklelog.create_log(path, "example.com/open", settings={"store.min_free_bytes": 0})
    made = Closed.__new__(Closed)
    made.logs, made.tokens = ServedLogs(), {}
    made.logs.add(merklelog.open(path), "/")
    made.logs.find("").log.append(b"first")
    made.access = Access(open_to_all=True)
    made.access.refresh([LogAccess("example.com/open", path)])
    made.api = HttpApi(made.logs, made.access, hosts=Hosts(["log.example.com"]))
    yield made
    made.logs.close()


def test_every_read_is_among_those_asked() -> None:
    asked = {path.partition("?")[0] for path in READS}
    assert set(http_reads.FILES) | set(http_events.STREAMS) <= asked | {"proof/range"}
    assert {path.split("/")[0] for path in asked} >= set(http_reads.FOLDERS)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads(closed: Closed, path: str, method: str) -> None:
    assert closed.ask(method, f"/a/{path}")[0] in {200, 404}
    status, fields, body = closed.ask(method, f"/b/{path}")
    assert status == 401
    assert fields["www-authenticate"] == 'Bearer realm="merklelog"'
    assert fields["cache-control"] == "no-store"
    assert not body or json.loads(body)["reason"] == "UNAUTHENTICATED"
    assert closed.ask(method, f"/b/{path}", "b-read")[0] in {200, 404}
    for token in ("b-append", "b-admin", "a-read"):
        status, fields, body = closed.ask(method, f"/b/{path}", token)
        assert status == 403
        assert "www-authenticate" not in fields
        assert not body or json.loads(body)["reason"] == "FORBIDDEN"
    status, fields, _ = closed.ask(method, f"/a/{path}", "Bearer wrong")
    assert status == 401
    assert fields["www-authenticate"] == 'Bearer realm="merklelog", error="invalid_token"'


def test_what_is_not_there_is_not_told_to_strangers(closed: Closed) -> None:
    for path in ("entry/0", "entry/9", "checkpoints/7", "tile/9/000.p/1"):
        assert closed.ask("GET", f"/b/{path}")[0] == 401
    assert closed.ask("GET", "/b/entry/9", "b-read")[0] == 404


def test_what_took_a_token_stays_out_of_shared_caches(closed: Closed) -> None:
    _, fields, body = closed.ask("GET", "/a/entry/0")
    assert fields["cache-control"] == "public, max-age=31536000, immutable"
    status, own, same = closed.ask("GET", "/b/entry/0", "b-read")
    assert (status, same) == (200, body)
    assert own["cache-control"] == "private, max-age=31536000, immutable"
    assert closed.ask("GET", "/b/checkpoint", "b-read")[1]["cache-control"] == "no-cache"
    status, fields, _ = closed.ask("GET", "/b/entry/0", if_none_match=own["etag"])
    assert status == 401
    assert closed.ask("GET", "/b/entry/0", "b-read", if_none_match=own["etag"])[0] == 304


def test_appends(closed: Closed) -> None:
    for name in ("a", "b"):
        log = closed.logs.find(f"example.com/{name}").log
        size = log.size
        status, fields, _ = closed.ask("POST", f"/{name}/add", body=b"x")
        assert (status, fields["www-authenticate"]) == (401, 'Bearer realm="merklelog"')
        for token in (f"{name}-read", f"{name}-admin", "b-append" if name == "a" else "a-append"):
            assert closed.ask("POST", f"/{name}/add", token, b"x")[0] == 403
        assert closed.ask("POST", f"/{name}/add", "Bearer wrong", b"x")[0] == 401
        assert log.size == size
        assert closed.ask("POST", f"/{name}/add", f"{name}-append", b"x")[::2] == (200, b"%d\n" % size)


def test_an_idempotency_key_belongs_to_its_holder(closed: Closed, tmp_path: Path) -> None:
    folder = closed.logs.find("example.com/a").log.path
    for name in ("one", "two", "one"):
        kept, shown = make_token(name, [Scope.APPEND], 0)
        change_tokens(folder, lambda old, new=kept: (*old, new), lambda _tokens: None)
        closed.tokens.setdefault(name, f"Bearer {shown}")
        closed.tokens[f"{name}-newer"] = f"Bearer {shown}"
    closed.access.refresh(
        LogAccess(served.log.origin, served.log.path, "public" if served.prefix == "/a/" else "auto")
        for served in closed.logs
    )
    first = closed.ask("POST", "/a/add", "one", b"mine", idempotency_key="k")
    assert closed.ask("POST", "/a/add", "one", b"mine", idempotency_key="k")[2] == first[2]
    # A new token of the same holder: a retry across the change stores nothing twice.
    assert closed.ask("POST", "/a/add", "one-newer", b"mine", idempotency_key="k")[2] == first[2]
    other = closed.ask("POST", "/a/add", "two", b"theirs", idempotency_key="k")
    assert (first[0], other[0]) == (200, 200)
    assert other[2] != first[2]


def test_two_authorization_headers_are_no_token(closed: Closed) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x"}

    raw = [(b"authorization", closed.tokens["a-append"].encode())] * 2
    scope = {"type": "http", "method": "POST", "path": "/a/add", "query_string": b"", "headers": raw}
    asyncio.run(closed.api(scope, receive, send))
    assert sent[0]["status"] == 401


def test_what_needs_no_token(closed: Closed) -> None:
    for path in ("/healthz", "/openapi.json"):
        assert closed.ask("GET", path)[0] == 200
    status, fields, _ = closed.ask("OPTIONS", "/b/checkpoint")
    assert status == 204
    assert "Authorization" in fields["access-control-allow-headers"]
    assert closed.ask("GET", "/b/nothing")[0] == 404


def test_a_certificate_may_do_what_it_is_granted(closed: Closed, authority: Any) -> None:
    import merklelog.servers.http_api as http_api

    folder = closed.logs.find("example.com/b").log.path
    pair = authority.issue("reader")
    kept, _ = make_token("reader", [Scope.READ], 0, certificate="CN:reader")
    change_tokens(folder, lambda old: (*old, kept), lambda _tokens: None)
    closed.access.refresh(
        LogAccess(served.log.origin, served.log.path, "public" if served.prefix == "/a/" else "auto")
        for served in closed.logs
    )

    def scope(method: str, path: str, pem: str) -> dict[str, Any]:
        tls = {"client_cert_chain": (pem,)}
        asked = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        return {**asked, "extensions": {"tls": tls}}

    mine, others = pair.pem.read_text(), authority.issue("stranger").pem.read_text()
    for path, pem, want in (
        ("/b/checkpoint", mine, 200),
        ("/b/checkpoint", others, 401),
        ("/a/checkpoint", others, 200),
    ):
        assert closed.api.answer(http_api._request(scope("GET", path, pem))).status == want


@pytest.mark.parametrize("path", [*READS, "entry/9", "entry/x"])
def test_a_page_of_any_site_reads_what_is_public_or_with_a_token(
    closed: Closed, private: Closed, path: str
) -> None:
    cors = "access-control-allow-origin"
    assert closed.ask("GET", f"/a/{path}")[1][cors] == "*"
    assert cors not in closed.ask("GET", f"/b/{path}")[1]
    assert closed.ask("GET", f"/b/{path}", "b-read")[1][cors] == "*"
    status, fields, _ = private.ask("GET", f"/{path}")
    assert status != 401
    assert not [name for name in fields if name.startswith("access-control-")]
    assert private.ask("OPTIONS", "/checkpoint")[1][cors] == "*"


def test_a_page_without_a_token_comes_from_this_machine(private: Closed) -> None:
    """A name of the page's own that leads here makes the page one of this server (DNS rebinding)."""
    for host in ("127.0.0.1:7080", "localhost:7080", "localhost", "[::1]:7080"):
        assert private.ask("POST", "/add", body=b"x", origin=f"http://{host}", host=host)[0] == 200
    for host in ("evil.example:7080", "evil.example", "10.0.0.1:7080"):
        assert private.ask("POST", "/add", body=b"x", origin=f"http://{host}", host=host)[0] == 403


def test_the_description_names_the_token() -> None:
    document = json.loads(describe(["/"]))
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for operation in item.values():
            is_own = path in {"/healthz", "/openapi.json"}
            assert ("security" in operation) != is_own
            assert ("401" in operation["responses"]) != is_own
