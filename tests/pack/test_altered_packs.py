"""Packs with a file altered, removed, added, doubled or moved: both verifiers refuse and say what is wrong."""

from __future__ import annotations

import base64
import re

import pytest

from merklelog.errors import MerklelogError
from tests.pack.packs import (
    KEY_ALONE,
    LOG,
    OTHER,
    TWO_OF_THREE,
    WITNESSES,
    Files,
    MemoryLog,
    changed,
    files_of,
    judge,
    lines_log,
    mixed_log,
    policy_text,
    script_says,
    vkey,
    zipped,
)

LOG_OF = mixed_log(4000)
PACK = LOG_OF.pack(700, 3500)
FILES = files_of(PACK)
NAMES = [name for name, _ in FILES]


def refused(pack: bytes, match: str, policy: bytes = KEY_ALONE) -> None:
    """Both verifiers say no, each in words that match."""
    with pytest.raises(MerklelogError, match=match) as caught:
        judge(pack, policy)
    assert caught.value.exit_status == 1
    status, words = script_says(pack, policy)
    assert status == 1, words
    assert re.search(match, words), words


def test_the_pack_itself_is_proven_and_so_are_its_files_in_another_zip() -> None:
    assert [
        *("README.txt", "proof.txt", "checkpoint.txt", "policy.txt"),
        *("entries/700.txt", "entries/1024.bin", "entries/2048.bin", "entries/3072.bin"),
    ] == NAMES
    for pack in (PACK, zipped(FILES), zipped(FILES, method=0)):
        verdict = judge(pack)
        assert (verdict.start, verdict.end, verdict.checkpoint.size) == (700, 3500, 4000)
        assert verdict.checkpoint == LOG_OF.checkpoint
        assert verdict.log_key == LOG.verifier
        assert script_says(pack)[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_one_byte_changed(name: str) -> None:
    words = {
        "README.txt": "README.txt: it is not the page of this pack",
        "policy.txt": "policy.txt: it is not the one that proof.txt names",
        "checkpoint.txt": "checkpoint|sign",
    }
    data = dict(FILES)[name]
    for at in {0, len(data) // 2, len(data) - 2, *range(0, len(data), max(1, len(data) // 25))}:
        other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        refused(zipped(changed(FILES, name, other)), words.get(name, "proof|entr|root|lead|hash"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_bytes_more_or_less(name: str) -> None:
    data = dict(FILES)[name]
    for other in (data + b"x", data + b"\n", b"\n" + data, data[:-1], data[1:], b""):
        refused(zipped(changed(FILES, name, other)), ".")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_removed(name: str) -> None:
    refused(zipped([each for each in FILES if each[0] != name]), rf"{re.escape(name)}.*: it is missing")


@pytest.mark.parametrize("place", range(len(FILES) + 1))
def test_a_file_added(place: int) -> None:
    for name in (
        "NOTES.txt",
        "entries/3500.txt",
        "entries/",
        "../README.txt",
        "readme.txt",
        "entries/0700.txt",
    ):
        more = [*FILES[:place], (name, b"more\n"), *FILES[place:]]
        refused(zipped(more), re.escape(f"{name}") + r".*: it stands where .* should: moved or added")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_doubled(name: str) -> None:
    data = dict(FILES)[name]
    place = NAMES.index(name) + 1
    for twin in (data, b"another"):
        for more in ([*FILES[:place], (name, twin), *FILES[place:]], [*FILES, (name, twin)]):
            refused(zipped(more), f"{re.escape(name)}.*: it is there twice")
        refused(zipped([(name, twin), *FILES]), "twice|moved or added|proof|entr|README")


def test_the_order_of_the_files_is_fixed() -> None:
    for place in range(len(FILES) - 1):
        moved = [*FILES]
        moved[place], moved[place + 1] = moved[place + 1], moved[place]
        words = (
            f"{re.escape(NAMES[place + 1])}.*: it stands where .*{re.escape(NAMES[place])}.* should: moved"
        )
        refused(zipped(moved), words)
    refused(zipped(FILES[::-1]), "moved or added")


def entries_moved(files: Files, name: str, first: int, second: int) -> Files:
    lines = dict(files)[name].split(b"\n")
    lines[first], lines[second] = lines[second], lines[first]
    return changed(files, name, b"\n".join(lines))


def test_entries_that_changed_places_or_files() -> None:
    refused(zipped(entries_moved(FILES, "entries/700.txt", 3, 4)), "lead to root|lead to the signed root")
    data = dict(FILES)
    swapped = changed(FILES, "entries/1024.bin", data["entries/2048.bin"])
    swapped = changed(swapped, "entries/2048.bin", data["entries/1024.bin"])
    refused(zipped(swapped), "lead to root|lead to the signed root")


def test_an_entry_taken_out_or_put_in() -> None:
    lines = dict(FILES)["entries/700.txt"].split(b"\n")
    for other in (lines[:5] + lines[6:], [*lines[:5], b"", *lines[5:]], [*lines[:5], lines[4], *lines[5:]]):
        refused(zipped(changed(FILES, "entries/700.txt", b"\n".join(other))), "entries/700.txt.*324")
    data = dict(FILES)["entries/2048.bin"]
    for wrong in (data + b"\0\0", data[:2] + data, data + b"\0", b"\xff\xff" + data[2:]):
        refused(zipped(changed(FILES, "entries/2048.bin", wrong)), "entries/2048.bin.*1024")


def test_entries_of_one_form_in_a_file_of_the_other() -> None:
    """The names say how a file is read; whichever it is, the same entries come out or the root does not."""
    lines = dict(FILES)["entries/700.txt"].split(b"\n")[:-1]
    lengths = b"".join(len(line).to_bytes(2, "big") + line for line in lines)
    other = [
        ("entries/700.bin", lengths) if name == "entries/700.txt" else (name, data) for name, data in FILES
    ]
    assert judge(zipped(other)) == judge(PACK)
    assert script_says(zipped(other)) == script_says(PACK)
    renamed = [
        ("entries/700.bin", data) if name == "entries/700.txt" else (name, data) for name, data in FILES
    ]
    refused(zipped(renamed), "entries/700.bin")


def shifted(files: Files, start: int, end: int) -> Files:
    """The pack says that its entries are other ones."""
    proof = dict(files)["proof.txt"]
    return changed(files, "proof.txt", re.sub(rb"entries \d+ \d+", b"entries %d %d" % (start, end), proof))


@pytest.mark.parametrize(
    ("start", "end"),
    [(701, 3500), (700, 3499), (701, 3501), (1724, 4524), (700, 700), (3500, 700), (0, 2800)],
)
def test_a_pack_that_says_other_indexes(start: int, end: int) -> None:
    refused(zipped(shifted(FILES, start, end)), "proof.txt|hashes|README|entries")


PROOFS = {
    "no hashes": lambda data: data.split(b"left")[0],
    "one hash less": lambda data: data.rsplit(b"right", 1)[0],
    "a hash twice": lambda data: data + b"right " + data.rsplit(b" ", 1)[1],
    "left after right": lambda data: data + b"left " + data.rsplit(b" ", 1)[1],
    "a hash of 31 bytes": lambda data: data + b"right " + base64.b64encode(bytes(31)) + b"\n",
    "another format": lambda data: data.replace(b"/v1", b"/v2"),
    "a sign": lambda data: data.replace(b"entries 700", b"entries +700"),
    "a zero before": lambda data: data.replace(b"entries 700", b"entries 0700"),
    "a tab": lambda data: data.replace(b"entries 700 ", b"entries 700\t"),
    "two spaces": lambda data: data.replace(b"entries 700", b"entries  700"),
    "carriage returns": lambda data: data.replace(b"\n", b"\r\n"),
    "a huge index": lambda data: data.replace(b" 3500", b" 9223372036854775808"),
    "thousands of digits": lambda data: data.replace(b" 3500", b" " + b"9" * 6000),
    "loose base64": lambda data: data.replace(b"=", b"", 1),
    "too long": lambda data: data + b"right x\n" * 5000,
    "not ASCII": lambda data: data.replace(b"700", "٧٠٠".encode()),
    "nothing": lambda data: b"",
}


@pytest.mark.parametrize("name", PROOFS)
def test_other_spellings_of_the_proof_are_refused(name: str) -> None:
    data = PROOFS[name](dict(FILES)["proof.txt"])
    assert data != dict(FILES)["proof.txt"]
    refused(zipped(changed(FILES, "proof.txt", data)), "proof.txt|hashes|proof.txt")


def test_the_keys_are_those_of_the_verifier_alone() -> None:
    """A pack by another key, whose policy.txt says that this key is right, proves nothing."""
    forged = MemoryLog(LOG_OF.entries, ((OTHER, 0),))
    pack = forged.pack(700, 3500, policy_text(f"log {vkey(OTHER)}", "quorum none"))
    refused(pack, "no trusted key signed|not met")
    other = policy_text(f"log {vkey(OTHER)}", "quorum none")
    assert judge(pack, other).end == 3500
    elsewhere = MemoryLog(LOG_OF.entries, ((LOG, 0),), origin="else.example/log")
    with pytest.raises(MerklelogError):
        elsewhere.pack(0, 1)
    foreign = changed(FILES, "checkpoint.txt", elsewhere.note)
    refused(zipped(foreign), "lists no log")


def test_a_signature_that_is_wrong_condemns_all() -> None:
    note = dict(FILES)["checkpoint.txt"]
    head, line = note.split(b"\n\n")
    name, blob = line.rsplit(b" ", 1)
    raw = bytearray(base64.b64decode(blob))
    raw[10] ^= 1
    wrong = name + b" " + base64.b64encode(raw) + b"\n"
    for lines in (wrong, line + wrong, wrong + line):
        refused(zipped(changed(FILES, "checkpoint.txt", head + b"\n\n" + lines)), "signature")


def test_a_quorum_that_did_not_sign() -> None:
    signers = ((LOG, 0), (WITNESSES[0], 1000))
    pack = MemoryLog(LOG_OF.entries, signers).pack(5, 9)
    judge(pack)
    refused(pack, "want the quorum|not met", TWO_OF_THREE)


def test_a_checkpoint_of_another_size_or_root() -> None:
    for other in (lines_log(4000), mixed_log(3999), mixed_log(3500)):
        refused(zipped(changed(FILES, "checkpoint.txt", other.note)), "README|entries|hashes|proof")
