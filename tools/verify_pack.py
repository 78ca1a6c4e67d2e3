#!/usr/bin/env python3
"""Verify an evidence pack of a merklelog transparency log, with Python's standard library and nothing else.

    python3 -I verify_pack.py evidence.mlpack --policy POLICY        (or --vkey KEY, again for more)

Exit status 0: proven. Each entry in the pack is in the log at its index, and none between them is missing, under
a checkpoint that meets YOUR policy. 1: disproven. 2: a mistake in the call or in the policy. 3: it could not be
told, as the policy needs ML-DSA-44 signatures, which this program does not verify. 4: a file could not be read.

Nothing in a pack is trusted: keys and witnesses are those of the policy that you bring. Get this file from the
merklelog project and compare its SHA-256 with the one published there; never take it from who gave you the pack.

It shares no line with merklelog and judges the same. Written for Python 3.8 and later. Formats: c2sp.org
signed-note, tlog-checkpoint, tlog-cosignature and tlog-policy; hashes: RFC 6962 section 2.1; Ed25519: RFC 8032.
"""

from __future__ import annotations

import argparse
import binascii
import hashlib
import io
import os
import re
import stat
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

MEBIBYTE = 1 << 20
MAX_INT = 2**63 - 1
MAX_SIGNATURES = 128
FILE_ENTRIES = 1024  # a file below entries/ holds up to so many, and ends where the index is a multiple of it
ED25519_LOG, ED25519_WITNESS, MLDSA44, RECEIPT = 0x01, 0x04, 0x06, 0xFF


class Disproven(Exception):  # noqa: N818  it is a verdict
    """What the pack says is not so, or it is no pack."""


class BadCall(Exception):  # noqa: N818
    """The policy or a key can not be used."""


class Unknown(Exception):  # noqa: N818
    """All that can be verified here holds, and the policy wants more."""


# --- Ed25519 (RFC 8032, section 5.1) ----------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
# A point is X, Y, Z and T of section 5.1.4: x = X/Z, y = Y/Z, x*y = T/Z.
NEUTRAL = (0, 1, 1, 0)


def decode_point(data: bytes) -> tuple[int, int, int, int] | None:
    """Section 5.1.3; None for 32 bytes that are no point, or not its only spelling."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * ROOT_OF_MINUS_1 % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    return (x, y, 1, x * y % P)


def add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Section 5.1.4; complete, so it doubles as well."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def is_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Section 5.1.7 without a cofactor: whether R is, byte for byte, [S]B - [h]A."""
    point = decode_point(public) if len(public) == 32 else None
    if point is None or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    minus = (P - point[0], point[1], 1, P - point[3])
    base = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or NEUTRAL
    both = add(base, minus)
    r = NEUTRAL
    for bit in range(252, -1, -1):
        r = add(r, r)
        if s >> bit & 1 or h >> bit & 1:
            r = add(r, both if s >> bit & h >> bit & 1 else base if s >> bit & 1 else minus)
    inverse = pow(r[2], P - 2, P)
    x, y = r[0] * inverse % P, r[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def has_small_order(public: bytes) -> bool:
    """A key of order 1, 2, 4 or 8, for which anybody can sign; or no point at all."""
    point = decode_point(public)
    for _ in range(3):
        point = point and add(point, point)
    return point is None or point[0] % P == 0


# --- strict text ------------------------------------------------------------------------------------------------


def base64_of(text: bytes) -> bytes | None:
    """The bytes of canonical base64, else None."""
    try:
        data = binascii.a2b_base64(text)
    except (binascii.Error, ValueError):
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None


def decimal_of(text: bytes) -> int | None:
    """A number from 0 to 2**63 - 1 without sign or leading zeroes, else None."""
    if not re.fullmatch(rb"0|[1-9][0-9]{0,18}", text):
        return None
    value = int(text)
    return value if value <= MAX_INT else None


def is_key_name(name: str) -> bool:
    """Whether a signature line can carry it: no space of Unicode, no control character, no plus."""
    spaces = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    return re.fullmatch(f"[^\x00-\x20+{spaces}]+", name) is not None


def shown(name: object) -> str:
    """A word from outside as a terminal may show it."""
    return ascii(name if isinstance(name, str) else bytes(name).decode("utf-8", "backslashreplace"))[1:-1]  # type: ignore[call-overload]


# --- keys and policies (signed-note, "Verifier keys"; tlog-policy) ----------------------------------------------


class Key(NamedTuple):
    """A verifier key."""

    name: str
    identifier: bytes
    kind: int
    public: bytes


def parse_vkey(text: str) -> Key:
    """Reads name+id+base64(type || key)."""
    parts = text.split("+", 2)
    material = base64_of(parts[2].encode("utf-8", "replace")) if len(parts) == 3 else None
    if not material or not is_key_name(parts[0]) or not re.fullmatch("[0-9a-f]{8}", parts[1]):
        raise BadCall(f"verifier key {shown(text[:80])}: want NAME+ID+KEY")
    label = b"\xffmerklelog/receipt/v1" if material[0] == RECEIPT else material[:1]
    name, kind, public = parts[0], material[0], material[len(label) :]
    if not material.startswith(label) or kind not in (ED25519_LOG, ED25519_WITNESS, MLDSA44, RECEIPT):
        raise BadCall(f"verifier key {shown(name)}: keys of type 0x{kind:02x} are not known")
    if len(public) != (1312 if kind == MLDSA44 else 32):
        raise BadCall(f"verifier key {shown(name)}: a key of {len(public)} bytes")
    if kind != MLDSA44 and has_small_order(public):
        raise BadCall(f"verifier key {shown(name)}: a key for which anyone can sign")
    key = Key(name, bytes.fromhex(parts[1]), kind, public)
    if hashlib.sha256(name.encode() + b"\n" + label + public).digest()[:4] != key.identifier:
        raise BadCall(f"verifier key {shown(name)}: its ID is not that of its key")
    if kind == MLDSA44 and len(name.encode()) > 255:
        raise BadCall(f"verifier key {shown(name)}: its name is over 255 bytes")
    return key


class Policy:
    """Logs, witnesses, groups and the quorum, every rule checked line by line."""

    def __init__(self) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[bytes, Key] = {}
        self.groups: dict[bytes, tuple[int, list[bytes]]] = {}
        self.fewest: dict[bytes, int] = {}  # how many cosignatures a witness or a group takes at least
        self.quorum: bytes | None = None

    def every_key(self) -> list[Key]:
        """Every key, the logs' first."""
        return self.logs + list(self.witnesses.values())

    def is_met(self, cosigned: set[bytes]) -> bool:
        """Whether witnesses of these names are enough."""
        met = set(cosigned)
        for name, (threshold, members) in self.groups.items():
            if sum(member in met for member in members) >= threshold:
                met.add(name)
        return self.quorum == b"none" or self.quorum in met

    def read_line(self, line: bytes) -> None:
        """One line of a policy file."""
        if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise BadCall("an octet that is not allowed")
        words = re.split(rb"[ \t]+", line.strip(b" \t"))
        if words[0] == b"" or words[0].startswith(b"#"):
            return
        word, count = words[0], len(words) - 1
        if word == b"log" and count in (1, 2):
            self.add_log(parse_vkey(words[1].decode("utf-8", "replace")))
        elif word == b"witness" and count in (2, 3):
            self.define(words[1])
            key = parse_vkey(words[2].decode("utf-8", "replace"))
            self.add_key(key, (ED25519_WITNESS, MLDSA44), self.logs)
            self.witnesses[words[1]] = key
            self.fewest[words[1]] = 1
        elif word == b"group" and count >= 3:
            self.add_group(words[1], words[2], words[3:])
        elif word == b"quorum" and count == 1 and self.quorum is None:
            if words[1] != b"none" and words[1] not in self.fewest:
                raise BadCall(f"the name {shown(words[1])} is not defined above this line")
            if self.fewest.get(words[1], 0) >= MAX_SIGNATURES:  # one line of a note is the log's own
                raise BadCall(f"the quorum {shown(words[1])} can never be met: no checkpoint has room for it")
            self.quorum = words[1]
        else:
            raise BadCall(
                "want log KEY [URL], witness NAME KEY [URL], group NAME any|all|K NAME..., one quorum NAME"
            )

    def add_log(self, key: Key) -> None:
        """A key of a log."""
        self.add_key(key, (ED25519_LOG, MLDSA44), list(self.witnesses.values()))
        self.logs.append(key)

    def add_key(self, key: Key, kinds: tuple[int, ...], others: list[Key]) -> None:
        """A key plays one role, once, and no log is its own witness."""
        if key.kind not in kinds:
            raise BadCall(f"key {shown(key.name)}: a key of type 0x{key.kind:02x} has no place on this line")
        if any(key.public == each.public or key[:2] == each[:2] for each in self.every_key()):
            raise BadCall(f"key {shown(key.name)}: it is there already")
        if any(key.name == each.name for each in others):
            raise BadCall(f"key {shown(key.name)}: the name of a log and of a witness")

    def define(self, name: bytes) -> None:
        """A name of a witness or a group."""
        if name == b"none" or name in self.fewest:
            raise BadCall(f"the name {shown(name)} is taken")

    def add_group(self, name: bytes, word: bytes, members: list[bytes]) -> None:
        """Members are defined above, and are in no other group."""
        threshold = {b"any": 1, b"all": len(members)}.get(word, decimal_of(word))
        if threshold is None or not 1 <= threshold <= len(members):
            raise BadCall(f"group {shown(name)}: its threshold can not be")
        grouped = [member for group in self.groups.values() for member in group[1]]
        for member in members:
            if member not in self.fewest:
                raise BadCall(f"the name {shown(member)} is not defined above this line")
            if member in grouped or members.count(member) > 1:
                raise BadCall(f"{shown(member)} is a member twice")
        self.define(name)
        self.groups[name] = (threshold, members)
        self.fewest[name] = sum(sorted(self.fewest[member] for member in members)[:threshold])

    def finish(self) -> None:
        """What can be said once all lines are read."""
        if self.quorum is None:
            raise BadCall("policy: it has no quorum line")
        by_name: dict[str, list[bytes]] = {}
        for name, key in self.witnesses.items():
            by_name.setdefault(key.name, []).append(name)
        for key_name, names in by_name.items():
            one_vote = any(
                threshold == 1 and all(name in members for name in names)
                for threshold, members in self.groups.values()
            )
            if len(names) > 1 and not one_vote:
                raise BadCall(f"witness key name {shown(key_name)}: two of its keys, not in one 'any' group")


def read_policy(data: bytes) -> Policy:
    """A policy file."""
    policy = Policy()
    lines = data.split(b"\n")
    if lines.pop() or len(data) > MEBIBYTE:
        raise BadCall("policy: it does not end in a newline, or is over 1 MiB")
    for number, line in enumerate(lines, 1):
        try:
            policy.read_line(line)
        except BadCall as error:
            raise BadCall(f"policy line {number}: {error}") from None
    policy.finish()
    return policy


# --- the signed checkpoint (signed-note; tlog-checkpoint; tlog-cosignature) -------------------------------------


class Checkpoint(NamedTuple):
    """A tree head, its text, and its signature lines: name, key ID and what follows it."""

    origin: str
    size: int
    root: bytes
    text: bytes
    lines: list[tuple[str, bytes, bytes]]


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Reads the note, and verifies nothing."""
    text, _, below = data.rpartition(b"\n\n")
    text += b"\n"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Disproven("checkpoint.txt: not UTF-8") from None
    if (
        re.search(rb"[\x00-\x09\x0b-\x1f]", data)
        or not below.endswith(b"\n")
        or below.count(b"\n") > MAX_SIGNATURES
    ):
        raise Disproven("checkpoint.txt: no signed note")
    lines = []
    for line in below[:-1].split(b"\n"):
        match = re.fullmatch("— ([^ ]+) ([^ ]+)".encode(), line)
        blob = base64_of(match[2]) if match else None
        if match is None or blob is None or len(blob) <= 4 or not is_key_name(match[1].decode()):
            raise Disproven("checkpoint.txt: a signature line that is none")
        lines.append((match[1].decode(), blob[:4], blob[4:]))
    head = text[:-1].split(b"\n")
    size = decimal_of(head[1]) if len(head) >= 3 and b"" not in head else None
    root = base64_of(head[2]) if size is not None else None
    if size is None or root is None or len(root) != 32:
        raise Disproven("checkpoint.txt: not the text of a checkpoint")
    return Checkpoint(head[0].decode(), size, root, text, lines)


class Signed(NamedTuple):
    """Who signed: the log's key, witnesses with their times, and names of what only ML-DSA-44 could tell."""

    log: Key | None
    times: dict[bytes, int]
    unknown_log: bool
    unknown: set[bytes]


def check_signatures(policy: Policy, checkpoint: Checkpoint) -> Signed:
    """Every line of a listed key is that key's signature, or the whole note is worth nothing."""
    log: Key | None = None
    times: dict[bytes, int] = {}
    unknown: set[bytes] = set()
    unknown_log = False
    listed = {(key.name, key.identifier): key for key in policy.every_key()}
    named = {key: name for name, key in policy.witnesses.items()}
    for name, identifier, blob in checkpoint.lines:
        key = listed.get((name, identifier))
        if key is None:
            continue
        stamp, signature, message = 0, blob, checkpoint.text
        if key.kind != ED25519_LOG:
            stamp, signature = int.from_bytes(blob[:8], "big"), blob[8:]
            message = b"cosignature/v1\ntime %d\n%s" % (stamp, checkpoint.text)
        if len(signature) != (2420 if key.kind == MLDSA44 else 64) or stamp > MAX_INT:
            raise Disproven(f"checkpoint.txt: a wrong signature of {shown(name)}")
        if key.kind == MLDSA44:
            unknown_log = unknown_log or (key in policy.logs and name == checkpoint.origin)
            unknown |= {named[key]} if key in named and stamp else set()
        elif not is_signature(key.public, signature, message):
            raise Disproven(f"checkpoint.txt: a wrong signature of {shown(name)}")
        elif key in named and stamp:  # a time of 0 says nothing of the tree being the newest
            times[named[key]] = min(stamp, times.get(named[key], stamp))
        elif key in policy.logs and name == checkpoint.origin and log is None:
            log = key
    return Signed(log, times, unknown_log, unknown)


def judge_policy(policy: Policy, checkpoint: Checkpoint, signed: Signed) -> str | None:
    """None when the policy is met by Ed25519 alone; why it could not be told, where ML-DSA-44 is needed."""
    logs = [key for key in policy.logs if key.name == checkpoint.origin]
    if not logs:
        raise Disproven(f"checkpoint.txt: the policy lists no log {shown(checkpoint.origin)}")
    if signed.log and policy.is_met(set(signed.times)):
        return None
    ed25519 = {name for name, key in policy.witnesses.items() if key.kind != MLDSA44}
    if all(key.kind == MLDSA44 for key in logs) or not policy.is_met(ed25519):
        return "the policy can not be met without ML-DSA-44 signatures"
    if (signed.log or signed.unknown_log) and policy.is_met(set(signed.times) | signed.unknown):
        return "whether the policy is met depends on ML-DSA-44 signatures"
    raise Disproven("checkpoint.txt: the policy is not met: the log's key or the quorum did not sign it")


def existed_by(policy: Policy, times: dict[bytes, int]) -> int | None:
    """The earliest time at which those who had cosigned were enough."""
    for moment in sorted(set(times.values())) if policy.quorum != b"none" else ():
        if policy.is_met({name for name, stamp in times.items() if stamp <= moment}):
            return moment
    return None


# --- the archive (PKWARE APPNOTE 6.3.10) ------------------------------------------------------------------------


class Member(NamedTuple):
    """A file of the archive."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int


class Archive:
    """A ZIP whose directory and files agree in everything, without a byte between, before or after them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        end = file.seek(0, io.SEEK_END) - 22
        told = struct.unpack("<4s4H2LH", self.at(end, 22))
        count, size, offset = told[4:7]
        if told[0] != b"PK\5\6" or told[7]:
            raise Disproven("no ZIP archive, or one that was cut off or added to")
        if 0xFFFF in told[3:5] or 0xFFFFFFFF in told[5:7]:
            end -= 76
            large = struct.unpack("<4sQ2H2L4Q4sLQL", self.at(end, 76))
            if (large[:2], large[10:]) != ((b"PK\6\6", 44), (b"PK\6\7", 0, end, 1)):
                raise Disproven("no ZIP archive, or one that was cut off or added to")
            told, (count, size, offset) = (b"", *large[4:8]), large[7:10]
        if told[1] or told[2] or told[3] != count or offset + size != end:
            raise Disproven("no ZIP archive, or one that was cut off or added to")
        self.directory, self.end, self.count = offset, end, count

    def at(self, place: int, length: int) -> bytes:
        """So many bytes from there on."""
        if place >= 0:
            self.file.seek(place)
            data = self.file.read(length)
            if len(data) == length:
                return data
        raise Disproven("no ZIP archive, or one that was cut off")

    def members(self) -> Iterator[Member]:
        """Its files in their order."""
        at, place = self.directory, 0
        for _ in range(self.count):
            told = struct.unpack("<4s6H3L5H2L", self.at(at, 46))
            if told[0] != b"PK\1\2" or told[10] > 255 or told[11] > 1024 or told[12]:
                raise Disproven("its directory can not be read")
            raw, extra = self.at(at + 46, told[10]), fields(self.at(at + 46 + told[10], told[11]))
            at += 46 + told[10] + told[11]
            offset = told[16]
            if offset == 0xFFFFFFFF and len(extra.get(1, b"")) == 8:
                offset = int.from_bytes(extra[1], "little")
            kind = stat.S_IFMT(told[15] >> 16) if told[1] >> 8 == 3 else 0
            head = struct.unpack("<4s5H3L2H", self.at(place, 30))
            local = fields(self.at(place + 30 + told[10], head[10])) if head[10] <= 1024 else {1: b""}
            if (
                (*head[2:4], *head[6:10], self.at(place + 30, told[10])) != (*told[3:5], *told[7:11], raw)
                or (head[0], offset, kind in (0, stat.S_IFREG)) != (b"PK\3\4", place, True)
                or (told[3] & ~0b100000000110, told[4] in (0, 8), told[13]) != (0, True, 0)
                or 0xFFFFFFFF in told[8:10]
                or told[2] > 63
                or 1 in local
                or 0x7075 in (*local, *extra)
            ):
                raise Disproven(f"{shown(raw)}: not a plain file of a ZIP archive that all tools read alike")
            place += 30 + told[10] + head[10]
            crc, packed, size = told[7:10]
            yield Member(raw.decode("ascii", "backslashreplace"), told[4], crc, packed, size, place)
            place += packed
        if at != self.end or place != self.directory:
            raise Disproven("the archive has bytes that belong to none of its files")

    def read(self, member: Member, limit: int) -> bytes:
        """A file's bytes, checked against its length and CRC-32."""
        if member.size > limit or member.packed > limit + (limit >> 8) + 64:
            raise Disproven(f"{member.name}: it is over {limit} bytes")
        data = self.at(member.start, member.packed)
        if member.method:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflate.decompress(data, member.size + 1)
            except zlib.error:
                data = b""
            if not inflate.eof or inflate.unused_data:
                raise Disproven(f"{member.name}: it can not be decompressed")
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise Disproven(f"{member.name}: it was changed: its length or its CRC-32 is another one")
        return data


def fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields of a file."""
    found = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        found[kind] = extra[at + 4 : at + 4 + length]
        at += 4 + length
    return found


# --- the pack ---------------------------------------------------------------------------------------------------

PAGE = """\
WHAT THIS FILE PROVES

This is an evidence pack of the transparency log

    {origin}

It holds {count} of the log's entries: every one from index {start} to index {last}, in their order.

Verified with a policy or a key that you did not take from this file, it proves:

1. Each of these entries is in the log, byte for byte, at its index.
2. Between the first and the last of them none is missing, and none was added, changed or moved.
3. The log signed the tree of {size} entries that they are in. It is the checkpoint in checkpoint.txt,
   and its root hash is

    {root}

4. Where your policy asks for witnesses: as many of them as it asks for, parties that do not depend on the
   log's operator, have cosigned that same tree; and the entries existed by the time that the verifier
   prints.

It does not prove:

- That what an entry says is true. A log records what it was given.
- When an entry was written, or by whom. A time inside an entry is a claim of who wrote it.
- Anything about the entries before index {start} or after index {last}, or about what was never logged.
- That the log showed the same tree to everybody, or any time at all, unless witnesses of your policy
  cosigned it.
- Anything by itself. Who made this file may have made the keys as well: policy.txt is what its maker
  said about the log, for information. A verifier never reads keys from it, and neither should you.

HOW TO VERIFY IT

    merklelog verify THIS-FILE --policy YOUR-POLICY
    python3 -I verify_pack.py THIS-FILE --policy YOUR-POLICY

No network is needed, nor anything of the log or its operator. Instead of a policy, --vkey KEY names one
key of the log. Exit status 0 means proven, 1 disproven, 2 a mistake in the call, 3 that it could not be
told. verify_pack.py is one short program for any Python 3. Get it from the merklelog project, never from
who gave you this file, and compare its SHA-256 with the one that is published there.

THE FILES

README.txt      this page; a verifier makes it again and compares
proof.txt       the range of entries, and the hashes beside it that lead from the entries to the root
checkpoint.txt  the signed checkpoint and its cosignatures (c2sp.org/tlog-checkpoint)
policy.txt      the policy under which the pack was made (c2sp.org/tlog-policy), for information
entries/N.txt   entries from index N on, one a line
entries/N.bin   entries from index N on that are not plain text: each after its length, two bytes, the
                high one first

The hash of an entry is the SHA-256 of a zero byte and the entry. The hash of two neighbours is the
SHA-256 of a byte of value one, the left hash and the right hash (RFC 6962, section 2.1).
"""


class Range(NamedTuple):
    """proof.txt: the entries [start, end), the SHA-256 of policy.txt, and the hashes beside the range."""

    start: int
    end: int
    policy: bytes
    left: list[bytes]
    right: list[bytes]


def parse_proof(data: bytes, size: int) -> Range:
    """Reads the file; there must be exactly the hashes that the range calls for."""
    form = rb"merklelog/pack/v1\nentries (\S+) (\S+)\npolicy (\S+)\n((?:left \S+\n){0,63})((?:right \S+\n){0,63})"
    match = re.fullmatch(form, data)
    if match is None:
        raise Disproven("proof.txt: it can not be read")
    start, end = decimal_of(match[1]), decimal_of(match[2])
    words = [match[3], *match[4].split()[1::2], *match[5].split()[1::2]]
    hashes = [digest for digest in map(base64_of, words) if digest is not None and len(digest) == 32]
    if start is None or end is None or len(hashes) != len(words):
        raise Disproven("proof.txt: a number or a hash that is none")
    if not start < end <= size:
        raise Disproven(f"proof.txt: entries {start} to {end}, and checkpoint.txt has size {size}")
    left, inner = match[4].count(b"\n"), ((end - 1) ^ (size - 1)).bit_length()
    want = (bin(start).count("1"), sum(not end - 1 >> height & 1 for height in range(inner)))  # noqa: FURB161
    if (left, len(hashes) - 1 - left) != want:
        raise Disproven("proof.txt: not the number of hashes that its range calls for")
    return Range(start, end, hashes[0], hashes[1 : 1 + left], hashes[1 + left :])


def split_entries(name: str, data: bytes, count: int) -> list[bytes]:
    """The entries of a file: lines, or each after its length."""
    entries: list[bytes] = []
    if name.endswith(".txt"):
        entries = data.split(b"\n")
        if entries.pop() or len(entries) != count:
            raise Disproven(f"{name}: it does not hold {count} lines")
        return entries
    at, end = 0, len(data)
    while at + 2 <= end and len(entries) < count:
        begin = at + 2
        at = begin + (data[at] << 8 | data[at + 1])
        entries.append(data[begin:at])
    if len(entries) != count or at != end:
        raise Disproven(f"{name}: it does not hold {count} entries")
    return entries


class Fold:
    """The tree over leaves given in order: the peaks of the tree so far, the lowest last."""

    def __init__(self, proof: Range) -> None:
        self.at = proof.start
        self.peaks = proof.left[::-1]

    def push(self, entries: list[bytes]) -> None:
        """The next entries."""
        sha256, first = hashlib.sha256, self.at
        row = [sha256(b"\0" + entry).digest() for entry in entries]
        lowest: list[bytes] = []
        while row:
            if first & 1:
                row.insert(0, self.peaks.pop())
            if len(row) & 1:
                lowest.append(row.pop())
            pairs = iter(row)
            row = [sha256(b"\1" + left + next(pairs)).digest() for left in pairs]
            first >>= 1
        self.peaks += lowest[::-1]
        self.at += len(entries)

    def root(self, proof: Range, size: int) -> bytes:
        """The root of the tree of that size (RFC 9162 section 2.1.3.2, from the lowest peak up)."""
        height = (proof.end & -proof.end).bit_length() - 1
        node, last = proof.end - 1 >> height, size - 1 >> height
        digest, right = self.peaks.pop(), iter(proof.right)
        while last:
            if node & 1:
                digest = hashlib.sha256(b"\1" + self.peaks.pop() + digest).digest()
            elif node < last:
                digest = hashlib.sha256(b"\1" + digest + next(right)).digest()
            node, last = node >> 1, last >> 1
        return digest


class Files:
    """The files of a pack, each in its turn."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.members = archive.members()

    def take(self, limit: int, *names: str) -> tuple[str, bytes]:
        """The next file, which has one of these names."""
        member = next(self.members, None)
        if member is None or member.name not in names:
            self.refuse(member, names)
        return member.name, self.archive.read(member, limit)

    def refuse(self, member: Member | None, names: tuple[str, ...]) -> NoReturn:
        """Say what is wrong with the order of the files."""
        is_there, times = False, 0
        for each in self.archive.members() if member else ():
            is_there = is_there or each.name in names
            times += member is not None and each.name == member.name
        if member is None or (names and not is_there):
            raise Disproven(f"{' or '.join(names)}: it is missing")
        if times > 1:
            raise Disproven(f"{shown(member.name)}: it is there twice")
        where = " or ".join(names) or "nothing"
        raise Disproven(f"{shown(member.name)}: it stands where {where} should: moved or added")


def verify(file: BinaryIO, policy: Policy) -> list[str]:
    """What is proven, in lines for people. Raises Disproven and Unknown."""
    files = Files(Archive(file))
    page = files.take(16384 + 4 * MEBIBYTE, "README.txt")[1]
    statement = files.take(16384, "proof.txt")[1]
    checkpoint = parse_checkpoint(files.take(MEBIBYTE, "checkpoint.txt")[1])
    told = files.take(MEBIBYTE + 4096, "policy.txt")[1]
    signed = check_signatures(policy, checkpoint)
    untold = judge_policy(policy, checkpoint, signed)
    proof = parse_proof(statement, checkpoint.size)
    start, end = proof.start, proof.end
    values: dict[str, Any] = {"start": start, "last": end - 1, "count": end - start, "size": checkpoint.size}
    values["origin"] = checkpoint.origin.encode("ascii", "backslashreplace").decode()
    if page != PAGE.format(root=checkpoint.root.hex(), **values).encode():
        raise Disproven("README.txt: it is not the page of this pack: it was changed")
    if hashlib.sha256(told).digest() != proof.policy:
        raise Disproven("policy.txt: it is not the one that proof.txt names: it was changed")
    fold = Fold(proof)
    while fold.at < end:
        stop = min(end, (fold.at // FILE_ENTRIES + 1) * FILE_ENTRIES)
        name, data = files.take(FILE_ENTRIES * 65537, f"entries/{fold.at}.txt", f"entries/{fold.at}.bin")
        fold.push(split_entries(name, data, stop - fold.at))
    extra = next(files.members, None)
    if extra is not None:
        files.refuse(extra, ())
    if fold.root(proof, checkpoint.size) != checkpoint.root:
        raise Disproven(
            "the entries do not lead to the signed root: one of them, or of the hashes, was changed"
        )
    tree = f"{shown(checkpoint.origin)}, in its tree of size {checkpoint.size}"
    if untold or signed.log is None:
        raise Unknown(f"{untold}; all else holds of entries {start}:{end} of {tree}")
    lines = [f"proven: entries {start}:{end}, all {end - start}, of {tree}"]
    lines.append(f"signed by  {shown(signed.log.name)} (Ed25519 key {signed.log.identifier.hex()})")
    lines += [f"cosigned   {shown(name)} at {utc(stamp)}" for name, stamp in signed.times.items()]
    if signed.unknown or signed.unknown_log:
        lines.append("not looked at: ML-DSA-44 signatures, which the policy does not need")
    moment = existed_by(policy, signed.times)
    return lines if moment is None else [*lines, f"existed by {utc(moment)}"]


def utc(seconds: int) -> str:
    """POSIX seconds as people read them."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds after 1970"


def read_trust(path: str | None, vkeys: list[str]) -> Policy:
    """The policy that --policy or --vkey mean."""
    if (path is None) == (not vkeys):
        raise BadCall("give --policy FILE or --vkey KEY, got in a way you trust, and never from the pack")
    if path is not None:
        with open(path, "rb") as file:  # noqa: PTH123
            return read_policy(file.read(MEBIBYTE + 1))
    policy = Policy()
    for key in map(parse_vkey, vkeys):
        if key.kind != RECEIPT:  # it signs no checkpoint
            policy.add_log(key)
    policy.quorum = b"none"
    if not policy.logs:
        raise BadCall("--vkey: none of these keys signs a checkpoint")
    return policy


def main() -> int:
    """Verify one pack."""
    parser = argparse.ArgumentParser(description="Verify an evidence pack of a merklelog transparency log.")
    parser.add_argument("pack", metavar="FILE")
    parser.add_argument("--policy", metavar="FILE", help="a trust policy (c2sp.org/tlog-policy)")
    parser.add_argument(
        "--vkey", metavar="KEY", action="append", default=[], help="a key of the log, again for more"
    )
    args = parser.parse_args()
    try:
        policy = read_trust(args.policy, args.vkey)
        with open(args.pack, "rb") as file:  # noqa: PTH123
            lines = verify(file, policy)
    except Disproven as error:
        return say(f"{args.pack}: not proven: {error}", 1)
    except BadCall as error:
        return say(str(error), 2)
    except Unknown as error:
        return say(f"{args.pack}: could not tell: {error}", 3)
    except OSError as error:
        return say(f"{error.filename or args.pack}: {error.strerror}", 4)
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except Exception as error:  # noqa: BLE001  Python's own status for it is 1, which would say disproven
        return say(f"unexpected {type(error).__name__}: {error}", 4)
    try:
        os.write(1, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        return say(f"standard output: {error.strerror}", 4)
    return 0


def say(text: str, status: int) -> int:
    """A sentence on standard error, and the exit status."""
    sys.stderr.write(f"verify_pack: {text}\n".encode("ascii", "backslashreplace").decode())
    return status


if __name__ == "__main__":
    sys.exit(main())
