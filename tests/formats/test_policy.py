from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import PolicyError
from merklelog.formats.keys import SignatureType, SigningKey, VerifierKey, format_vkey, key_id
from merklelog.formats.policy import (
    MAX_POLICY_BYTES,
    Group,
    Policy,
    PolicyLog,
    PolicyWitness,
    format_policy,
    parse_policy,
    single_log_policy,
)

ED, COSIGNER, MLDSA, _ = SignatureType
ORIGIN = "example.com/log"


def key(number: int, kind: SignatureType = COSIGNER, name: str = "") -> VerifierKey:
    """An Ed25519 key by hash, an ML-DSA key by seed; no one has the private half of the first."""
    name = name or f"witness.example/{number}"
    if kind is MLDSA:
        return SigningKey(name, kind, number.to_bytes(32, "big")).verifier
    public = hashlib.sha256(b"%d" % number).digest()
    return VerifierKey(name, key_id(name, kind, public), kind, public)


LOG = key(1, ED, ORIGIN)
L = format_vkey(LOG)
W = {n: format_vkey(key(n)) for n in range(2, 9)}
HEAD = f"log {L}\nwitness a {W[2]}\nwitness b {W[3]}\nwitness c {W[4]}\n"


def parse(text: str) -> Policy:
    return parse_policy(text.encode())


def test_spec_example() -> None:
    witnesses = "".join(
        f"witness {side}{n} {W[2 + n + 3 * (side == 'Y')]}\n" for side in "XY" for n in (0, 1, 2)
    )
    policy = parse(
        f"log {L}\n\n{witnesses}\n"
        "group X-witnesses 2 X0 X1 X2\ngroup Y-witnesses any Y0 Y1 Y2\n\n"
        "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
    )
    assert policy.logs == (PolicyLog(LOG),)
    assert [(w.name, w.key, w.url) for w in policy.witnesses[:1]] == [(b"X0", key(2), None)]
    assert len(policy.witnesses) == 6
    assert policy.groups == (
        Group(b"X-witnesses", 2, (b"X0", b"X1", b"X2")),
        Group(b"Y-witnesses", 1, (b"Y0", b"Y1", b"Y2")),
        Group(b"X-and-Y", 2, (b"X-witnesses", b"Y-witnesses")),
    )
    assert policy.quorum == b"X-and-Y"


def test_blanks_comments_and_urls() -> None:
    policy = parse(
        f"# comment\n \t# another\n\n \t \n\tlog\t {L} \thttps://example.com/log/  \n"
        f"witness \t w {W[2]} #not-a-comment\n  quorum\tw\t\n#last\n"
    )
    assert policy == Policy(
        (PolicyLog(LOG, b"https://example.com/log/"),),
        (PolicyWitness(b"w", key(2), b"#not-a-comment"),),
        (),
        b"w",
    )
    assert (policy.logs[0].line, policy.witnesses[0].line) == (5, 6)


def test_quorum_none_is_enough() -> None:
    assert parse("quorum none\n") == Policy((), (), (), b"none")


def test_order_of_what_does_not_refer() -> None:
    policy = parse(f"witness a {W[2]}\nquorum a\nlog {L}\nwitness b {W[3]}\ngroup g 1 b\n")
    assert policy.quorum == b"a"
    assert [group.members for group in policy.groups] == [(b"b",)]


def test_names_are_octets() -> None:
    text = b"witness K %s\nwitness \xe2\x84\xaa %s\nwitness \xff %s\ngroup any all K \xff\nquorum any\n"
    policy = parse_policy(text % (W[2].encode(), W[3].encode(), W[4].encode()))
    assert [witness.name for witness in policy.witnesses] == [b"K", b"\xe2\x84\xaa", b"\xff"]
    assert policy.groups == (Group(b"any", 2, (b"K", b"\xff")),)


def test_names_that_look_like_thresholds() -> None:
    policy = parse(f"witness 2 {W[2]}\nwitness all {W[3]}\ngroup 1 1 2 all\nquorum 1\n")
    assert policy.groups == (Group(b"1", 1, (b"2", b"all")),)


@pytest.mark.parametrize("octet", range(256))
def test_octets(octet: int) -> None:
    data = b"# x" + bytes([octet]) + b"\nquorum none\n"
    if octet in (0x09, 0x0A) or 0x20 <= octet <= 0x7E or octet >= 0x80:
        assert parse_policy(data).quorum == b"none"
    else:
        with pytest.raises(PolicyError, match=f"line 1: the octet 0x{octet:02x} is not allowed"):
            parse_policy(data)


def test_only_space_and_tab_are_white_space() -> None:
    with pytest.raises(PolicyError, match="line 1"):
        parse_policy("quorum\u00a0none\n".encode())
    with pytest.raises(PolicyError, match="line 1: the octet 0x0d"):
        parse_policy(b"quorum none\r\n")


REFUSED = [
    # (text, line, what the message says)
    ("", None, "no quorum line"),
    ("# only a comment\n", None, "no quorum line"),
    (HEAD, None, "no quorum line"),
    ("quorum none", 1, "does not end in a newline"),
    ("quorum none\n#", 2, "does not end in a newline"),
    ("quorum none\nquorum none\n", 2, "a second quorum line"),
    ("quorum\n", 1, "want: quorum NAME"),
    ("quorum none none\n", 1, "want: quorum NAME"),
    ("Quorum none\n", 1, "got 'Quorum', want log, witness, group or quorum"),
    ("threshold 1\n", 1, "got 'threshold'"),
    ("quorum a\n" + HEAD, 1, "'a' is not defined above"),
    (HEAD + "quorum d\n", 5, "'d' is not defined above"),
    (HEAD + "quorum A\n", 5, "'A' is not defined above"),
    ("log\n", 1, "want: log VKEY"),
    (f"log {L} url more\n", 1, "want: log VKEY"),
    ("log nonsense\n", 1, "want NAME"),
    (f"log {L[:-1]}\n", 1, "base64"),
    (f"log {L.replace('log', 'lag')}\n", 1, "want [0-9a-f]{8} for that key"),
    (f"log {W[2]}\n", 1, "got a key of type 0x04, want 0x01 or 0x06"),
    (f"log {L}\nlog {L} url\n", 2, "public key is there already on line 1"),
    (
        f"log {L}\nlog {format_vkey(key(1, ED, 'other.example'))}\n",
        2,
        "public key is there already on line 1",
    ),
    ("witness a\n", 1, "want: witness NAME VKEY"),
    (f"witness {W[2]}\n", 1, "want: witness NAME VKEY"),
    (f"witness a {W[2]} url more\n", 1, "want: witness NAME VKEY"),
    (f"witness a {L}\n", 1, "got a key of type 0x01, want 0x04 or 0x06"),
    (f"witness none {W[2]}\n", 1, "'none' is taken"),
    (f"witness a {W[2]}\nwitness a {W[3]}\n", 2, "name 'a' is there already on line 1"),
    (f"witness a {W[2]}\nwitness b {W[2]}\n", 2, "public key is there already on line 1"),
    (f"witness a {W[2]}\nwitness b {format_vkey(key(2, COSIGNER, 'x'))}\n", 2, "public key is there already"),
    (
        f"log {L}\nwitness a {format_vkey(key(1, COSIGNER, ORIGIN))}\n",
        2,
        "public key is there already on line 1",
    ),
    (f"witness a {format_vkey(key(1, COSIGNER))}\nlog {L}\n", 2, "public key is there already on line 1"),
    (HEAD + "group g\n", 5, "want: group NAME"),
    (HEAD + "group g all\n", 5, "want: group NAME"),
    (HEAD + "group g 1\n", 5, "want: group NAME"),
    (HEAD + "group g 0 a b\n", 5, "got threshold 0, want 1 to its 2 members"),
    (HEAD + "group g 3 a b\n", 5, "got threshold 3, want 1 to its 2 members"),
    (HEAD + "group g 01 a b\n", 5, "threshold '01'"),
    (HEAD + "group g +1 a b\n", 5, "threshold '\\+1'"),
    (HEAD + "group g -1 a b\n", 5, "threshold '-1'"),
    (HEAD + "group g ANY a b\n", 5, "threshold 'ANY'"),
    (HEAD + "group g ٢ a b\n", 5, "threshold"),
    (HEAD + "group g 99999999999999999999 a b\n", 5, "threshold"),
    (HEAD + f"group g {'9' * 5000} a b\n", 5, "threshold"),
    (HEAD + "group none any a b\n", 5, "'none' is taken"),
    (HEAD + "group g any a none\n", 5, "'none' is not defined above"),
    (HEAD + "group a any b c\n", 5, "name 'a' is there already on line 2"),
    (HEAD + "group g any a\ngroup g any b\n", 6, "name 'g' is there already on line 5"),
    (HEAD + "group g any a g\n", 5, "'g' is not defined above"),
    (HEAD + "group g any a h\ngroup h any b\n", 5, "'h' is not defined above"),
    (HEAD + f"group g any d\nwitness d {W[5]}\n", 5, "'d' is not defined above"),
    (HEAD + "group g 2 a a\n", 5, "'a' is a member of 'g' twice"),
    (HEAD + "group g any a\ngroup h any a b\n", 6, "'a' is a member of 'h' and of 'g' on line 5"),
    (
        HEAD + "group g any a\ngroup h any g\ngroup i any g b\n",
        7,
        "'g' is a member of 'i' and of 'h' on line 6",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused(text: str, line: int | None, message: str) -> None:
    where = f"^policy line {line}: " if line else "^policy: "
    with pytest.raises(PolicyError, match=message) as caught:
        parse(text)
    assert caught.match(where)
    assert caught.value.exit_status == 2


def test_mldsa_keys() -> None:
    log, witness = key(1, MLDSA, ORIGIN), key(2, MLDSA)
    policy = parse(f"log {format_vkey(log)}\nlog {L}\nwitness w {format_vkey(witness)}\nquorum w\n")
    assert [entry.key for entry in policy.logs] == [log, LOG]
    twice = (
        f"witness w {format_vkey(witness)}\nwitness v {format_vkey(key(2, MLDSA, 'other'))}\nquorum none\n"
    )
    with pytest.raises(
        PolicyError, match="line 2: witness 'other': its public key is there already on line 1"
    ):
        parse(twice)


def test_unknown_key_types_are_named(typed_notes: dict[str, tuple[str, bytes]]) -> None:
    for label, byte in (("ecdsa", "0x02"), ("rfc6962", "0x05")):
        with pytest.raises(PolicyError, match=f"line 1: .*signature type {byte}"):
            parse(f"log {typed_notes[label][0]}\nquorum none\n")


def test_keys_whose_lines_could_not_be_told_apart() -> None:
    one, two = (hashlib.sha256(b"%d" % n).digest() for n in (17455, 66505))  # found by trying
    keys = [VerifierKey(ORIGIN, key_id(ORIGIN, COSIGNER, public), COSIGNER, public) for public in (one, two)]
    assert keys[0].key_id == keys[1].key_id
    with pytest.raises(PolicyError, match=r"line 2: .*its name and key ID are another key's on line 1"):
        parse("".join(f"witness w{n} {format_vkey(k)}\n" for n, k in enumerate(keys)) + "quorum none\n")


def test_size_limits() -> None:
    rows = [f"log {format_vkey(key(1000 + n, ED, f'log.example/{n}'))}" for n in range(300)]
    rows += [f"witness w{n} {format_vkey(key(2000 + n))}" for n in range(300)]
    rows += ["group g0 any w0"] + [f"group g{n} {n % 2 + 1} g{n - 1} w{n}" for n in range(1, 300)]
    policy = parse("\n".join([*rows, "quorum g299\n"]))
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (300, 300, 300)
    with pytest.raises(PolicyError, match=f"want at most {MAX_POLICY_BYTES}"):
        parse_policy(b"#" * MAX_POLICY_BYTES + b"\nquorum none\n")


def test_single_log_policy() -> None:
    mldsa = key(7, MLDSA, ORIGIN)
    policy = single_log_policy([LOG, mldsa])
    assert policy == Policy((PolicyLog(LOG), PolicyLog(mldsa)), (), (), b"none")
    with pytest.raises(PolicyError, match=r"^policy: log .*its public key is there already$"):
        single_log_policy([LOG, LOG])
    with pytest.raises(PolicyError, match=r"^policy: log .*got a key of type 0x04"):
        single_log_policy([key(2)])


# --- writing -----------------------------------------------------------------------------------------------------

WORDS = st.binary(min_size=1, max_size=6).filter(
    lambda word: word != b"none" and not any(byte <= 0x20 or byte == 0x7F for byte in word)
)
URLS = st.none() | WORDS


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    logs = tuple(
        PolicyLog(key(100 + n, ED, f"log.example/{n}"), draw(URLS)) for n in range(draw(st.integers(0, 3)))
    )
    names = draw(st.lists(WORDS, unique=True, max_size=10))
    count = draw(st.integers(0, len(names)))
    witnesses = tuple(PolicyWitness(name, key(200 + n), draw(URLS)) for n, name in enumerate(names[:count]))
    free, groups = [w.name for w in witnesses], []
    for name in names[count:]:
        members = draw(st.lists(st.sampled_from(free), unique=True, min_size=1)) if free else []
        if members:
            groups.append(Group(name, draw(st.integers(1, len(members))), tuple(members)))
            free = [other for other in free if other not in members] + [name]
    defined = [w.name for w in witnesses] + [g.name for g in groups]
    return Policy(logs, witnesses, tuple(groups), draw(st.sampled_from([b"none", *defined])))


@given(policies())
def test_round_trip(policy: Policy) -> None:
    data = format_policy(policy)
    assert parse_policy(data) == policy
    assert format_policy(parse_policy(data)) == data


WITNESS = PolicyWitness(b"w", key(2))


@pytest.mark.parametrize(
    "policy",
    [
        Policy((), (WITNESS,), (), b"v"),
        Policy((), (WITNESS,), (), b""),
        Policy((), (WITNESS,), (), b"w w"),
        Policy((), (PolicyWitness(b"", key(2)),), (), b"none"),
        Policy((), (PolicyWitness(b"a b", key(2)),), (), b"none"),
        Policy((), (PolicyWitness(b"a", key(2), b"u v"),), (), b"none"),
        Policy((), (PolicyWitness(b"a", key(2), b""),), (), b"none"),
        Policy((), (PolicyWitness(b"a\n", key(2)),), (), b"none"),
        Policy((PolicyLog(LOG, b"u\n#"),), (), (), b"none"),
        Policy((PolicyLog(key(2)),), (), (), b"none"),
        Policy((), (WITNESS,), (Group(b"g", 0, (b"w",)),), b"g"),
        Policy((), (WITNESS,), (Group(b"g", 2, (b"w",)),), b"g"),
        Policy((), (WITNESS,), (Group(b"g", 1, ()),), b"g"),
        Policy((), (WITNESS,), (Group(b"g", 1, (b"h",)), Group(b"h", 1, (b"w",))), b"g"),
    ],
)
def test_not_written(policy: Policy) -> None:
    with pytest.raises(PolicyError):
        format_policy(policy)
