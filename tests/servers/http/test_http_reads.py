"""What the application answers to reads, asked without a server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merklelog.formats import parse_checkpoint, parse_proof, single_log_policy
from merklelog.protocol.verdict import verify_proof_file
from merklelog.publish.encoding import decompress
from merklelog.tree import (
    bundle_path,
    leaf_hash,
    tile_path,
    verify_consistency,
    verify_inclusion,
    verify_range,
)

TREE15 = Path(__file__).resolve().parents[2] / "vectors" / "tiles" / "tree15"
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def served(make_served: Make, tree15: list[bytes]) -> Any:
    return make_served(tree15)


def problem(response: Any) -> dict[str, Any]:
    assert dict(response.headers)[b"content-type"] == b"application/problem+json"
    told = json.loads(response.body)
    assert told["status"] == response.status
    return dict(told)


def test_the_checkpoint_is_revalidated_and_never_stale(served: Any) -> None:
    first = served.get("/checkpoint")
    headers = dict(first.headers)
    assert first.status == 200
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert parse_checkpoint(first.body).checkpoint.size == 15
    tag = headers[b"etag"].decode()
    for value in (tag, f'"other", W/{tag}', "*"):
        again = served.get("/checkpoint", if_none_match=value)
        assert (again.status, again.body) == (304, b"")
        assert dict(again.headers)[b"etag"].decode() == tag
        assert b"content-length" not in dict(again.headers)
    assert served.get("/checkpoint", if_none_match='"other"').status == 200


def test_the_checkpoint_grows_with_the_log(make_served: Make, tree15: list[bytes]) -> None:
    fresh = make_served(tree15)
    tag = dict(fresh.get("/checkpoint").headers)[b"etag"].decode()
    next(iter(fresh.logs)).log.append(b"one more")
    grown = fresh.get("/checkpoint", if_none_match=tag)
    assert grown.status == 200
    assert parse_checkpoint(grown.body).checkpoint.size == 16
    old = fresh.get("/checkpoints/15")
    assert parse_checkpoint(old.body).checkpoint.size == 15


def test_head_has_the_headers_of_get(served: Any) -> None:
    paths = ["/checkpoint", "/tile/0/000.p/15", "/tile/entries/000.p/15", "/entry/3", "/proof/3.tlog-proof"]
    for path in [*paths, "/healthz", "/openapi.json", "/entry/99"]:
        get, head = served.get(path), served.get(path, method="HEAD")
        assert head.status == get.status, path
        assert head.body == b""
        assert head.headers == get.headers
        assert dict(head.headers)[b"content-length"] == b"%d" % len(get.body)


def test_tiles_and_bundles_of_every_width_are_those_of_another_implementation(served: Any) -> None:
    for width in range(1, 16):
        for path in (tile_path(0, 0, width), bundle_path(0, width)):
            got = served.get(f"/{path}")
            headers = dict(got.headers)
            assert got.status == 200
            assert got.body == (TREE15 / path).read_bytes()
            assert headers[b"content-type"] == b"application/octet-stream"
            assert headers[b"cache-control"] == b"public, max-age=31536000, immutable"
            assert headers[b"access-control-allow-origin"] == b"*"


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP ;q=0.5, *;q=0.1", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("*, gzip;q=0.000", False),
        ("gzip;q=0.001", True),
    ],
)
def test_bundles_are_packed_for_who_takes_it(served: Any, accepted: str, packed: bool) -> None:
    plain = served.get("/tile/entries/000.p/15")
    got = served.get("/tile/entries/000.p/15", accept_encoding=accepted)
    headers = dict(got.headers)
    assert headers[b"vary"] == b"accept-encoding"
    assert dict(plain.headers)[b"vary"] == b"accept-encoding"
    assert (headers.get(b"content-encoding") == b"gzip") == packed
    assert (headers[b"etag"] == dict(plain.headers)[b"etag"]) != packed
    assert int(headers[b"content-length"]) == len(got.body)
    assert (decompress(got.body, 1 << 20) if packed else got.body) == plain.body
    assert b"content-encoding" not in dict(served.get("/tile/0/000.p/15", accept_encoding=accepted).headers)


def test_full_tiles(make_served: Make) -> None:
    served = make_served([])
    log = next(iter(served.logs)).log
    log.append_batch([b"%d" % i for i in range(513)])
    assert served.get("/tile/0/001").body == log.tile(0, 1)
    assert served.get("/tile/1/000.p/2").body == log.tile(1, 0, 2)
    assert served.get("/tile/entries/002.p/1").body == b"\x00\x03512"
    assert served.get("/tile/0/002").status == 404


def test_entries(served: Any, tree15: list[bytes]) -> None:
    for index, entry in enumerate(tree15):
        got = served.get(f"/entry/{index}")
        assert (got.status, got.body) == (200, entry)
        assert b"immutable" in dict(got.headers)[b"cache-control"]


def test_every_inclusion_proof_verifies(served: Any, tree15: list[bytes]) -> None:
    log = next(iter(served.logs)).log
    for size in range(1, 16):
        root = log.root if size == 15 else None
        for index in range(size):
            got = served.get("/proof/inclusion", f"index={index}&size={size}")
            told = json.loads(got.body)
            assert (told["index"], told["size"]) == (index, size)
            leaf = base64.b64decode(told["leaf_hash"])
            assert leaf == leaf_hash(tree15[index])
            if root is not None:
                proof = [base64.b64decode(each) for each in told["proof"]]
                verify_inclusion(leaf, index, size, proof, root)  # type: ignore[arg-type]
                assert parse_checkpoint(told["checkpoint"].encode()).checkpoint.root == root
    newest = json.loads(served.get("/proof/inclusion", "index=4").body)
    assert newest == json.loads(served.get("/proof/inclusion", "size=15&index=4").body)


def test_every_range_proof_verifies(served: Any, tree15: list[bytes]) -> None:
    leaves = [leaf_hash(entry) for entry in tree15]
    for size in range(1, 16):
        root = parse_checkpoint((TREE15 / f"checkpoint.{size}").read_bytes()).checkpoint.root
        for start in range(size):
            for end in range(start + 1, size + 1):
                query = f"start={start}&end={end}" + (f"&size={size}" if size < 15 else "")
                told = json.loads(served.get("/proof/range", query).body)
                assert (told["start"], told["end"], told["size"]) == (start, end, size)
                proof = [base64.b64decode(each) for each in told["proof"]]
                verify_range(leaves[start:end], start, size, proof, root)
                if size == 15:
                    assert parse_checkpoint(told["checkpoint"].encode()).checkpoint.root == root


def test_every_consistency_proof_verifies(served: Any) -> None:
    log = next(iter(served.logs)).log
    for old in range(16):
        told = json.loads(served.get("/proof/consistency", f"old={old}").body)
        assert (told["old"], told["new"]) == (old, 15)
        root = parse_checkpoint((TREE15 / f"checkpoint.{old}").read_bytes()).checkpoint.root
        proof = [base64.b64decode(each) for each in told["proof"]]
        verify_consistency(old, 15, root, log.root, proof)  # type: ignore[arg-type]


def test_proof_files_verify_offline(served: Any, tree15: list[bytes]) -> None:
    log = next(iter(served.logs)).log
    policy = single_log_policy(log.vkeys)
    for index in range(15):
        got = served.get(f"/proof/{index}.tlog-proof")
        assert dict(got.headers)[b"content-type"] == b"text/plain; charset=utf-8"
        verdict = verify_proof_file(parse_proof(got.body), leaf_hash(tree15[index]), policy)
        assert (verdict.index, verdict.checkpoint.size) == (index, 15)


def test_a_leaf_hash_finds_its_entry_where_the_log_keeps_a_lookup(
    make_served: Make, tree15: list[bytes]
) -> None:
    served = make_served(tree15, **{"log.lookup": True})
    for index, entry in enumerate(tree15):
        told = json.loads(served.get("/proof/by-hash", f"leaf_hash={leaf_hash(entry).hex()}").body)
        assert told["index"] == index
    missing = served.get("/proof/by-hash", f"leaf_hash={'00' * 32}")
    assert (missing.status, problem(missing)["message"]) == (404, "no entry has this leaf hash")
    short = served.get("/proof/by-hash", "leaf_hash=00")
    assert (short.status, problem(short)["field"]) == (400, "leaf_hash")


REFUSED = [
    ("GET", "/", "", 404, "NO_SUCH_PATH", None),
    ("GET", "/checkpoint/", "", 404, "NO_SUCH_PATH", None),
    ("GET", "/tile/", "", 404, "NO_SUCH_PATH", None),
    ("GET", "//checkpoint", "", 404, "NO_SUCH_PATH", None),
    ("GET", "/tile/0/000", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/tile/0/000.p/16", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/tile/1/000.p/1", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/tile/0/000.p/0", "", 400, "INVALID_REQUEST", None),
    ("GET", "/tile/0/000.p/256", "", 400, "INVALID_REQUEST", None),
    ("GET", "/tile/00/000.p/1", "", 400, "INVALID_REQUEST", None),
    ("GET", "/tile/0/../checkpoint", "", 400, "INVALID_REQUEST", None),
    ("GET", "/tile/64/000", "", 400, "INVALID_REQUEST", None),
    ("GET", "/entry/15", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/entry/01", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/entry/+1", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/entry/1_0", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/entry/٣", "", 400, "INVALID_REQUEST", "index"),
    ("GET", f"/entry/{2**63}", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/entry/" + "9" * 5000, "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/checkpoints/16", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/checkpoints/x", "", 400, "INVALID_REQUEST", "size"),
    ("GET", "/proof/inclusion", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/proof/inclusion", "index=1&leaf_hash=00", 400, "INVALID_REQUEST", "leaf_hash"),
    ("GET", "/proof/by-hash", "", 400, "INVALID_REQUEST", "leaf_hash"),
    ("GET", "/proof/by-hash", "leaf_hash=" + "AB" * 32, 400, "INVALID_REQUEST", "leaf_hash"),
    ("GET", "/proof/inclusion", "index=1&index=1", 400, "INVALID_REQUEST", "index"),
    ("GET", "/proof/inclusion", "index=", 400, "INVALID_REQUEST", "index"),
    ("GET", "/proof/inclusion", "indx=1", 400, "INVALID_REQUEST", "indx"),
    ("GET", "/proof/inclusion", "index=15", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/inclusion", "index=5&size=5", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/inclusion", "index=5&size=16", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/inclusion", "index=5&size=-1", 400, "INVALID_REQUEST", "size"),
    ("GET", "/proof/by-hash", "leaf_hash=" + "00" * 32, 404, "NOT_FOUND", None),
    ("GET", "/proof/range", "end=3", 400, "INVALID_REQUEST", "start"),
    ("GET", "/proof/range", "start=3", 400, "INVALID_REQUEST", "end"),
    ("GET", "/proof/range", "start=3&end=3", 400, "INVALID_REQUEST", "end"),
    ("GET", "/proof/range", "start=3&end=4&size=16", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/range", "start=3&end=9&size=8", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/consistency", "", 400, "INVALID_REQUEST", "old"),
    ("GET", "/proof/consistency", "old=9&new=8", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/consistency", "old=9&new=16", 404, "OUT_OF_RANGE", None),
    ("GET", "/proof/9", "", 404, "NOT_FOUND", None),
    ("GET", "/proof/x.tlog-proof", "", 400, "INVALID_REQUEST", "index"),
    ("GET", "/proof/15.tlog-proof", "", 404, "OUT_OF_RANGE", None),
    ("GET", "/add", "", 405, "METHOD_NOT_ALLOWED", None),
    ("PUT", "/add", "", 405, "METHOD_NOT_ALLOWED", None),
    ("POST", "/checkpoint", "", 405, "METHOD_NOT_ALLOWED", None),
    ("DELETE", "/entry/0", "", 405, "METHOD_NOT_ALLOWED", None),
    ("POST", "/events/entries", "", 405, "METHOD_NOT_ALLOWED", None),
    ("POST", "/nothing", "", 404, "NO_SUCH_PATH", None),
]


@pytest.mark.parametrize(("method", "path", "query", "status", "reason", "field"), REFUSED)
def test_a_refusal_says_what_was_wrong(
    served: Any, method: str, path: str, query: str, status: int, reason: str, field: str | None
) -> None:
    got = served.get(path, query, method)
    told = problem(got)
    assert (got.status, told["reason"], told.get("field")) == (status, reason, field)
    assert len(told["message"]) < 300
    assert dict(got.headers)[b"cache-control"] == b"no-store"
    if status == 405:
        assert method.encode() not in dict(got.headers)[b"allow"].split(b", ")


def test_a_page_of_another_site_may_read_but_not_append(served: Any) -> None:
    for path in ("/checkpoint", "/events/entries", "/tile/0/000.p/1"):
        asked = served.get(path, method="OPTIONS")
        assert asked.status == 204
        assert dict(asked.headers)[b"access-control-allow-methods"] == b"GET, HEAD"
    refused = served.get("/add", method="OPTIONS")
    assert refused.status == 204
    assert b"access-control-allow-origin" not in dict(refused.headers)


def test_a_damaged_database_is_not_described_to_the_caller(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from merklelog.errors import DamagedError

    log = next(iter(served.logs)).log
    for error, reason in (
        (DamagedError("/var/secret: row 7"), "DATA_DAMAGED"),
        (KeyError("secret"), "INTERNAL"),
    ):

        def fail(*_: object, error: Exception = error) -> bytes:
            raise error

        monkeypatch.setattr(log, "tile", fail)
        got = served.get("/tile/0/000.p/1")
        assert (got.status, problem(got)["reason"]) == (500, reason)
        assert b"secret" not in got.body
        assert "secret" in caplog.text, "the server's own log says why"
        caplog.clear()


PARTS = st.sampled_from(
    [
        "tile",
        "entries",
        "0",
        "000",
        "x001",
        ".p",
        "15",
        "entry",
        "proof",
        "inclusion",
        "checkpoint",
        "..",
        "",
        "9",
    ]
)
PATHS = st.one_of(st.lists(PARTS, max_size=6).map("/".join), st.text(max_size=40))
QUERIES = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(["index", "size", "old", "new", "leaf_hash", "x"]),
            st.sampled_from(["0", "1", "-1", "x"]),
        ),
        max_size=4,
    ).map(lambda pairs: "&".join(f"{k}={v}" for k, v in pairs).encode()),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"if-none-match", b"accept-encoding", b"last-event-id", b"range"]),
        st.binary(max_size=20),
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "get", ""]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
)
def test_any_request_gets_an_answer_and_none_is_a_fault(
    served: Any, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    from merklelog.servers.http_values import Request

    got = served.api.answer(Request(method, f"/{path}", query, headers))
    assert got.status in {200, 204, 304, 400, 404, 405}
    assert all(isinstance(name, bytes) and name == name.lower() for name, _ in got.headers)
    assert not any(b"\n" in value or b"\r" in value for _, value in got.headers)
    if got.status >= 400:
        problem(got) if method != "HEAD" else None
