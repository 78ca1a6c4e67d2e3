"""Trust policies: which logs are known, which witnesses, and which of them are enough.

The file is octets, not text: names are compared byte for byte and no Unicode rule applies to them. Everything
a policy means is settled while it is read, line by line, so a `Policy` that exists has no dangling or doubled
name and no threshold out of reach. Make one with `parse_policy` or `single_log_policy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from merklelog.errors import FormatError, KeyFormatError, PolicyError
from merklelog.formats.algorithms import SignatureType
from merklelog.formats.keys import VerifierKey, format_vkey, parse_vkey
from merklelog.formats.note import MAX_SIGNATURES
from merklelog.formats.wire import parse_decimal, quote

MAX_POLICY_BYTES: Final = 1 << 20
QUORUM_NONE: Final = b"none"

LOG_TYPES: Final = (SignatureType.ED25519, SignatureType.COSIGNATURE_MLDSA44)
WITNESS_TYPES: Final = (SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_MLDSA44)

# tlog-policy, "Character set": tab, newline, 0x20-0x7E and 0x80-0xFF.
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_BLANK: Final = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log: its key, whose name is the log's origin. `line` is where it stood, for messages alone."""

    key: VerifierKey
    url: bytes | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness: the name it has inside the policy, and its key, which may have another name."""

    name: bytes
    key: VerifierKey
    url: bytes | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """`threshold` of `members`, witnesses or groups defined before it, make the group cosign."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy; every group comes after the groups it is made of, and `quorum` may be `none`."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[Group, ...]
    quorum: bytes


def parse_policy(data: bytes) -> Policy:
    """Reads a policy file; one without logs is read too, and no checkpoint meets it.

    Raises PolicyError naming the line. Source: tlog-policy.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"policy: got {len(data)} bytes, want at most {MAX_POLICY_BYTES}")
    *lines, rest = data.split(b"\n")
    if rest:
        raise PolicyError(f"policy line {len(lines) + 1}: it does not end in a newline")
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        reader.read_line(number, line)
    return reader.policy()


def single_log_policy(keys: Iterable[VerifierKey]) -> Policy:
    """The policy of a log known by any one of `keys`, with `quorum none`: what `--vkey` means.

    The log's receipt key, which `merklelog vkey` prints with the others, signs no checkpoint and is passed over.
    Raises PolicyError for a key that can not be a log's, or one key twice.
    """
    reader = _Reader()
    for key in keys:
        if key.type is not SignatureType.RECEIPT:
            reader.add_log(key, None)
    reader.quorum = QUORUM_NONE
    return reader.policy()


def format_policy(policy: Policy) -> bytes:
    """A policy file that reads back as an equal policy: logs, witnesses, groups, quorum, without comments.

    Raises PolicyError for a policy put together by hand that no file can say.
    """
    rows = [_words(b"log", format_vkey(log.key).encode(), log.url) for log in policy.logs]
    rows += [_words(b"witness", w.name, format_vkey(w.key).encode(), w.url) for w in policy.witnesses]
    rows += [_words(b"group", g.name, b"%d" % g.threshold, *g.members) for g in policy.groups]
    data = b"".join([*rows, _words(b"quorum", policy.quorum)])
    if parse_policy(data) != policy:
        raise PolicyError("policy: it holds a word that is empty or has white space in it")
    return data


def _words(*words: bytes | None) -> bytes:
    return b" ".join(word for word in words if word is not None) + b"\n"


class _Reader:
    """What is defined so far, and every rule about what may come next."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[Group] = []
        self.quorum: bytes | None = None
        self.defined: dict[bytes, int] = {}  # witness or group name -> line
        self.fewest: dict[bytes, int] = {}  # witness or group name -> how many cosignatures it takes at least
        self.member_of: dict[bytes, Group] = {}
        self.publics: dict[bytes, int] = {}  # public key -> line
        self.identifiers: dict[tuple[str, bytes], int] = {}
        self.origins: dict[str, int] = {}  # the name of a log's key -> line
        self.signers: dict[str, list[PolicyWitness]] = {}  # the name of a witness' key -> its lines
        self.line = 0

    def fault(self, text: str) -> PolicyError:
        return PolicyError(f"policy line {self.line}: {text}" if self.line else f"policy: {text}")

    def policy(self) -> Policy:
        if self.quorum is None:
            raise PolicyError("policy: it has no quorum line")
        for name, lines in self.signers.items():
            self.check_one_vote(name, lines)
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)

    def read_line(self, number: int, line: bytes) -> None:
        self.line = number
        if found := _FORBIDDEN.search(line):
            raise self.fault(f"the octet 0x{found[0].hex()} is not allowed")
        if not (stripped := line.strip(b" \t")) or stripped.startswith(b"#"):
            return
        keyword, *words = _BLANK.split(stripped)
        if keyword == b"log" and 1 <= len(words) <= 2:
            self.add_log(self.key(words[0]), words[1] if words[1:] else None)
        elif keyword == b"witness" and 2 <= len(words) <= 3:
            self.add_witness(words[0], self.key(words[1]), words[2] if words[2:] else None)
        elif keyword == b"group" and len(words) >= 3:
            self.add_group(words[0], words[1], tuple(words[2:]))
        elif keyword == b"quorum" and len(words) == 1:
            self.set_quorum(words[0])
        else:
            raise self.fault(self.usage(keyword, len(words)))

    def usage(self, keyword: bytes, count: int) -> str:
        forms = {
            b"log": "log VKEY [URL]",
            b"witness": "witness NAME VKEY [URL]",
            b"group": "group NAME all|any|K NAME...",
            b"quorum": "quorum NAME",
        }
        if keyword not in forms:
            return f"got {quote(keyword)}, want log, witness, group or quorum"
        return f"got {count} words after {quote(keyword)}, want: {forms[keyword]}"

    def key(self, word: bytes) -> VerifierKey:
        try:
            return parse_vkey(word.decode("utf-8"))
        except UnicodeDecodeError:
            raise self.fault(f"verifier key {quote(word)}: not UTF-8") from None
        except KeyFormatError as error:
            raise self.fault(str(error)) from error

    def add_log(self, key: VerifierKey, url: bytes | None) -> None:
        self.take_key("log", key, LOG_TYPES)
        if lines := self.signers.get(key.name):
            raise self.fault(
                f"log {quote(key.name)}: a witness' key has that name{_on(lines[0].line)}, and no log is its own "
                f"witness"
            )
        self.origins.setdefault(key.name, self.line)
        self.logs.append(PolicyLog(key, url, self.line))

    def add_witness(self, name: bytes, key: VerifierKey, url: bytes | None) -> None:
        self.define(name)
        self.take_key("witness", key, WITNESS_TYPES)
        if (line := self.origins.get(key.name)) is not None:
            raise self.fault(
                f"witness {quote(name)}: its key's name {quote(key.name)} is a log's{_on(line)}, and no log is "
                f"its own witness"
            )
        self.fewest[name] = 1
        self.witnesses.append(PolicyWitness(name, key, url, self.line))
        self.signers.setdefault(key.name, []).append(self.witnesses[-1])

    def check_one_vote(self, name: str, lines: list[PolicyWitness]) -> None:
        """Keys of one name are one witness': whichever of them sign, it counts once."""
        if len(lines) == 1:
            return
        first, home = lines[0], self.member_of.get(lines[0].name)
        for other in lines[1:]:
            if home is None or home.threshold != 1 or self.member_of.get(other.name) is not home:
                self.line = other.line
                raise self.fault(
                    f"witness {quote(other.name)}: its key's name {quote(name)} is that of {quote(first.name)}"
                    f"{_on(first.line)}: two keys of one witness belong in one 'any' group, or it had two votes"
                )

    def take_key(self, role: str, key: VerifierKey, types: tuple[SignatureType, ...]) -> None:
        """A key plays one role, once: two names for one key would give its holder two votes."""
        if key.type not in types:
            want = " or ".join(f"0x{kind.value:02x}" for kind in types)
            raise self.fault(
                f"{role} {quote(key.name)}: got a key of type 0x{key.type.value:02x}, want {want}"
            )
        if (line := self.publics.get(key.public)) is not None:
            raise self.fault(f"{role} {quote(key.name)}: its public key is there already{_on(line)}")
        # Lines of these two could not be told apart, and each one's signature would be a wrong one of the
        # other's.
        if (line := self.identifiers.get((key.name, key.key_id))) is not None:
            raise self.fault(f"{role} {quote(key.name)}: its name and key ID are another key's{_on(line)}")
        self.publics[key.public] = self.identifiers[key.name, key.key_id] = self.line

    def define(self, name: bytes) -> None:
        if name == QUORUM_NONE:
            raise self.fault("the name 'none' is taken: it stands for no quorum")
        if (line := self.defined.get(name)) is not None:
            raise self.fault(f"the name {quote(name)} is there already{_on(line)}")
        self.defined[name] = self.line

    def add_group(self, name: bytes, word: bytes, members: tuple[bytes, ...]) -> None:
        threshold = self.threshold(name, word, len(members))
        group = Group(name, threshold, members, self.line)
        for member in members:
            self.require(member)
            if (other := self.member_of.get(member)) is not None:
                where = "twice" if other is group else f"and of {quote(other.name)}{_on(other.line)}"
                raise self.fault(f"{quote(member)} is a member of {quote(name)} {where}")
            self.member_of[member] = group
        self.define(name)
        self.fewest[name] = sum(sorted(self.fewest[member] for member in members)[:threshold])
        self.groups.append(group)

    def threshold(self, name: bytes, word: bytes, count: int) -> int:
        if word in (b"any", b"all"):
            return 1 if word == b"any" else count
        try:
            value = parse_decimal(word, "threshold")
        except FormatError:
            raise self.fault(
                f"group {quote(name)}: got threshold {quote(word)}, want all, any or a number"
            ) from None
        if not 1 <= value <= count:
            raise self.fault(f"group {quote(name)}: got threshold {value}, want 1 to its {count} members")
        return value

    def set_quorum(self, name: bytes) -> None:
        if self.quorum is not None:
            raise self.fault("a second quorum line")
        if name != QUORUM_NONE:
            self.require(name)
            # One line of a note is the log's own.
            if (fewest := self.fewest[name]) >= MAX_SIGNATURES:
                raise self.fault(
                    f"the quorum {quote(name)} takes {fewest} cosignatures and can never be met: a checkpoint has "
                    f"room for {MAX_SIGNATURES - 1}"
                )
        self.quorum = name

    def require(self, name: bytes) -> None:
        if name not in self.defined:
            raise self.fault(f"the name {quote(name)} is not defined above this line")


def _on(line: int) -> str:
    return f" on line {line}" if line else ""
