"""Who a caller is, from the token or the client certificate it shows, and what it may do with which log.

`Access` holds the rules of all logs of a server, read from their `tokens.json`; `refresh` reads them anew. It
fails closed: a log without a rule is not served to anyone, and one that once had a token asks for tokens for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merklelog.errors import ConfigError, UnauthenticatedError, UnknownLogError

from .caller import Caller, Scope
from .tokens import Token, read_tokens, token_id

AUTO: Final = "auto"
PUBLIC: Final = "public"
TOKEN: Final = "token"  # noqa: S105 - the word of the configuration
# The most a header may have: a token has 64 characters.
_MAX_SHOWN: Final = 512
_EVERYTHING: Final = frozenset(Scope)
_READ: Final = frozenset((Scope.READ,))
_NOTHING: Final[frozenset[Scope]] = frozenset()


@dataclass(frozen=True, slots=True)
class LogAccess:
    """A log's own word on access: where its tokens are, and who may read.

    `read` is the configuration's `log.read`: "public", "token", or "auto": whoever may append without a token
    may read without one.
    """

    origin: str
    directory: Path
    read: str = AUTO


@dataclass(frozen=True, slots=True)
class _Rule:
    """One log's rule: what may be done without a token, and every token of the log."""

    free: frozenset[Scope]
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of all logs at one moment, and where a token or a certificate is to be found."""

    by_origin: Mapping[str, _Rule]
    by_id: Mapping[str, tuple[tuple[str, Token], ...]]
    by_certificate: Mapping[str, tuple[tuple[str, Token], ...]]


@dataclass(frozen=True, slots=True)
class Nameless:
    """A caller who showed nothing that counts. Where something is needed it is told so, not that it may not."""

    rules: _Rules
    certificate: str | None = None
    name: str = ""

    def may(self, scope: Scope, origin: str) -> bool:
        """Whether no token is needed. Raises UnauthenticatedError where one is, UnknownLogError."""
        if scope in _rule(self.rules, origin).free:
            return True
        if self.certificate is not None:
            known = (
                f"nothing here is granted to the certificate of {self.certificate}, and no token came with it"
            )
            raise UnauthenticatedError(known)
        raise UnauthenticatedError(f"to {scope} here takes a token: Authorization: Bearer mlt_...")


@dataclass(frozen=True, slots=True)
class Holder:
    """A caller who showed a token or a certificate that counts, and its scopes at each log.

    `name` is that of the token, so that idempotency keys outlive a change of tokens; or the certificate's.
    """

    name: str
    rules: _Rules
    scopes: Mapping[str, frozenset[Scope]]

    def may(self, scope: Scope, origin: str) -> bool:
        """Whether the log grants it, to this holder or to anyone. Raises UnknownLogError."""
        return scope in _rule(self.rules, origin).free or scope in self.scopes.get(origin, _NOTHING)


def _rule(rules: _Rules, origin: str) -> _Rule:
    rule = rules.by_origin.get(origin)
    if rule is None:
        raise UnknownLogError(f"no log of origin {origin[:255]!r} is served here")
    return rule


class Access:
    """The rules of a server. `identify` and what it gives may be used from any thread.

    `open_to_all`: logs that never had a token are open to whoever reaches the server, for a server on loopback or
    one whose configuration says so in words; else they are closed but to public reads. Before the first `refresh`
    there is no rule, so nothing is served.
    """

    def __init__(self, *, open_to_all: bool, clock: Callable[[], float] = time.time) -> None:
        self._open_to_all = open_to_all
        self._clock = clock
        self._rules = _Rules({}, {}, {})

    def refresh(self, logs: Iterable[LogAccess]) -> None:
        """Read the tokens of these logs, which are all that there are from now on.

        Calls under way keep what they were granted. Raises ConfigError; then the rules stay as they were.
        """
        rules: dict[str, _Rule] = {}
        for log in logs:
            rules[log.origin] = _make_rule(log, read_tokens(log.directory), open_to_all=self._open_to_all)
        by_id: dict[str, tuple[tuple[str, Token], ...]] = {}
        by_certificate: dict[str, tuple[tuple[str, Token], ...]] = {}
        for origin, rule in rules.items():
            for token in rule.tokens:
                by_id[token.id] = (*by_id.get(token.id, ()), (origin, token))
                if (name := token.certificate) is not None:
                    by_certificate[name] = (*by_certificate.get(name, ()), (origin, token))
        self._rules = _Rules(rules, by_id, by_certificate)  # one assignment: no caller sees half of it

    def is_public(self, origin: str) -> bool:
        """Whether anyone may read that log, so that its answers may stand in shared caches."""
        rule = self._rules.by_origin.get(origin)
        return rule is not None and Scope.READ in rule.free

    def identify(self, authorization: str | None, certificate: str | None = None) -> Caller:
        """The caller, from its Authorization header and the name of its certificate (`peer.client_name`).

        A token goes before a certificate. Raises UnauthenticatedError for a header that holds no token of ours,
        or one that is unknown, expired or revoked: also where none would be needed, for it is a mistake.
        """
        rules = self._rules
        if authorization is not None:
            found = _found(rules, _bearer(authorization), self._clock())
            return _holder(found[0][1].name, rules, found)
        if certificate is not None:
            now = self._clock()
            found = tuple(each for each in rules.by_certificate.get(certificate, ()) if each[1].good(now))
            return _holder(certificate, rules, found) if found else Nameless(rules, certificate)
        return Nameless(rules)


def _make_rule(log: LogAccess, tokens: tuple[Token, ...] | None, *, open_to_all: bool) -> _Rule:
    if log.read not in (AUTO, PUBLIC, TOKEN):
        raise ConfigError(f"{log.directory}: log.read is {log.read!r}: want {AUTO}, {PUBLIC} or {TOKEN}")
    # Who closes a log's reads does not mean to leave its appends open.
    is_open = tokens is None and open_to_all and log.read != TOKEN
    free = _EVERYTHING if is_open else _READ if log.read == PUBLIC else _NOTHING
    return _Rule(free, tokens or ())


def _bearer(authorization: str) -> str:
    """The token of an Authorization header (RFC 6750, section 2.1; RFC 9110, section 11.4)."""
    scheme, _, token = authorization.strip(" \t").partition(" ")
    if scheme.lower() != "bearer" or len(token) > _MAX_SHOWN:
        raise UnauthenticatedError(
            "authorization: want Bearer and a token that `merklelog token add` printed"
        )
    return token.strip(" \t")


def _found(rules: _Rules, shown: str, now: float) -> tuple[tuple[str, Token], ...]:
    """Where that token counts. What is wrong with it is not said: a guess must learn nothing."""
    own_id = token_id(shown)
    listed = () if own_id is None else rules.by_id.get(own_id, ())
    found = tuple(each for each in listed if each[1].is_shown_by(shown))
    if not found:
        raise UnauthenticatedError("authorization: no such token")
    # Who held the token may be told what became of it.
    good = tuple(each for each in found if each[1].good(now))
    if not good:
        why = "revoked" if found[0][1].revoked is not None else "expired"
        raise UnauthenticatedError(f"authorization: the token {own_id} has been {why}")
    return good


def _holder(name: str, rules: _Rules, granted: tuple[tuple[str, Token], ...]) -> Holder:
    scopes: dict[str, frozenset[Scope]] = {}
    for origin, token in granted:
        scopes[origin] = scopes.get(origin, _NOTHING) | frozenset(token.scopes)
    return Holder(name, rules, scopes)
