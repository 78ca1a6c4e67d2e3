"""The protocol's definition: the committed code is what it generates, and it keeps the rules of a public API.

The rules are those of buf's STANDARD and COMMENTS categories that apply here, read from the compiled descriptor.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2 as d

ROOT = Path(__file__).resolve().parents[2]
FIELD = d.FileDescriptorProto.DESCRIPTOR.fields_by_name
MESSAGE, ENUM, SERVICE = (FIELD[name].number for name in ("message_type", "enum_type", "service"))
PASCAL = r"(?:[A-Z][a-z0-9]*)+"
SNAKE = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"


@pytest.fixture(scope="module")
def proto() -> ModuleType:
    """tools/proto.py."""
    spec = importlib.util.spec_from_file_location("proto_tool", ROOT / "tools" / "proto.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(proto: ModuleType, folder: Path, name: str, made: Path) -> d.FileDescriptorProto:
    proto.compile_protos(folder, (name,), "--include_source_info", f"--descriptor_set_out={made / 'set'}")
    (file,) = d.FileDescriptorSet.FromString((made / "set").read_bytes()).file
    return file


def lint(file: d.FileDescriptorProto) -> Iterator[str]:
    """One line for each rule broken."""
    commented = {tuple(at.path) for at in file.source_code_info.location if at.leading_comments.strip()}

    def check(ok: bool, what: str, rule: str) -> Iterator[str]:
        if not ok:
            yield f"{what}: {rule}"

    yield from check(
        bool(re.fullmatch(rf"{SNAKE}(\.{SNAKE})*\.v[1-9][0-9]*", file.package)), file.package, "versioned"
    )
    yield from check(Path(file.name).parent.as_posix() == file.package.replace(".", "/"), file.name, "folder")
    yield from check(file.syntax == "proto3", file.name, "proto3")
    for i, message in enumerate(file.message_type):
        yield from check((MESSAGE, i) in commented, message.name, "a comment")
        yield from check(bool(re.fullmatch(PASCAL, message.name)), message.name, "PascalCase")
        numbers = sorted(field.number for field in message.field)
        yield from check(numbers == list(range(1, len(numbers) + 1)), message.name, "fields from 1, no gaps")
        nested = [
            each for each in message.nested_type if not each.options.map_entry
        ]  # a map's are protoc's own
        yield from check(not nested, message.name, "no nested messages")
        for j, field in enumerate(message.field):
            name = f"{message.name}.{field.name}"
            yield from check((MESSAGE, i, 2, j) in commented, name, "a comment")
            yield from check(bool(re.fullmatch(SNAKE, field.name)), name, "snake_case")
    for i, enum in enumerate(file.enum_type):
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        yield from check((ENUM, i) in commented, enum.name, "a comment")
        zero = [value.name for value in enum.value if value.number == 0]
        yield from check(zero == [prefix + "UNSPECIFIED"], enum.name, "zero is unspecified")
        for j, value in enumerate(enum.value):
            yield from check((ENUM, i, 2, j) in commented, value.name, "a comment")
            yield from check(value.name.startswith(prefix), value.name, "prefixed by its enum")
    used: set[str] = set()
    for i, service in enumerate(file.service):
        yield from check((SERVICE, i) in commented, service.name, "a comment")
        yield from check(bool(re.fullmatch(rf"{PASCAL}Service", service.name)), service.name, "…Service")
        for j, method in enumerate(service.method):
            yield from check((SERVICE, i, 2, j) in commented, method.name, "a comment")
            want = [f".{file.package}.{method.name}{kind}" for kind in ("Request", "Response")]
            got = [method.input_type, method.output_type]
            yield from check(got == want and not used & set(got), method.name, "its own request and response")
            used |= set(got)
    declared = {f".{file.package}.{message.name}" for message in file.message_type}
    loose = {name for name in declared if re.search(r"(Request|Response)$", name)} - used
    yield from check(not loose, str(loose), "used by an rpc")


def test_the_committed_code_is_generated_from_the_definition(proto: ModuleType) -> None:
    files = proto.generate()
    assert sorted(files) == ["merklelog/v1/log_pb2.py", "merklelog/v1/log_pb2.pyi"]
    assert proto.stale(files) == [], "run python tools/proto.py"


def test_another_text_is_noticed(proto: ModuleType) -> None:
    files = {name: text + "\n" for name, text in proto.generate().items()}
    assert proto.stale(files) == sorted(files)


def test_the_definition_keeps_the_rules(proto: ModuleType, tmp_path: Path) -> None:
    file = described(proto, ROOT / "proto", "merklelog/v1/log.proto", tmp_path)
    assert len(file.service[0].method) == 12
    assert list(lint(file)) == []


GOOD = """syntax = "proto3";
package a.v1;
// A service.
service AService {
  // A call.
  rpc Do(DoRequest) returns (DoResponse);
}
// Which.
enum Kind {
  // None.
  KIND_UNSPECIFIED = 0;
}
// Asked.
message DoRequest {
  // A word.
  string word = 1;
}
// Answered.
message DoResponse {}
"""
BROKEN = {
    ("package a.v1;", "package a;"): "a: versioned",
    ("// A service.\n", ""): "AService: a comment",
    ("  // A call.\n", ""): "Do: a comment",
    ("// Asked.\n", ""): "DoRequest: a comment",
    ("  // A word.\n", ""): "DoRequest.word: a comment",
    ("  // None.\n", ""): "KIND_UNSPECIFIED: a comment",
    ("string word = 1", "string word = 2"): "DoRequest: fields from 1, no gaps",
    ("string word", "string aWord"): "DoRequest.aWord: snake_case",
    ("KIND_UNSPECIFIED", "KIND_NONE"): "Kind: zero is unspecified",
    ("service AService", "service A"): "A: …Service",
    ("(DoRequest)", "(DoResponse)"): "Do: its own request and response",
}


def test_a_good_file_passes(proto: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a" / "v1").mkdir(parents=True)
    (tmp_path / "a" / "v1" / "a.proto").write_text(GOOD)
    assert list(lint(described(proto, tmp_path, "a/v1/a.proto", tmp_path))) == []


@pytest.mark.parametrize(("change", "finding"), BROKEN.items(), ids=BROKEN.values())
def test_each_rule_can_be_broken(
    proto: ModuleType, tmp_path: Path, change: tuple[str, str], finding: str
) -> None:
    (tmp_path / "a" / "v1").mkdir(parents=True)
    (tmp_path / "a" / "v1" / "a.proto").write_text(GOOD.replace(*change))
    assert finding in list(lint(described(proto, tmp_path, "a/v1/a.proto", tmp_path)))
