"""The stand-alone program's own Ed25519: RFC 8032's vectors, forged signatures, and a second opinion."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from merklelog.formats import SignatureType
from merklelog.formats.algorithms import check_public
from tests.pack.packs import script

ed = script()
L, P = ed.ORDER, ed.P

# RFC 8032, section 7.1, tests 1, 2, 3 and "SHA(abc)": secret, public, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize("vector", RFC_8032, ids=["1", "2", "3", "sha-abc"])
def test_the_vectors_of_rfc_8032(vector: tuple[str, str, str, str]) -> None:
    seed, public, message, signature = map(bytes.fromhex, vector)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    assert private.public_key().public_bytes_raw() == public
    assert private.sign(message) == signature
    assert ed.is_signature(public, signature, message)
    assert not ed.is_signature(public, signature, message + b"\0")
    assert not ed.has_small_order(public)
    for at in range(64):
        wrong = bytearray(signature)
        wrong[at] ^= 1 << at % 8
        assert not ed.is_signature(public, bytes(wrong), message)


def second_opinion(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Signer:
    """Ed25519 by hand, to sign as nobody should."""

    def __init__(self, seed: bytes, torsion: tuple[int, ...] = (0, 1, 1, 0)) -> None:
        digest = bytearray(hashlib.sha512(seed).digest())
        digest[0] &= 248
        digest[31] = digest[31] & 127 | 64
        self.scalar = int.from_bytes(digest[:32], "little")
        self.point = ed.add(times(self.scalar, BASE), torsion)
        self.public = encode(self.point)

    def sign(self, message: bytes, r: int, shown_r: bytes | None = None) -> bytes:
        """R = [r]B, or other bytes in its place, and S that fits the honest equation."""
        head = encode(times(r, BASE)) if shown_r is None else shown_r
        h = int.from_bytes(hashlib.sha512(head + self.public + message).digest(), "little")
        return head + ((r + h * self.scalar) % L).to_bytes(32, "little")


def times(scalar: int, point: tuple[int, ...]) -> tuple[int, ...]:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = ed.add(total, point)
        point, scalar = ed.add(point, point), scalar >> 1
    return total


def encode(point: tuple[int, ...]) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = ed.decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
KEY = Signer(b"one")
MESSAGE = b"a message"
GOOD = KEY.sign(MESSAGE, 12345)
S = int.from_bytes(GOOD[32:], "little")
IDENTITY = (1).to_bytes(32, "little")
MINUS_ONE = (P - 1).to_bytes(32, "little")
Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022


def with_s(value: int) -> bytes:
    return GOOD[:32] + value.to_bytes(32, "little")


FORGED = {
    "S plus the order": with_s(S + L),
    "S plus twice the order": with_s(S + 2 * L),
    "S negated": with_s(L - S),
    "S of zero": with_s(0),
    "S of the order": with_s(L),
    "S all ones": with_s(2**256 - 1),
    "the highest bit of S": with_s(S | 1 << 255),
    "S plus one": with_s(S + 1),
    "all zero": bytes(64),
    "all ones": b"\xff" * 64,
    "R of the identity, S of zero": IDENTITY + bytes(32),
    "R with its sign turned": GOOD[:31] + bytes([GOOD[31] ^ 0x80]) + GOOD[32:],
    "R zero": bytes(32) + GOOD[32:],
    "R not on the curve": (2).to_bytes(32, "little") + GOOD[32:],
    "R and S exchanged": GOOD[32:] + GOOD[:32],
    "R twice": GOOD[:32] * 2,
    "empty": b"",
    "63 bytes": GOOD[:-1],
    "65 bytes": GOOD + b"\0",
    "a zero before": b"\0" + GOOD[:-1],
    "of another message": KEY.sign(b"another message", 12345),
    "of another key": Signer(b"two").sign(MESSAGE, 12345),
    "the identity in another spelling": KEY.sign(MESSAGE, 0, (P + 1).to_bytes(32, "little")),
    "the identity with a sign": KEY.sign(MESSAGE, 0, (1 | 1 << 255).to_bytes(32, "little")),
    "R of order two, added": KEY.sign(MESSAGE, 0, MINUS_ONE),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_signatures(name: str) -> None:
    assert not ed.is_signature(KEY.public, FORGED[name], MESSAGE)
    assert not second_opinion(KEY.public, FORGED[name], MESSAGE)


def test_odd_signatures_that_are_genuine() -> None:
    for r in (12345, 1, 0, L - 1, 2**200):
        signature = KEY.sign(MESSAGE, r)
        assert ed.is_signature(KEY.public, signature, MESSAGE), r
        assert second_opinion(KEY.public, signature, MESSAGE), r


def test_a_key_with_a_part_of_small_order_verifies_without_the_cofactor() -> None:
    """Verifiers that multiply by eight take all of these; this one and OpenSSL take the same few."""
    taken = 0
    odd = Signer(b"three", ed.decode_point(MINUS_ONE))
    for number in range(40):
        message = b"%d" % number
        signature = odd.sign(message, 77 + number)
        said = ed.is_signature(odd.public, signature, message)
        assert said == second_opinion(odd.public, signature, message)
        taken += said
    assert 5 < taken < 35
    assert not ed.has_small_order(odd.public)


@pytest.mark.parametrize("y", [0, 1, P - 1, Y8, P - Y8])
@pytest.mark.parametrize("sign", [0, 1])
def test_keys_of_small_order_are_no_keys(y: int, sign: int) -> None:
    public = (y | sign << 255).to_bytes(32, "little")
    assert ed.has_small_order(public)
    with pytest.raises(Exception, match="small order"):
        check_public(SignatureType.ED25519, public)


@pytest.mark.parametrize("y", [P, P + 1, P + 2, 2**255 - 1])
def test_points_have_one_spelling(y: int) -> None:
    for sign in (0, 1):
        data = (y | sign << 255).to_bytes(32, "little")
        assert ed.decode_point(data) is None
        assert not ed.is_signature(data, GOOD, MESSAGE)
        assert ed.has_small_order(data), "what is no point is no key"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length(length: int) -> None:
    assert not ed.is_signature(bytes(length), GOOD, MESSAGE)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511), st.booleans())
def test_a_second_opinion(seed: bytes, message: bytes, bit: int, is_flipped: bool) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    signature = bytearray(private.sign(message))
    if is_flipped:
        signature[bit // 8] ^= 1 << bit % 8
    said = ed.is_signature(public, bytes(signature), message)
    assert said == second_opinion(public, bytes(signature), message) == (not is_flipped)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_decoded_points_are_on_the_curve_and_encode_to_the_same_bytes(data: bytes) -> None:
    point = ed.decode_point(data)
    if point is not None:
        x, y, z, t = point
        assert (-x * x + y * y - 1 - ed.D * x * x * y * y) % P == 0
        assert (z, t) == (1, x * y % P)
        assert encode(point) == data
