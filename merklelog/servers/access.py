"""Who a caller is, from the token or the client certificate it shows, and what it may do with which log.

`Access` holds the rules of all logs of a server, read from their `tokens.json`; `refresh` reads them anew. It
fails closed: a log without a rule is not served to anyone, and one that once had a token asks for tokens for good.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
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
_MAX_KNOWN: Final = 10_000
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
    """One log's rule: what may be done without a token, and every token of the log by its ID."""

    free: frozenset[Scope]
    tokens: Mapping[str, Token]
    for_everyone: bool


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of all logs at one moment, and at which logs a token or a certificate is listed."""

    by_origin: Mapping[str, _Rule]
    by_id: Mapping[str, tuple[tuple[str, Token], ...]]
    by_certificate: Mapping[str, tuple[tuple[str, Token], ...]]

    def of(self, origin: str) -> _Rule:
        """That log's rule. Raises UnknownLogError."""
        rule = self.by_origin.get(origin)
        if rule is None:
            raise UnknownLogError(f"no log of origin {origin[:255]!r} is served here")
        return rule


@dataclass(slots=True)
class _State:
    """The rules in force now. Callers look here each time, so that what is revoked ends what it began."""

    rules: _Rules
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Nameless:
    """A caller who showed nothing that counts. Where something is needed it is told so, not that it may not."""

    state: _State
    certificate: str | None = None
    name: str = ""
    logs: Collection[str] | None = None

    def may(self, scope: Scope, origin: str) -> bool:
        """Whether no token is needed. Raises UnauthenticatedError where one is, UnknownLogError."""
        if scope in self.state.rules.of(origin).free:
            return True
        if self.certificate is not None:
            known = (
                f"nothing here is granted to the certificate of {self.certificate}, and no token came with it"
            )
            raise UnauthenticatedError(known)
        raise UnauthenticatedError(f"to {scope} here takes a token: Authorization: Bearer mlt_...")


@dataclass(frozen=True, slots=True)
class Holder:
    """A caller who showed a token or a certificate that counts, and by which IDs the logs list it.

    `name` is that of the token, so that idempotency keys outlive a change of tokens; or the certificate's. From
    `expires` on something of it does not count any more.
    """

    name: str
    state: _State
    listed: Mapping[str, tuple[str, ...]]
    expires: float

    @property
    def logs(self) -> Collection[str]:
        """See Caller."""
        return self.listed.keys()

    def may(self, scope: Scope, origin: str) -> bool:
        """Whether the log grants it now, to this holder or to anyone.

        Raises UnknownLogError, and UnauthenticatedError when it was revoked or expired since it was shown.
        """
        rule = self.state.rules.of(origin)
        if scope in rule.free:
            return True
        listed = self.listed.get(origin, ())
        counts = False
        for each in listed:
            token = rule.tokens.get(each)
            if token is not None and token.good(self.state.clock()):
                if scope in token.scopes:
                    return True
                counts = True
        if listed and not counts:
            raise UnauthenticatedError(f"what {self.name} showed has expired or was revoked")
        return False


class Access:
    """The rules of a server. `identify` and what it gives may be used from any thread.

    `open_to_all`: logs that never had a token are open to whoever reaches the server, for a server on loopback or
    one whose configuration says so in words; else they are closed but to public reads. Before the first `refresh`
    there is no rule, so nothing is served.
    """

    def __init__(self, *, open_to_all: bool, clock: Callable[[], float] = time.time) -> None:
        self._open_to_all = open_to_all
        self._state = _State(_Rules({}, {}, {}), clock)
        self._nameless = Nameless(self._state)
        # Who showed what, by its hash: a client shows the same token with every request.
        self._known: dict[bytes, Holder] = {}

    def refresh(self, logs: Iterable[LogAccess]) -> None:
        """Read the tokens of these logs, which are all that there are from now on.

        They count for callers under way too, when these are next asked what they may. Raises ConfigError; then the
        rules stay as they were.
        """
        rules: dict[str, _Rule] = {}
        for log in logs:
            rules[log.origin] = _make_rule(log, read_tokens(log.directory), open_to_all=self._open_to_all)
        by_id: dict[str, tuple[tuple[str, Token], ...]] = {}
        by_certificate: dict[str, tuple[tuple[str, Token], ...]] = {}
        for origin, rule in rules.items():
            for token in rule.tokens.values():
                by_id[token.id] = (*by_id.get(token.id, ()), (origin, token))
                if (name := token.certificate) is not None:
                    by_certificate[name] = (*by_certificate.get(name, ()), (origin, token))
        self._state.rules = _Rules(rules, by_id, by_certificate)  # one assignment: no caller sees half of it
        self._known = {}

    def is_public(self, origin: str) -> bool:
        """Whether anyone may read that log, so that its answers may stand in shared caches."""
        rule = self._state.rules.by_origin.get(origin)
        return rule is not None and Scope.READ in rule.free

    def is_for_everyone(self, origin: str) -> bool:
        """Whether the log is said to be public, which is more than being open on a machine of one's own."""
        rule = self._state.rules.by_origin.get(origin)
        return rule is not None and rule.for_everyone

    def identify(self, authorization: str | None, certificate: str | None = None) -> Caller:
        """The caller, from its Authorization header and the name of its certificate (`peer.client_name`).

        A token goes before a certificate. Raises UnauthenticatedError for a header that holds no token of ours,
        or one that is unknown, expired or revoked: also where none would be needed, for it is a mistake.
        """
        state = self._state
        if authorization is not None:
            return self._shown(authorization)
        if certificate is not None:
            now = state.clock()
            listed = state.rules.by_certificate.get(certificate, ())
            found = tuple(each for each in listed if each[1].good(now))
            return _holder(certificate, state, found) if found else Nameless(state, certificate)
        return self._nameless

    def _shown(self, authorization: str) -> Holder:
        known = self._known
        digest = hashlib.sha256(authorization.encode("utf-8", "surrogatepass")).digest()
        holder = known.get(digest)
        state = self._state
        if holder is None or state.clock() >= holder.expires:
            found = _found(state.rules, _bearer(authorization), state.clock())
            holder = _holder(found[0][1].name, state, found)
            if len(known) >= _MAX_KNOWN:
                known.clear()
            known[digest] = holder
        return holder


def _make_rule(log: LogAccess, tokens: tuple[Token, ...] | None, *, open_to_all: bool) -> _Rule:
    if log.read not in (AUTO, PUBLIC, TOKEN):
        raise ConfigError(f"{log.directory}: log.read is {log.read!r}: want {AUTO}, {PUBLIC} or {TOKEN}")
    # Who closes a log's reads does not mean to leave its appends open.
    is_open = tokens is None and open_to_all and log.read != TOKEN
    free = _EVERYTHING if is_open else _READ if log.read == PUBLIC else _NOTHING
    return _Rule(free, {token.id: token for token in tokens or ()}, log.read == PUBLIC)


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


def _holder(name: str, state: _State, found: tuple[tuple[str, Token], ...]) -> Holder:
    listed: dict[str, tuple[str, ...]] = {}
    for origin, token in found:
        listed[origin] = (*listed.get(origin, ()), token.id)
    return Holder(name, state, listed, min(token.expires or math.inf for _, token in found))
