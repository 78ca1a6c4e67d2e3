"""The stand-alone program: run by a bare Python, it says what merklelog says, or that it can not tell."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from merklelog.errors import KeyFormatError, MerklelogError
from merklelog.formats import Note, NoteSignature, format_note, parse_note, parse_vkey
from merklelog.pack.page import format_page
from tests.pack.packs import (
    KEY_ALONE,
    LOG,
    LOG_MLDSA,
    ORIGIN,
    OTHER,
    ROOT,
    SCRIPT,
    TWO_OF_THREE,
    WITNESS_MLDSA,
    WITNESSES,
    MemoryLog,
    judge,
    key,
    lines_log,
    policy_text,
    run_script,
    script,
    script_says,
    vkey,
)

ALL = (
    (LOG, 0),
    (LOG_MLDSA, 0),
    *((each, 1000 + i) for i, each in enumerate(WITNESSES)),
    (WITNESS_MLDSA, 900),
)
PACK = lines_log(3000, signers=ALL).pack(1000, 2100)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.mlpack"
    path.write_bytes(PACK)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- as its users run it ---


def test_it_needs_the_standard_library_alone() -> None:
    source = SCRIPT.read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} - {"__future__"} <= sys.stdlib_module_names
    assert not re.search(r"\b(socket|urllib|subprocess|eval|exec|pickle|__import__)\b", source)
    assert not re.search(r"(?m)^\s*assert\b", source)


def test_a_bare_python_proves_a_pack(pack: Path, tmp_path: Path) -> None:
    done = run_script(pack, "--vkey", vkey(LOG))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"proven: entries 1000:2100, all 1100, of {ORIGIN}, in its tree of size 3000",
        f"signed by  {ORIGIN} (Ed25519 key {LOG.verifier.key_id.hex()})",
    ]
    done = run_script(pack, "--policy", written(tmp_path / "policy", TWO_OF_THREE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        *(f"cosigned   w{i} at 1970-01-01T00:16:4{i}Z" for i in range(3)),
        "existed by 1970-01-01T00:16:41Z",
    ]
    assert judge(PACK, TWO_OF_THREE).existed_by == 1001


@pytest.mark.parametrize("at", [100, 5000, -3000, -30])
def test_a_bare_python_disproves_a_changed_one(pack: Path, at: int) -> None:
    data = bytearray(PACK)
    data[at] ^= 1
    pack.write_bytes(data)
    done = run_script(pack, "--vkey", vkey(LOG))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"verify_pack: {pack}: not proven: ")
    assert done.stderr.count("\n") == 1


def test_mistakes_of_its_caller(pack: Path, tmp_path: Path) -> None:
    policy = written(tmp_path / "policy", KEY_ALONE)
    bad = written(tmp_path / "bad", b"log nothing\nquorum none\n")
    for words, status, said in (
        ((pack,), 2, "give --policy FILE or --vkey KEY"),
        ((pack, "--policy", policy, "--vkey", vkey(LOG)), 2, "give --policy FILE or --vkey KEY"),
        ((pack, "--policy", bad), 2, "policy line 1: verifier key nothing: want NAME+ID+KEY"),
        ((pack, "--vkey", "x"), 2, "verifier key x: want NAME+ID+KEY"),
        ((pack, "--vkey", vkey(LOG), "--vkey", vkey(LOG)), 2, "it is there already"),
        ((pack, "--vkey", vkey(WITNESSES[0])), 2, "has no place on this line"),
        ((tmp_path / "nothing", "--policy", policy), 4, "No such file"),
        ((pack, "--policy", tmp_path / "nothing"), 4, "No such file"),
        ((tmp_path, "--policy", policy), 4, "Is a directory"),
        ((policy, "--policy", policy), 1, "no ZIP archive"),
        ((), 2, "usage"),
        ((pack, "--vkey"), 2, "usage"),
        ((pack, "--vkey", vkey(OTHER)), 1, "not met"),
    ):
        done = run_script(*words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_result_that_nobody_can_read_is_no_success(pack: Path) -> None:
    command = [sys.executable, "-I", str(SCRIPT), str(pack), "--vkey", vkey(LOG)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (4, "verify_pack: standard output: No space left on device\n")


def test_the_published_digest_is_that_of_the_program() -> None:
    digest, name = (ROOT / "tools" / "verify_pack.py.sha256").read_text("ascii").split()
    assert (digest, name) == (hashlib.sha256(SCRIPT.read_bytes()).hexdigest(), "verify_pack.py")


# --- what it can not tell ---

W = [f"witness w{i} {vkey(each)}" for i, each in enumerate(WITNESSES)]
M = f"witness m {vkey(WITNESS_MLDSA)}"
BOTH_LOG = (f"log {vkey(LOG)}", f"log {vkey(LOG_MLDSA)}")

NEEDS_MLDSA = {
    "the log's ML-DSA key alone": policy_text(f"log {vkey(LOG_MLDSA)}", "quorum none"),
    "an ML-DSA witness": policy_text(f"log {vkey(LOG)}", M, "quorum m"),
    "one of all": policy_text(f"log {vkey(LOG)}", W[1], M, "group both all w1 m", "quorum both"),
    "two of two after one": policy_text(f"log {vkey(LOG)}", W[1], M, "group g 2 m w1", "quorum g"),
    "either log key, an ML-DSA witness": policy_text(*BOTH_LOG, M, "quorum m"),
}


@pytest.mark.parametrize("name", NEEDS_MLDSA)
def test_a_policy_that_needs_ml_dsa_is_never_said_to_be_met(name: str, pack: Path, tmp_path: Path) -> None:
    policy = NEEDS_MLDSA[name]
    assert judge(PACK, policy).end == 2100, "merklelog itself can tell"
    done = run_script(pack, "--policy", written(tmp_path / "policy", policy))
    assert (done.returncode, done.stdout) == (3, "")
    assert "ML-DSA-44" in done.stderr
    unsigned = lines_log(3000, signers=((LOG, 0), (WITNESSES[1], 5))).pack(1000, 2100)
    with pytest.raises(MerklelogError):
        judge(unsigned, policy)
    assert script_says(unsigned, policy)[0] == 3, "it does not look, so it does not say that there is none"
    broken = lines_log(2999, signers=ALL).pack(1000, 2100)
    data = PACK[: len(PACK) // 2] + b"x" + PACK[len(PACK) // 2 + 1 :]
    assert script_says(data, policy)[0] == 1, "what is wrong all the same is told"
    assert script_says(broken, policy)[0] == 3


def test_a_policy_that_ml_dsa_could_meet_is_not_said_to_be_unmet() -> None:
    policy = policy_text(f"log {vkey(LOG)}", W[1], M, "group g any w1 m", "quorum g")
    for signers, said in (
        (((LOG, 0), (WITNESSES[1], 5)), 0),
        (((LOG, 0), (WITNESS_MLDSA, 5)), 3),
        (((LOG, 0), (WITNESS_MLDSA, 0)), 1),
        (((LOG, 0),), 1),
        (((LOG, 0), (WITNESS_MLDSA, 5), (WITNESSES[1], 7)), 0),
    ):
        pack = lines_log(10, signers=signers).pack(0, 10)
        assert script_says(pack, policy)[0] == said, signers
    either = policy_text(*BOTH_LOG, "quorum none")
    for signers, said in (
        (((LOG, 0), (LOG_MLDSA, 0)), 0),
        (((LOG_MLDSA, 0),), 3),
        (((OTHER, 0), (LOG, 0)), 0),
    ):
        log = MemoryLog([b"a"], signers)
        assert script_says(log.pack(0, 1, either), either)[0] == said, signers
    assert "not looked at: ML-DSA-44" in script_says(PACK, either)[1]


def test_an_ml_dsa_line_of_the_wrong_length_condemns_the_note() -> None:
    log = lines_log(10, signers=((LOG, 0), (LOG_MLDSA, 0)))
    note = parse_note(log.note)
    short = NoteSignature(ORIGIN, LOG_MLDSA.verifier.key_id, note.signatures[1].blob[:-1])
    log.note = format_note(Note(note.text, (note.signatures[0], short)))
    either = policy_text(*BOTH_LOG, "quorum none")
    pack = log.pack(0, 10)
    with pytest.raises(MerklelogError):
        judge(pack, either)
    assert script_says(pack, either)[0] == 1


# --- both say the same ---


def merklelog_says(pack: bytes, policy: bytes) -> tuple[int, int | None]:
    """The exit status, and "existed by"."""
    try:
        return 0, judge(pack, policy).existed_by
    except MerklelogError as error:
        return error.exit_status, None


def test_who_signed_and_what_the_policy_asks_for() -> None:
    """Every choice of witnesses and quorum: the same verdict, and the same time."""
    quorums = ("none", "w0", "most", "all", "nested")
    base = (f"log {vkey(LOG)}", *W)
    groups = {
        "most": ("group most 2 w0 w1 w2",),
        "all": ("group all all w0 w1 w2",),
        "nested": ("group pair any w0 w1", "group nested all pair w2"),
    }
    policies = [policy_text(*base, *groups.get(quorum, ()), f"quorum {quorum}") for quorum in quorums]
    seen = set()
    for present in product((None, 0, 50, 77), repeat=3):
        signers = ((LOG, 0), *((w, t) for w, t in zip(WITNESSES, present, strict=True) if t is not None))
        pack = lines_log(3, signers=signers).pack(1, 3)
        for policy in policies:
            status, words = script_says(pack, policy)
            by = re.search(r"existed by 1970-01-01T00:0(\d):(\d\d)Z", words)
            told = (status, 60 * int(by[1]) + int(by[2]) if by else None)
            assert told == merklelog_says(pack, policy)
            seen.add(told)
    assert seen == {(1, None), (0, None), (0, 50), (0, 77)}


def test_one_witness_that_signed_twice_counts_from_its_first_time() -> None:
    signers = ((LOG, 0), (WITNESSES[0], 90), (WITNESSES[0], 40), (WITNESSES[1], 60))
    pack = lines_log(3, signers=signers).pack(0, 3)
    assert judge(pack, TWO_OF_THREE).existed_by == 60
    assert "existed by 1970-01-01T00:01:00Z" in script_says(pack, TWO_OF_THREE)[1]


MANY = (
    f"log {vkey(LOG)}",
    *(f"witness n{n} {vkey(key(f'n{n}.example', WITNESSES[0].type, 100 + n))}" for n in range(128)),
)
ALL_NAMES = " ".join(f"n{n}" for n in range(128))
GOOD = (f"log {vkey(LOG)}", *W, "group g 2 w0 w1 w2", "quorum g")
POLICIES = {
    "as it should be": GOOD,
    "with comments and blanks": ("# a comment", "", " \t", f"  log \t {vkey(LOG)}  ", "quorum none "),
    "with addresses": (f"log {vkey(LOG)} https://log.example", W[0] + " https://w.example", "quorum w0"),
    "no quorum": GOOD[:-1],
    "two quorums": (*GOOD, "quorum g"),
    "an unknown word": (*GOOD, "trust g"),
    "an unknown quorum": (*GOOD[:-1], "quorum h"),
    "a quorum above its group": (*GOOD[:-2], GOOD[-1], GOOD[-2]),
    "a group of nobody": (*GOOD[:-2], "group g 1", GOOD[-1]),
    "a threshold out of reach": (*GOOD[:-2], "group g 4 w0 w1 w2", GOOD[-1]),
    "a threshold of none": (*GOOD[:-2], "group g 0 w0 w1 w2", GOOD[-1]),
    "a threshold with a sign": (*GOOD[:-2], "group g +1 w0 w1 w2", GOOD[-1]),
    "a member twice": (*GOOD[:-2], "group g 1 w0 w0", GOOD[-1]),
    "a member of two groups": (*GOOD[:-1], "group h any w0", "quorum h"),
    "a name twice": (*GOOD[:-2], f"witness w0 {vkey(WITNESS_MLDSA)}", *GOOD[-2:]),
    "a group named as a witness": (*GOOD[:-2], "group w0 any w1", "quorum w0"),
    "the name none": (f"log {vkey(LOG)}", f"witness none {vkey(WITNESSES[0])}", "quorum none"),
    "a key twice": (*GOOD[:-2], f"witness w9 {vkey(WITNESSES[0])}", *GOOD[-2:]),
    "a log's key as a witness": (f"log {vkey(LOG)}", f"witness w {vkey(LOG)}", "quorum w"),
    "a log's name as a witness": (f"log {vkey(LOG)}", f"witness w {vkey(LOG_MLDSA)}", "quorum w"),
    "a witness' name as a log": (f"witness w {vkey(LOG_MLDSA)}", f"log {vkey(LOG)}", "quorum w"),
    "a witness' key as a log": (f"log {vkey(WITNESSES[0])}", "quorum none"),
    "a control character": (*GOOD, "# \x07"),
    "a word that is no key": ("log x+y+z", "quorum none"),
    "two keys of one witness, one vote": (
        *(f"log {vkey(LOG)}", W[0], M, W[1], "group first any w0 m", "group g all first w1", "quorum g"),
    ),
    "two keys of one witness, two votes": (f"log {vkey(LOG)}", W[0], M, "group g all w0 m", "quorum g"),
    "two keys of one witness, one in no group": (f"log {vkey(LOG)}", W[0], M, "quorum w0"),
    "no log": ("quorum none",),
    "more cosignatures than a checkpoint holds": (*MANY, f"group g all {ALL_NAMES}", "quorum g"),
    "no more than it holds": (*MANY, f"group g 127 {ALL_NAMES}", "quorum g"),
}


TAKEN = {"as it should be", "with comments and blanks", "with addresses", "two keys of one witness, one vote"}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_read_as_merklelog_reads_it(name: str) -> None:
    policy = policy_text(*POLICIES[name])
    status = merklelog_says(PACK, policy)[0]
    if name == "no log":
        assert status == 2, "no checkpoint can meet it"
        status = 1
    assert script_says(PACK, policy)[0] == status
    assert (name in TAKEN) == (status == 0)


@pytest.mark.parametrize(
    "vkey_text",
    [
        "",
        "x",
        vkey(LOG)[:-4],
        vkey(LOG).replace("+", " ", 1),
        vkey(LOG).replace(LOG.verifier.key_id.hex(), "00000000"),
        vkey(LOG).replace(LOG.verifier.key_id.hex(), LOG.verifier.key_id.hex().upper()),
        vkey(LOG) + "A",
        "a b" + vkey(LOG),
        "\u2028" + vkey(LOG),
        "x+00000000+AQ==",
        "x+00000000+AgAA",
    ],
)
def test_verifier_keys_are_read_strictly(vkey_text: str) -> None:
    with pytest.raises(KeyFormatError):
        parse_vkey(vkey_text)
    with pytest.raises(script().BadCall):
        script().parse_vkey(vkey_text)


def test_the_page_is_word_for_word_the_same() -> None:
    log = MemoryLog([b"x"], origin="lög.example/{0}%s")
    values = {"start": 0, "last": 0, "count": 1, "size": 1, "root": log.checkpoint.root.hex()}
    origin = log.origin.encode("ascii", "backslashreplace").decode()
    assert script().PAGE.format(origin=origin, **values).encode() == format_page(0, 1, log.checkpoint)
    text = script().PAGE
    assert all(len(line) <= 110 for line in text.splitlines())
    for word in ("does not prove", "none is missing", "never reads keys", "witnesses", "entries/N.bin"):
        assert word in text


def test_logs_and_names_of_odd_letters() -> None:
    for origin in ("lög.example/日本", "x{y}%d", "a\u202eb", "x" * 255):
        signer = key(origin, LOG.type, 33)
        log = MemoryLog([b"1", b"2", b"3"], ((signer, 0),), origin=origin)
        policy = policy_text(f"log {vkey(signer)}", "quorum none")
        pack = log.pack(1, 3, policy)
        assert judge(pack, policy).checkpoint.origin == origin
        status, words = script_says(pack, policy)
        assert status == 0
        assert words.isprintable() or "\n" in words
        assert words.isascii()
