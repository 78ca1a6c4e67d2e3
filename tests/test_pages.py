"""The pages name what is really there: the files of a log and of a copy, the rows of its database, the rooms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import merklelog
from merklelog.formats import parse_policy
from merklelog.publish import DirectoryStore, publish_copy
from merklelog.publish import layout as copy_layout
from merklelog.store import layout
from merklelog.store.layout import FAMILIES, FORMAT

ROOT = Path(__file__).resolve().parent.parent
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")


def named(text: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.fixture
def log_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    merklelog.create_log(directory, "pages.example/log", settings={"log.dedupe": True})
    with merklelog.open(directory) as log:
        log.append_batch([b"entry %d" % number for number in range(300)])
    return directory


def test_formats_names_every_file_of_a_log(log_directory: Path) -> None:
    words = named(FORMATS)
    there = [f"{path.name}/" if path.is_dir() else path.name for path in log_directory.iterdir()]
    assert len(there) >= 5
    assert [name for name in there if name not in words] == []
    assert {path.name for path in (log_directory / "keys").iterdir()} <= words
    assert (log_directory / "FORMAT").read_text() == f"merklelog data directory, format {FORMAT}\n"
    assert f"`merklelog data directory, format {FORMAT}`" in FORMATS


def test_formats_names_every_row_of_the_database() -> None:
    rows = set(re.findall(r"(?m)^\| `(\w+)` \| ", FORMATS))
    assert rows >= set(FAMILIES)
    heads = {value.decode() for value in vars(layout).values() if isinstance(value, bytes)}
    assert heads >= {"newest", "published", "s", "e"}
    assert heads <= set(re.findall(r"(?m)^\| `heads` \| `(\w+)`", FORMATS))


def test_formats_names_every_file_of_a_copy(log_directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with merklelog.open_reader(log_directory) as source:
        publish_copy(source, DirectoryStore(copy), verifiers=source.vkeys)
    words = named(FORMATS)
    patterns = {
        re.compile(r"tile/\d+/[x\d/]+(\.p/\d+)?"): "tile/<L>/<N>[.p/<W>]",
        re.compile(r"tile/entries/[x\d/]+(\.p/\d+)?"): "tile/entries/<N>[.p/<W>]",
        re.compile(r"checkpoints/\d+"): "checkpoints/<size>",
        re.compile(r"\.merklelog/.*"): ".merklelog/",
    }
    files = [str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()]
    assert len(files) > 6
    for file in files:
        spelled = next((word for pattern, word in patterns.items() if pattern.fullmatch(file)), file)
        assert spelled in words, f"{file} stands in a copy and not in docs/formats.md"


def test_formats_names_every_object_of_a_target() -> None:
    keys = [value for name, value in vars(copy_layout).items() if name.isupper() and isinstance(value, str)]
    keys = [key for key in keys if not key.startswith(("text/", "application/", "public", "no-"))]
    assert {"checkpoint.witnessed", "cosigned/"} <= set(keys)
    words = named(FORMATS)
    assert [key for key in keys if not any(word.startswith(key) for word in words)] == []


def test_a_key_file_is_what_formats_says(log_directory: Path) -> None:
    for name, kind in (("ed25519.key", 0x01), ("mldsa44.key", 0x06)):
        path = log_directory / "keys" / name
        text = path.read_text("ascii")
        assert re.fullmatch(r"PRIVATE\+KEY\+pages\.example/log\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\n?", text)
        assert path.stat().st_mode & 0o777 == 0o600
        assert merklelog.formats.parse_signing_key(text.removesuffix("\n")).type.value == kind


def test_the_example_policy_is_one(log_directory: Path) -> None:
    page = (ROOT / "docs" / "policy.md").read_text("utf-8")
    example = re.search(r"two of three witnesses:\n\n((?:    .*\n)+)", page)
    assert example
    text = re.sub(r"(?m)^    ", "", example[1])
    with merklelog.open_reader(log_directory) as reader:
        text = text.replace("VKEY-OF-THE-LOG", merklelog.formats.format_vkey(reader.vkeys[0]))
    for number in (1, 2, 3):
        kind = merklelog.formats.SignatureType.COSIGNATURE_ED25519
        key = merklelog.formats.generate_signing_key(f"w{number}.example", kind).verifier
        text = text.replace(f"VKEY-{number}", merklelog.formats.format_vkey(key))
    policy = parse_policy(text.encode())
    assert policy.quorum == b"most"
    assert [group.threshold for group in policy.groups] == [2]
