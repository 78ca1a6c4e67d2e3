"""The OpenAPI document: every route is in it, and a running server answers as it says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from merklelog.errors import FormatError
from merklelog.servers import http_events, http_reads
from merklelog.servers.openapi import OPERATIONS, describe
from merklelog.tree import leaf_hash, parse_path, tile_path

Start = Callable[..., Any]
LOOKUP = {"log.lookup": True}


def paths(prefixes: list[str]) -> dict[str, dict[str, Any]]:
    return dict(json.loads(describe(prefixes))["paths"])


def test_every_route_is_described_and_nothing_else() -> None:
    described = {operation.path for operation in OPERATIONS if not operation.server}
    whole = {path for path in described if "{" not in path}
    folders = {path.split("/")[0] for path in described - whole}
    assert whole == {*http_reads.FILES, *http_events.STREAMS, "add", "search", "v1/audit"}
    assert folders == set(http_reads.FOLDERS)
    assert len(described) == len([o for o in OPERATIONS if not o.server])


def test_the_server_s_own_paths_are_described(make_served: Callable[..., Any]) -> None:
    own = {f"/{operation.path}" for operation in OPERATIONS if operation.server}
    assert own == set(make_served().api._own)


def test_several_logs_are_a_parameter() -> None:
    one, many = paths(["/"]), paths(["/a/", "/b.c/"])
    assert {path.replace("/{log}/", "/") for path in many} == set(one)
    assert [p for p in many if not p.startswith("/{log}/")] == ["/healthz", "/openapi.json"]
    log = many["/{log}/add"]["post"]["parameters"][0]
    assert (log["name"], log["schema"]["enum"]) == ("log", ["a", "b.c"])


def test_the_document_is_whole() -> None:
    """What the specification asks of a document that no validator here checks for us."""
    document = json.loads(describe(["/a/", "/b/"]))
    assert document["openapi"].startswith("3.1.")
    names = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert method in {"get", "post"}
            names.append(operation["operationId"])
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
            assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
            keys = [(p["in"], p["name"]) for p in operation["parameters"]]
            assert len(keys) == len(set(keys))
            assert "200" in operation["responses"]
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[2345]\d\d|default", status)
                assert response["description"]
    assert len(names) == len(set(names))
    for reference in re.findall(r'"\$ref":"#/components/schemas/(\w+)"', describe(["/"]).decode()):
        assert reference in document["components"]["schemas"]


def test_the_described_tile_paths_are_those_there_are() -> None:
    parameters = paths(["/"])["/tile/{level}/{tile}"]["get"]["parameters"]
    pattern = next(each["schema"]["pattern"] for each in parameters if each["name"] == "tile")
    for index in (0, 1, 999, 1_000, 1_234_067, 100_000_000, 10**18 - 1):
        for width in (1, 9, 10, 99, 100, 199, 200, 249, 255, 256):
            assert re.search(pattern, tile_path(0, index, width).removeprefix("tile/0/"))
    for wrong in (
        "0",
        "0000",
        "x000/001",
        "x001",
        "x001/01",
        "000.p/0",
        "000.p/256",
        "000.p/01",
        "000.p/",
        "001/002",
    ):
        assert not re.search(pattern, wrong)
        with pytest.raises(FormatError):
            parse_path(f"tile/0/{wrong}")


CALLS: list[tuple[str, str, dict[str, str], int]] = [
    ("get", "checkpoint", {}, 200),
    ("get", "checkpoint.witnessed", {}, 404),
    ("get", "checkpoints/{size}", {"size": "0"}, 200),
    ("get", "checkpoints/{size}", {"size": "x"}, 400),
    ("get", "checkpoints/{size}", {"size": "999"}, 404),
    ("get", "tile/{level}/{tile}", {"level": "0", "tile": "000.p/3"}, 200),
    ("get", "tile/{level}/{tile}", {"level": "64", "tile": "000"}, 400),
    ("get", "tile/{level}/{tile}", {"level": "1", "tile": "000"}, 404),
    ("get", "tile/entries/{tile}", {"tile": "000.p/3"}, 200),
    ("get", "tile/entries/{tile}", {"tile": "0"}, 400),
    ("get", "tile/entries/{tile}", {"tile": "x001/000"}, 404),
    ("get", "entry/{index}", {"index": "2"}, 200),
    ("get", "entry/{index}", {"index": "two"}, 400),
    ("get", "entry/{index}", {"index": "999"}, 404),
    ("get", "proof/{index}.tlog-proof", {"index": "1"}, 200),
    ("get", "proof/{index}.tlog-proof", {"index": "1", "?size": "-"}, 400),
    ("get", "proof/{index}.tlog-proof", {"index": "999"}, 404),
    ("get", "proof/inclusion", {"?index": "1", "?size": "2"}, 200),
    ("get", "proof/inclusion", {"?index": "1"}, 200),
    ("get", "proof/inclusion", {}, 400),
    ("get", "proof/inclusion", {"?index": "999"}, 404),
    ("get", "proof/by-hash", {"?leaf_hash": leaf_hash(b"2").hex()}, 200),
    ("get", "proof/by-hash", {}, 400),
    ("get", "proof/by-hash", {"?leaf_hash": "0" * 64}, 404),
    ("get", "proof/range", {"?start": "1", "?end": "3"}, 200),
    ("get", "proof/range", {"?start": "1", "?end": "1"}, 400),
    ("get", "proof/range", {"?start": "1", "?end": "999"}, 404),
    ("get", "proof/consistency", {"?old": "1", "?new": "3"}, 200),
    ("get", "proof/consistency", {}, 400),
    ("get", "proof/consistency", {"?old": "4", "?new": "3"}, 404),
    ("get", "search", {"?limit": "0x"}, 400),
    ("get", "search", {}, 404),
    ("get", "events/checkpoints", {"?x": "1"}, 400),
    ("get", "events/entries", {"?start": "x"}, 400),
    ("post", "add", {}, 200),
    ("post", "add", {"Idempotency-Key": "k"}, 409),
    ("post", "add", {"merklelog-wait": "never"}, 400),
    ("post", "add", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("post", "add", {"Content-Encoding": "gzip"}, 415),
    ("post", "add", {"body": "x" * 65_536}, 413),
    ("get", "healthz", {}, 200),
    ("get", "openapi.json", {}, 200),
]


@pytest.fixture(scope="module")
def server(start: Start) -> Any:
    running = start("described", **LOOKUP)
    for n in range(3):
        assert running.ask("POST", "/add", b"%d" % n, {"Idempotency-Key": "k"} if n == 0 else {})[0] == 200
    return running


@pytest.fixture(scope="module")
def document(server: Any) -> dict[str, Any]:
    status, headers, body = server.ask("GET", "/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    return dict(json.loads(body))


@pytest.mark.parametrize(("method", "path", "given", "status"), CALLS)
def test_a_running_server_answers_as_described(
    server: Any, document: dict[str, Any], method: str, path: str, given: dict[str, str], status: int
) -> None:
    operation = document["paths"][f"/{path}"][method]
    described = operation["responses"][str(status)]
    known = {parameter["name"] for parameter in operation["parameters"]}
    address = f"/{path}"
    for name, value in given.items():
        address = address.replace(f"{{{name}}}", value)
    query = "&".join(f"{name[1:]}={value}" for name, value in given.items() if name[0] == "?")
    headers = {name: value for name, value in given.items() if name[0].isupper() or name in known - {"index"}}
    body = given.get("body", "an entry").encode() if method == "post" else None
    got, fields, content = server.ask(
        method.upper(), f"{address}?{query}" if query else address, body, headers
    )
    assert got == status, content
    assert fields["content-type"] in described["content"]
    for name in described.get("headers", {}):
        assert name.lower() in fields
    schema = described["content"][fields["content-type"]].get("schema")
    if schema is not None:
        value = json.loads(content) if "json" in fields["content-type"] else content.decode()
        check(value, schema, document)


def test_every_described_operation_and_refusal_is_called() -> None:
    """But the streams' success, which tests of their own read, and what takes an overloaded, full or ended log."""
    called = {(path, str(status)) for _, path, _, status in CALLS}
    elsewhere = {(path, status) for path in http_events.STREAMS for status in ("200", "429")}
    elsewhere |= {("add", "429"), ("add", "503"), ("add", "410"), ("search", "200"), ("search", "429")}
    elsewhere |= {("checkpoint.witnessed", "200")}  # tests/witness_client
    elsewhere |= {(path[1:], status) for path in paths(["/"]) for status in ("401", "403")}  # with tokens
    for path, item in paths(["/"]).items():
        for operation in item.values():
            for status in operation["responses"]:
                if status not in {"default", "304"}:
                    assert (path[1:], status) in called | elsewhere


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """As much of JSON Schema as the document uses; an unknown keyword fails, so that none goes unchecked."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    for keyword, wanted in schema.items():
        match keyword:
            case "type":
                allowed = wanted if isinstance(wanted, list) else [wanted]
                assert isinstance(value, tuple(kinds[each] for each in allowed))
            case "required":
                assert set(wanted) <= set(value)
            case "properties":
                for name, part in wanted.items():
                    if name in value:
                        check(value[name], part, document)
            case "additionalProperties" if wanted is False:
                assert set(value) <= set(schema["properties"])
            case "additionalProperties":
                for each in value.values():
                    check(each, wanted, document)
            case "items":
                for each in value:
                    check(each, wanted, document)
            case "minimum":
                assert value >= wanted
            case "maximum":
                assert value <= wanted
            case "minLength":
                assert len(value) >= wanted
            case "maxLength" | "maxItems":
                assert len(value) <= wanted
            case "pattern":
                assert re.search(wanted, value)
            case "contentEncoding":
                assert wanted == "base64"
                base64.b64decode(value, validate=True)
            case "description" | "format":
                continue
            case _:
                pytest.fail(f"the document uses {keyword}, which this test does not check")
