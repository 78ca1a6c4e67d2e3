"""A server that indexes its log: HTTP and gRPC answer alike, the index follows, and nothing else notices."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest

from merklelog.client.access import Access
from merklelog.client.searching import Search, SearchAnswer, search_server
from merklelog.errors import DamagedError, NotFoundError, UnauthenticatedError, UsageError
from merklelog.formats import parse_checkpoint
from merklelog.index.files import current, search_directory
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.entry import encode_entry
from merklelog.log import open_reader
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token
from merklelog.v1 import log_pb2 as pb
from tests.index.corpus import SECOND, START, documents, expected, make_log, record, text
from tests.servers.http.test_http_openapi import check
from tests.servers.serve.conftest import Serving

PATIENCE = 60.0
ADMIN = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")


def own(made: dict[str, Any]) -> bytes:
    """An entry of a record that a client appends itself: what only the log says is not in it."""
    return encode_entry(None, encode_record(made))


def event(number: int) -> bytes:
    made = record(
        START + number * SECOND, text(f"event {number}"), audit__actor=f"user{number % 3}", audit__action="go"
    )
    return own(made)


def start(*logs: Path) -> Serving:
    serving = Serving(*logs, *ADMIN, environment={"MERKLELOG_SERVER__LOG_FORMAT": "json"})
    try:
        return serving.ready()
    except BaseException:
        serving.close()
        raise


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = [event(n) for n in range(40)]
    return make_log(tmp_path_factory.mktemp("served") / "log", first, **{"index.enabled": True})


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[Serving]:
    serving = start(log)
    try:
        indexed(serving, 40)
        yield serving
        assert serving.stop() == 0
    finally:
        serving.close()


def targets(server: Serving) -> tuple[str, str]:
    return f"grpc://{server.addresses['grpc']}", f"http://{server.addresses['http']}"


def ask(server: Serving, search: Search, access: Access | None = None) -> SearchAnswer:
    """The answer by gRPC, and by HTTP the same."""
    both = [search_server(target, search, access or Access()) for target in targets(server)]
    assert both[0] == both[1]
    return both[0]


def until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < ends, "never"
        time.sleep(0.02)


def indexed(server: Serving, size: int, access: Access | None = None) -> None:
    """Wait until that many entries can be found."""

    def there() -> bool:
        try:
            return search_server(targets(server)[1], Search("", 1), access or Access()).indexed_size >= size
        except NotFoundError:
            return False  # the index is not begun yet

    until(there)


def test_hits_come_alike_by_each_door_and_with_what_proves_them(server: Serving, log: Path) -> None:
    indexed(server, 40)
    answer = ask(server, Search("actor:user1", 5, entries=True, proofs=True, count_by="actor", seconds=60))
    with open_reader(log) as reader:
        every = documents(reader)
        want = expected(every, "actor:user1")
        assert [hit.index for hit in answer.hits] == want[:5]
        assert (answer.total, answer.indexed_size, answer.counts) == (
            len(want),
            reader.size,
            (("user1", len(want)),),
        )
        assert sum(count for _, count in answer.buckets) == len(want)
        assert parse_checkpoint(answer.checkpoint.encode()).checkpoint.root == reader.root
        for hit in answer.hits:
            assert hit.data == (reader.entry(hit.index),)
            assert hit.proof.encode() == reader.prove(hit.index)
            assert hit.fields["actor"] == "user1"
    rest = ask(server, Search("actor:user1", 1_000, cursor=answer.cursor))
    assert [hit.index for hit in rest.hits] == want[5:]
    assert (rest.total, rest.cursor) == (None, "")
    newest = ask(server, Search("actor:user1", 2, newest_first=True))
    assert [hit.index for hit in newest.hits] == want[::-1][:2]


def test_the_answer_is_the_described_one(server: Serving) -> None:
    indexed(server, 40)
    document = json.loads(server.ask("GET", "/openapi.json")[1])
    asked = {"limit": 3, "entries": "true", "proofs": "true", "count_by": "actor", "histogram_seconds": 0}
    for more in ({}, {"cursor": ask(server, Search("", 3)).cursor}):
        status, body = server.ask("GET", f"/search?{urlencode(asked | more)}")
        assert status == 200
        check(json.loads(body), {"$ref": "#/components/schemas/Found"}, document)


def test_an_append_is_found_soon_and_the_answer_says_how_far_it_looked(server: Serving) -> None:
    indexed(server, 40)
    index = server.append(own(record(START, text("x"), audit__actor="late")))
    indexed(server, index + 1)
    answer = ask(server, Search("actor:late"))
    assert [hit.index for hit in answer.hits] == [index]
    assert answer.indexed_size == answer.tree_size == index + 1
    status, metrics = server.ask("GET", "/metrics", door="admin")
    assert status == 200
    assert f'merklelog_log_indexed_entries{{log="search.example/log"}} {index + 1}.0'.encode() in metrics


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        ({"query": "actor:a (b"}, "query", "character 11: it ends here, want ')'"),
        ({"limit": "0"}, "limit", "want 1 to 1,000"),
        ({"limit": "1001"}, "limit", "want 1 to 1,000"),
        ({"limit": "+1"}, "limit", "decimal"),
        ({"cursor": "b1-1"}, "cursor", "want one that an answer gave"),
        ({"cursor": "d1-1"}, "cursor", "of the other order"),
        ({"newest_first": "yes"}, "newest_first", "want true or false"),
        ({"entries": ""}, "entries", "want true or false"),
        ({"who": "x"}, "who", "no such parameter"),
        ({"histogram_seconds": "4294967296"}, "histogram_seconds", "want at most"),
    ],
)
def test_what_can_not_be_asked_says_which_field(
    server: Serving, asked: dict[str, str], field: str, said: str
) -> None:
    status, body = server.ask("GET", f"/search?{urlencode(asked)}")
    told = json.loads(body)
    assert (status, told["reason"], told["field"]) == (400, "INVALID_REQUEST", field)
    assert said in told["message"]


def test_bytes_that_are_no_text_and_methods_that_are_none(server: Serving) -> None:
    assert server.ask("GET", "/search?query=%ff")[0] == 400
    assert server.ask("GET", "/search?query=a&query=b")[0] == 400
    assert server.ask("POST", "/search", b"")[0] == 405
    assert server.ask("OPTIONS", "/search")[0] == 204
    status, body = server.ask("HEAD", "/search")
    assert (status, body) == (200, b"")
    with pytest.raises(grpc.RpcError) as refused:
        server.call("Search", pb.SearchRequest(query="a ("))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for target in targets(server):
        with pytest.raises(UsageError, match="character 4: it ends here"):
            search_server(target, Search("a ("), Access())


def test_an_index_is_made_anew_when_asked_for_or_damaged(server: Serving, log: Path) -> None:
    place = search_directory(log)
    size = ask(server, Search("", 1)).tree_size
    indexed(server, size)
    before = ask(server, Search("", 1_000)).hits  # a checkpoint may have got its second signature meanwhile
    (place / "rebuild").touch()
    old = current(place)
    until(lambda: current(place) != old)
    assert ask(server, Search("", 1_000)).hits == before
    old = current(place)
    for each in old.iterdir():
        if each.suffix in {".idx", ".store", ".term", ".fast", ".fieldnorm", ".pos"}:
            each.write_bytes(b"\0" * each.stat().st_size)
    (old / "meta.json").touch()

    def healed() -> bool:
        try:
            return search_server(targets(server)[1], Search("", 1_000), Access()).hits == before
        except (NotFoundError, DamagedError):
            return False

    until(healed)
    assert server.append(event(50)) == size


def test_its_process_may_be_killed_at_any_time(server: Serving, log: Path) -> None:
    for round_ in range(2):
        pid = int((search_directory(log) / "lock").read_text())
        assert pid != server.process.pid
        server.append(event(60 + round_))
        os.kill(pid, signal.SIGKILL)
        last = server.append(event(70 + round_))
        indexed(server, last + 1)
    with open_reader(log) as reader:
        want = expected(documents(reader), "go")
    assert [hit.index for hit in ask(server, Search("go", 1_000)).hits] == want


def test_killed_whole_a_server_goes_on_where_its_index_ended(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", [event(n) for n in range(20)], **{"index.enabled": True})
    for round_ in range(2):
        serving = start(path)
        try:
            last = serving.append(event(100 + round_))
            if round_:
                indexed(serving, last + 1)
            else:
                serving.process.kill()
                serving.wait()
        finally:
            serving.close()
    with open_reader(path) as reader:
        assert [each.entries for each in documents(reader)] == [1] * reader.size


def test_a_log_asks_who_searches_and_one_without_an_index_says_so(tmp_path: Path) -> None:
    guarded = make_log(tmp_path / "guarded", [event(1)], **{"index.enabled": True})
    kept, token = make_token("auditor", (Scope.READ,), int(time.time()))
    change_tokens(guarded, lambda tokens: (*tokens, kept), lambda _tokens: None)
    plain = tmp_path / "plain"
    make_log(plain, [event(1)])
    serving = start(guarded)
    try:
        for target in targets(serving):
            with pytest.raises(UnauthenticatedError):
                search_server(target, Search(""), Access())

        access = Access(token=token)
        indexed(serving, 1, access)
        assert ask(serving, Search("actor:user1"), access).indexed_size == 1
    finally:
        serving.close()
    serving = start(plain)
    try:
        for target in targets(serving):
            with pytest.raises(NotFoundError, match="keeps no index"):
                search_server(target, Search(""), Access())
        assert not search_directory(plain).exists()
    finally:
        serving.close()


def test_an_answer_that_is_none_is_refused(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    from merklelog.client import http_source
    from merklelog.cosign.exchange import Exchange

    indexed(server, 1)
    good = json.loads(server.ask("GET", "/search?limit=1")[1])
    bad: list[Any] = [[], {}, {**good, "hits": [{}]}, {**good, "total": -1}, {**good, "cursor": 1}]
    bad += [
        {**good, "hits": [{**good["hits"][0], "time_unix_nano": "01"}]},
        {**good, "counts": [{"value": 1}]},
    ]
    bad += [{**good, "hits": [{**good["hits"][0], "data": ["x"]}]}]
    for told in bad:
        answer = Exchange(200, {}, json.dumps(told).encode(), True)
        monkeypatch.setattr(http_source.HttpObjects, "ask", lambda *_, answer=answer, **__: answer)
        with pytest.raises(DamagedError, match="can not be read"):
            search_server(targets(server)[1], Search(""), Access())
    with pytest.raises(UsageError, match="a published copy has no index"):
        search_server("s3://bucket/log", Search(""), Access())
