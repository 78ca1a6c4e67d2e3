"""The shape of the product, read from its source: who may import whom, and what no module may do.

ARCHITECTURE.md shows the same map to a reader; `ROOMS` here is what holds.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import merklelog

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "merklelog"

# Top to bottom: a room imports only rooms above it. "merklelog" is the facade, the package's own __init__.
ROOMS = (
    "version",
    "later",
    "errors",
    "tree",
    "formats",
    "protocol",
    "store",
    "publish",
    "cosign",
    "log",
    "witness",
    "v1",
    "client",
    "audit",
    "pack",
    "ingest",
    "audit_events",
    "index",
    "servers",
    "merklelog",
    "cli",
    "__main__",
)
SIBLINGS = ({"store", "publish"},)  # adapters that know nothing of each other
ALWAYS_THERE = {"errors", "tree", "formats", "protocol", "store", "log", "merklelog"}

# Where a package from outside may be imported: a room, or one module of it.
THIRD_PARTY = {
    "blake3": {"store", "publish", "log", "ingest"},
    "botocore": {"publish"},
    "click": {"cli"},
    "cryptography": {"formats.algorithms", "servers.certificates"},
    "google": {"v1", "client", "ingest", "servers"},
    "grpc": {"client", "servers"},
    "grpc_health": {"servers"},
    "grpc_reflection": {"servers"},
    "h2corn": {"servers"},
    "isal": {"publish"},
    "msgspec": {"publish", "log", "ingest", "index", "servers"},
    "numpy": {"store"},
    "opentelemetry": {"ingest.otlp_protobuf", "audit_events.otel", "servers.commit_spans", "servers.spans"},
    "prometheus_client": {"servers"},
    "rich": {"cli"},
    "rocksdict": {"store"},
    "tantivy": {"index"},
    "urllib3": {"publish.s3_transfer", "publish.s3_wire"},
    "uvloop": {"servers"},
    "zstandard": {"servers.otlp_encodings"},
}
# The packages that an import comes from, where they have another name.
PACKAGES = {
    "botocore": ("boto3",),  # boto3 pins its own
    "urllib3": ("boto3",),  # and botocore its
    "google": ("protobuf", "googleapis-common-protos"),
    "grpc": ("grpcio",),
    "grpc_health": ("grpcio-health-checking",),
    "grpc_reflection": ("grpcio-reflection",),
    "opentelemetry": ("opentelemetry-api", "opentelemetry-proto"),
    "prometheus_client": ("prometheus-client",),
}
# Math and decisions: what they need comes in as an argument, the time included.
PURE = {"errors", "tree", "protocol"}
IMPURE = {
    *("asyncio", "datetime", "fcntl", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "queue"),
    *("random", "secrets", "select", "shutil", "signal", "socket", "subprocess", "sys", "tempfile"),
    *("threading", "time", "urllib", "uuid"),
}

PUBLIC = [
    "AsyncClient",
    "BatchReceipt",
    "Client",
    "Log",
    "LogReader",
    "Receipt",
    "__version__",
    "audit_event",
    "audited",
    "auditing",
    "connect",
    "connect_async",
    "create_log",
    "open",
    "open_reader",
]


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name without the leading `merklelog.`, its room, its text and its tree."""

    path: Path
    name: str
    room: str
    lines: list[str]
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def read(path: Path) -> Module:
    parts = path.relative_to(PRODUCT).with_suffix("").parts
    dotted = [part for part in parts if part != "__init__"]
    text = path.read_text("utf-8")
    room = dotted[0] if dotted else "merklelog"
    return Module(path, ".".join(dotted), room, text.splitlines(), ast.parse(text))


@cache
def modules() -> list[Module]:
    """All of the product, read when the first test asks and not by each process that collects the tests."""
    return [read(path) for path in sorted(PRODUCT.rglob("*.py"))]


def each_module(rule: Callable[[Module], None]) -> Callable[[str], None]:
    """A rule for one module as a test a room, of every module in it; what is found is said with its place."""

    def test(room: str) -> None:
        for module in modules():
            if module.room == room:
                rule(module)

    test.__name__ = test.__qualname__ = rule.__name__
    marked: Callable[[str], None] = pytest.mark.parametrize("room", dict.fromkeys(ROOMS))(test)
    return marked


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every module or name imported, absolute and dotted, wherever the statement stands."""
    package = ["merklelog", *module.name.split(".")] if module.name else ["merklelog"]
    if module.path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node, f"{target}.{alias.name}") for alias in node.names)


def room_of(dotted: str) -> str:
    """The room an import reaches: `merklelog.tree.hashing` is in tree, a name of the facade in merklelog."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "merklelog"


def test_the_walk_sees_the_product() -> None:
    rooms = {module.room for module in modules()}
    assert rooms >= ALWAYS_THERE
    assert rooms <= set(ROOMS), "a new room: give it a place in ROOMS and in ARCHITECTURE.md"
    assert len(modules()) > 30


def test_the_walk_sees_imports_of_every_spelling() -> None:
    text = "import os.path\nfrom . import a\nfrom .b import c\nfrom ..errors import E\nimport merklelog.log\n"
    path = PRODUCT / "tree" / "x.py"
    module = Module(path, "tree.x", "tree", text.splitlines(), ast.parse(text))
    assert [dotted for _, dotted in imports(module)] == [
        "os.path",
        "merklelog.tree.a",
        "merklelog.tree.b.c",
        "merklelog.errors.E",
        "merklelog.log",
    ]


@each_module
def test_a_room_imports_only_rooms_above_it(module: Module) -> None:
    for node, dotted in imports(module):
        if not dotted.startswith("merklelog"):
            continue
        other = room_of(dotted)
        if other == module.room:
            continue
        assert ROOMS.index(other) < ROOMS.index(module.room), f"{module.at(node)}: imports {dotted}, below it"
        assert not any({module.room, other} <= group for group in SIBLINGS), (
            f"{module.at(node)}: {module.room} imports its sibling {other}"
        )


@each_module
def test_packages_from_outside_stay_in_their_rooms(module: Module) -> None:
    for node, dotted in imports(module):
        package = dotted.split(".")[0]
        if package == "merklelog" or package in sys.stdlib_module_names:
            continue
        assert package in THIRD_PARTY, f"{module.at(node)}: {package} is new: give it a place in THIRD_PARTY"
        places = THIRD_PARTY[package]
        assert {module.room, module.name} & places, (
            f"{module.at(node)}: imports {package}, which stays in {places}"
        )


def test_packages_from_outside_are_used_where_the_table_says() -> None:
    used: dict[str, set[str]] = {package: set() for package in THIRD_PARTY}
    for module in modules():
        for _, dotted in imports(module):
            if (package := dotted.split(".")[0]) in used:
                used[package] |= {module.room, module.name} & THIRD_PARTY[package]
    assert used == THIRD_PARTY


def test_the_map_for_readers_is_this_one() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \|.*\| ([^|]*) \|$", page)
    there = {module.room for module in modules()} - {"version", "later", "merklelog", "__main__"}
    assert [room for room, _ in rows] == [room for room in ROOMS if room in there]
    for room, packages in rows:
        places = {
            package for package, rooms in THIRD_PARTY.items() if room in {r.split(".")[0] for r in rooms}
        }
        assert set(re.findall(r"`(\w+)`", packages)) - {"algorithms"} == places, f"ARCHITECTURE.md: {room}"


def test_packages_from_outside_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [rows for name, rows in project["optional-dependencies"].items() if name != "dev"]
    rows = [*project["dependencies"], *(row for extra in extras for row in extra)]
    declared = {re.split("[>=[]", row)[0].strip() for row in rows}
    assert declared == {name for package in THIRD_PARTY for name in PACKAGES.get(package, (package,))}


@each_module
def test_math_and_decisions_touch_nothing(module: Module) -> None:
    if module.room not in PURE:
        return
    for node, dotted in imports(module):
        assert dotted.split(".")[0] not in IMPURE, f"{module.at(node)}: {module.room} imports {dotted}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}, f"{module.at(node)}: {node.func.id}()"


@each_module
def test_no_module_asserts(module: Module) -> None:
    found = [module.at(node) for node in ast.walk(module.tree) if isinstance(node, ast.Assert)]
    assert not found, f"an assert is gone under -O and says nothing to a caller: {found}"


def test_the_search_for_swallowed_errors_finds_them() -> None:
    swallowing = "try:\n    f()\nexcept OSError:\n    pass\n"
    explained = "try:\n    f()\nexcept OSError:\n    pass  # the file may be gone already\n"
    bare = "try:\n    f()\nexcept:\n    g()\n"
    suppressed = "with suppress(OSError):\n    f()\n"
    for text, expected in ((swallowing, 1), (explained, 0), (bare, 1), (suppressed, 1), ("f()\n", 0)):
        module = Module(PRODUCT / "x.py", "x", "x", text.splitlines(), ast.parse(text))
        assert len(list(swallowed(module))) == expected, text


def swallowed(module: Module) -> Iterator[str]:
    """Where an error ends without a word: an empty handler, or `suppress`, with no comment in or above it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            empty = all(
                isinstance(step, ast.Pass | ast.Continue | ast.Expr) and _idle(step) for step in node.body
            )
            if node.type is None or (empty and not _explained(module, node)):
                yield module.at(node)
        suppresses = isinstance(node, ast.With) and any("suppress" in ast.dump(i) for i in node.items)
        if suppresses and not _explained(module, node):
            yield module.at(node)


def _idle(step: ast.stmt) -> bool:
    return not isinstance(step, ast.Expr) or isinstance(step.value, ast.Constant)


def _explained(module: Module, node: ast.stmt | ast.ExceptHandler) -> bool:
    above = module.lines[max(node.lineno - 2, 0)].strip()
    inside = module.lines[node.lineno - 1 : node.end_lineno]
    return above.startswith("#") or any("#" in line for line in inside)


@each_module
def test_no_error_is_swallowed(module: Module) -> None:
    found = list(swallowed(module))
    assert not found, f"say in a comment which error ends here, and why that is safe: {found}"


# `int()` takes "1_000", "+5" and "٣", and the base64 module stray bits: both have one strict place.
LAX = {"formats.wire", "tree.tiles"}  # tiles: only on digits that its own pattern matched


@each_module
def test_outside_text_is_read_strictly(module: Module) -> None:
    if module.room not in {"tree", "formats", "protocol", "publish", "client"} or module.name in LAX:
        return
    for node, dotted in imports(module):
        assert dotted.split(".")[0] not in {"base64", "binascii"}, (
            f"{module.at(node)}: {dotted}, want formats.wire"
        )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "int":
            pytest.fail(f"{module.at(node)}: int(), want formats.wire.parse_decimal")


@each_module
def test_files_and_functions_stay_readable(module: Module) -> None:
    assert len(module.lines) <= 400, (
        f"{module.path.relative_to(ROOT)}: {len(module.lines)} lines, want at most 400"
    )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{module.at(node)}: {node.name} has {length} lines, want at most 60"


def test_the_public_names_are_these() -> None:
    assert sorted(merklelog.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(merklelog, name) is not None


@each_module
def test_every_listed_name_is_there(module: Module) -> None:
    if module.name == "__main__":
        return  # importing it runs the command
    loaded = importlib.import_module(".".join(["merklelog", *([module.name] if module.name else [])]))
    listed = getattr(loaded, "__all__", [])
    assert len(listed) == len(set(listed))
    assert [name for name in listed if not hasattr(loaded, name)] == []


def test_every_error_has_an_exit_status_of_the_design() -> None:
    errors = importlib.import_module("merklelog.errors")
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 20
    for each in classes:
        assert issubclass(each, errors.MerklelogError)
        assert each.exit_status in {1, 2, 3, 4}, each.__name__


def test_a_star_import_takes_the_public_names_only() -> None:
    code = "from merklelog import *; print(sorted(n for n in dir() if n[:2] != '__'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == [name for name in PUBLIC if not name.startswith("__")]
