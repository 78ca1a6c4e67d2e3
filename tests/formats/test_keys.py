from __future__ import annotations

import base64
import copy
import hashlib
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import KeyFormatError
from merklelog.formats.keys import (
    SignatureType,
    SigningKey,
    VerifierKey,
    format_signing_key,
    format_vkey,
    generate_signing_key,
    key_id,
    parse_signing_key,
    parse_vkey,
)
from merklelog.formats.names import key_name_fault

TYPES = list(SignatureType)
SEED = bytes(range(32))


def make_vkey(name: str, kind: int, public: bytes) -> str:
    """A verifier key by the formula alone, so that it can be one the product refuses."""
    material = bytes([kind]) + (b"merklelog/receipt/v1" if kind == 0xFF else b"") + public
    identifier = hashlib.sha256(name.encode("utf-8", "surrogatepass") + b"\n" + material).digest()[:4].hex()
    return f"{name}+{identifier}+{base64.b64encode(material).decode()}"


def test_vectors(note_vectors: dict[str, Any], c2sp_example: dict[str, str]) -> None:
    vkeys = {vkey for case in note_vectors["cases"] for vkey in case["vkeys"]}
    assert len(vkeys) == 2
    for text in [*vkeys, note_vectors["vkey"], c2sp_example["vkey"]]:
        assert format_vkey(parse_vkey(text)) == text
    key = parse_signing_key(note_vectors["skey"])
    assert format_signing_key(key) == note_vectors["skey"]
    assert format_vkey(key.verifier) == note_vectors["vkey"]


def test_bad_vectors(note_vectors: dict[str, Any]) -> None:
    assert len(note_vectors["bad_vkeys"]) == 2
    for text in note_vectors["bad_vkeys"]:
        with pytest.raises(KeyFormatError):
            parse_vkey(text)


def test_mldsa_seed_vector(mldsa_seed_and_public: tuple[bytes, bytes]) -> None:
    seed, public = mldsa_seed_and_public
    key = SigningKey("example.com/log", SignatureType.COSIGNATURE_MLDSA44, seed)
    assert key.verifier.public == public
    assert len(public) == 1312


def test_typed_vkeys(typed_notes: dict[str, tuple[str, bytes]]) -> None:
    known = {"cosigv1": SignatureType.COSIGNATURE_ED25519, "mldsa": SignatureType.COSIGNATURE_MLDSA44}
    unknown = {"ecdsa": "0x02", "rfc6962": "0x05", "rfc6962rsa": "0x05"}
    assert set(typed_notes) == known.keys() | unknown.keys()
    for label, kind in known.items():
        vkey = typed_notes[label][0]
        assert parse_vkey(vkey).type is kind
        assert format_vkey(parse_vkey(vkey)) == vkey
    for label, byte in unknown.items():
        with pytest.raises(KeyFormatError, match=f"signature type {byte}"):
            parse_vkey(typed_notes[label][0])


@pytest.mark.parametrize("byte", sorted(set(range(256)) - {kind.value for kind in TYPES}))
def test_every_other_type_is_named(byte: int) -> None:
    with pytest.raises(KeyFormatError, match=f"type 0x{byte:02x}"):
        parse_vkey(make_vkey("example.com/log", byte, bytes(32)))


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: key_name_fault(name) is None)


@given(name=NAMES, kind=st.sampled_from(TYPES), seed=st.binary(min_size=32, max_size=32))
def test_round_trip(name: str, kind: SignatureType, seed: bytes) -> None:
    key = SigningKey(name, kind, seed)
    vkey, skey = format_vkey(key.verifier), format_signing_key(key)
    assert vkey == make_vkey(name, kind.value, key.verifier.public)
    assert parse_vkey(vkey) == key.verifier
    assert parse_signing_key(skey) == key
    assert parse_signing_key(skey).seed == seed


@pytest.mark.parametrize("kind", TYPES)
def test_signs_and_verifies(kind: SignatureType) -> None:
    key = generate_signing_key("example.com/log", kind)
    signature = key.sign(b"message")
    assert len(signature) == kind.signature_size
    assert key.verifier.is_signature(signature, b"message")
    assert not key.verifier.is_signature(signature, b"massage")
    assert not key.verifier.is_signature(signature[:-1], b"message")
    assert not key.verifier.is_signature(signature + b"\0", b"message")
    assert not key.verifier.is_signature(b"", b"message")
    other = generate_signing_key("example.com/log", kind)
    assert other.seed != key.seed
    assert not other.verifier.is_signature(signature, b"message")


@pytest.mark.parametrize("kind", TYPES)
def test_public_key_length(kind: SignatureType) -> None:
    for size in {0, 1, 31, 33, 64, 1311, 1313, 32, 1312} - {kind.public_size}:
        with pytest.raises(KeyFormatError, match=f"got {size} bytes, want {kind.public_size}"):
            parse_vkey(make_vkey("example.com/log", kind.value, b"\x17" * size))


GOOD = make_vkey("example.com/log", 1, b"\x17" * 32)
NAME, ID, MATERIAL = GOOD.split("+", 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "++",
        NAME,
        f"{NAME}+{ID}",
        f"{NAME}+{ID}+",
        f"+{ID}+{MATERIAL}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{NAME}+{ID.upper()}+{MATERIAL}" if ID.upper() != ID else f"{NAME}+{ID[:-1]}A+{MATERIAL}",
        f"{NAME}+{ID}0+{MATERIAL}",
        f"{NAME}+{ID[1:]}+{MATERIAL}",
        f"{NAME}+0x{ID[2:]}+{MATERIAL}",
        f"{NAME}+{ID}+{MATERIAL}=",
        f"{NAME}+{ID}+{MATERIAL[:-1]}",
        f"{NAME}+{ID}+ {MATERIAL}",
        f"x{GOOD}",
        GOOD.replace("log", "lo g"),
        make_vkey("a b", 1, b"\x17" * 32),
        make_vkey("a\u3000b", 1, b"\x17" * 32),
        make_vkey("a\tb", 1, b"\x17" * 32),
        make_vkey("a\udcffb", 1, b"\x17" * 32),
        make_vkey("n" * 20_000, 1, b"\x17" * 32),
        "PRIVATE+KEY+" + GOOD,
    ],
)
def test_malformed_vkeys(text: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        parse_vkey(text)
    assert caught.value.exit_status == 2
    assert str(caught.value)


@pytest.mark.parametrize("kind", TYPES)
def test_every_changed_character_is_refused(kind: SignatureType) -> None:
    # The ID is a hash of everything else, so a slip of the pen can not make another key.
    text = format_vkey(SigningKey("example.com/log", kind, SEED).verifier)
    for at, old in enumerate(text):
        for new in {"A", "+", "0", "f", "=", "\n", "é", chr(ord(old) ^ 1)} - {old}:
            with pytest.raises(KeyFormatError):
                parse_vkey(text[:at] + new + text[at + 1 :])


def test_a_name_too_long_for_a_cosigner() -> None:
    SigningKey("n" * 255, SignatureType.COSIGNATURE_MLDSA44, SEED)
    SigningKey("n" * 256, SignatureType.COSIGNATURE_ED25519, SEED)
    with pytest.raises(KeyFormatError, match="255"):
        SigningKey("n" * 256, SignatureType.COSIGNATURE_MLDSA44, SEED)


def test_verifier_key_checks_its_id() -> None:
    key = SigningKey("example.com/log", SignatureType.ED25519, SEED).verifier
    with pytest.raises(KeyFormatError, match=f"got key ID 00000000, want {key.key_id.hex()}"):
        VerifierKey(key.name, bytes(4), key.type, key.public)
    assert key_id(key.name, key.type, key.public) == key.key_id


# --- points of small order, found by the group law alone ---------------------------------------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P) % P


def point_with(y: int) -> tuple[int, int] | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return None if (x * x - square) % P else (x, y % P)


def small_order_points() -> set[tuple[int, int]]:
    """Multiplying any point by the prime order of the main subgroup leaves its part of order 1, 2, 4 or 8."""
    prime = 2**252 + 27742317777372353535851937790883648493
    found = set()
    for y in range(2, 60):
        total, base = (0, 1), point_with(y)
        for bit in bin(prime)[:1:-1] if base else "":
            total = add(total, base) if bit == "1" else total
            base = add(base, base)
        if base:
            found.add(total)
    return found


def test_small_order_keys_are_refused() -> None:
    points = small_order_points()
    assert len(points) == 8
    encodings = {y + k * P for _, y in points for k in (0, 1) if y + k * P < 2**255}
    assert len(encodings) == 7
    for y in encodings:
        for sign in (0, 1 << 255):
            public = (y | sign).to_bytes(32, "little")
            for kind in (0x01, 0x04):
                with pytest.raises(KeyFormatError, match="small order"):
                    parse_vkey(make_vkey("example.com/log", kind, public))


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_a_signing_key_shows_no_seed(kind: SignatureType) -> None:
    key = SigningKey("example.com/log", kind, SEED)
    text = format_signing_key(key)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert SEED.hex() not in shown
        assert repr(SEED) not in shown
        assert text.rsplit("+", 1)[1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert copy.copy(key) == key


@pytest.mark.parametrize("kind", TYPES)
def test_a_verifier_key_can_be_pickled(kind: SignatureType) -> None:
    key = SigningKey("example.com/log", kind, SEED).verifier
    assert pickle.loads(pickle.dumps(key)) == key
    assert len({key, parse_vkey(format_vkey(key))}) == 1


def faulty_signing_keys() -> list[str]:
    text = format_signing_key(SigningKey("example.com/log", SignatureType.ED25519, SEED))
    head, tail = text.rsplit("+", 1)
    name = "PRIVATE+KEY+example.com/log"
    return [
        tail,
        head,
        text.replace("PRIVATE", "PUBLIC"),
        text.lower(),
        f"{text}=",
        f"{text}\n",
        f"{text} ",
        text[:-1],
        f"{head}+{tail[:-8]}",
        f"{head}+{tail}AAAA",
        f"{head}+{tail[:10]} {tail[10:]}",
        f"{head}+Ag{tail[2:]}",
        f"{name}+00000000+{tail}",
        f"PRIVATE+KEY+{tail}",
        f"PRIVATE+KEY+{tail[:9]}+{tail[9:]}",
        f"PRIVATE+KEY+{tail[:9]}+{tail[9:17]}+{tail[17:]}",
        f"PRIVATE+KEY+ {tail[:9]}+{tail[9:17]}+{tail[17:]}",
        f"{name}+{tail}",
        f"PRIVATE+KEY++{tail}",
        text.replace("example.com/log", "example.com/lag"),
        text.replace("example.com/log", "example.com/ log"),
        text * 2,
        "é" + text,
        text + "é",
        text + "\udcff",
    ]


@pytest.mark.parametrize("text", faulty_signing_keys(), ids=range(len(faulty_signing_keys())))
def test_malformed_signing_keys_are_not_shown(text: str) -> None:
    secret = format_signing_key(SigningKey("example.com/log", SignatureType.ED25519, SEED)).rsplit("+", 1)[1]
    with pytest.raises(KeyFormatError) as caught:
        parse_signing_key(text)
    error: BaseException | None = caught.value
    seen = "".join(traceback.format_exception_only(caught.value))
    while error is not None:  # what is chained is logged too, by those who log chains
        seen += repr(error)
        error = error.__cause__ or error.__context__
    for at in range(0, len(secret) - 8, 4):
        assert secret[at : at + 8] not in seen


@pytest.mark.parametrize("size", [0, 31, 33])
def test_seed_length(size: int) -> None:
    with pytest.raises(KeyFormatError, match=f"{size} bytes, want 32"):
        SigningKey("example.com/log", SignatureType.ED25519, bytes(size))
