"""Who may do what: every combination of a log's tokens, its read policy, and what a caller shows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from merklelog.errors import ConfigError, UnauthenticatedError, UnknownLogError
from merklelog.servers.access import Access, LogAccess
from merklelog.servers.caller import Scope
from merklelog.servers.tokens import change_tokens, make_token, revoked

NOW = 1_700_000_000
ORIGIN = "example.com/a"


class Logs:
    """Some directories with tokens, and the access to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules: dict[str, LogAccess] = {}

    def log(self, origin: str = ORIGIN, read: str = "auto") -> None:
        directory = self.folder / origin.replace("/", "-")
        directory.mkdir(exist_ok=True)
        self.rules[origin] = LogAccess(origin, directory, read)

    def token(self, *scopes: Scope, name: str = "a", origin: str = ORIGIN, **more: object) -> str:
        kept, shown = make_token(name, scopes, NOW, **more)  # type: ignore[arg-type]
        change_tokens(self.rules[origin].directory, lambda old: (*old, kept), lambda _tokens: None)
        return f"Bearer {shown}"

    def access(self, *, open_to_all: bool, now: float = NOW) -> Access:
        access = Access(open_to_all=open_to_all, clock=lambda: now)
        access.refresh(self.rules.values())
        return access


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def granted(access: Access, authorization: str | None, origin: str = ORIGIN) -> set[str]:
    """What this caller may; "401" among it where it is told to show a token."""
    found: set[str] = set()
    caller = access.identify(authorization)
    for scope in Scope:
        try:
            if caller.may(scope, origin):
                found.add(scope.value)
        except UnauthenticatedError:
            found.add("401")
    return found


ALL = {"append", "read", "admin"}
NOBODY = {"401"}


@pytest.mark.parametrize(
    ("open_to_all", "has_tokens", "read", "want"),
    [
        (True, False, "auto", ALL),
        (True, False, "public", ALL),
        (True, False, "token", NOBODY),
        (True, True, "auto", NOBODY),
        (True, True, "public", {"read", "401"}),
        (True, True, "token", NOBODY),
        (False, False, "auto", NOBODY),
        (False, False, "public", {"read", "401"}),
        (False, False, "token", NOBODY),
        (False, True, "auto", NOBODY),
        (False, True, "public", {"read", "401"}),
        (False, True, "token", NOBODY),
    ],
)
def test_without_a_token(logs: Logs, open_to_all: bool, has_tokens: bool, read: str, want: set[str]) -> None:
    logs.log(read=read)
    if has_tokens:
        logs.token(Scope.APPEND)
    access = logs.access(open_to_all=open_to_all)
    assert granted(access, None) == want
    assert access.is_public(ORIGIN) == ("read" in want)


SCOPES = [set(each) for each in (("append",), ("read",), ("admin",), ("append", "read"), tuple(Scope))]


@pytest.mark.parametrize(
    ("scopes", "read", "open_to_all"), list(product(SCOPES, ["auto", "public"], [True, False]))
)
def test_with_a_token(logs: Logs, scopes: set[str], read: str, open_to_all: bool) -> None:
    logs.log(read=read)
    shown = logs.token(*map(Scope, scopes), name="collector")
    access = logs.access(open_to_all=open_to_all)
    assert access.identify(shown).name == "collector"
    assert granted(access, shown) == scopes | ({"read"} if read == "public" else set())


def test_a_token_is_good_at_its_own_log_only(logs: Logs) -> None:
    for origin in (ORIGIN, "example.com/b", "example.com/open"):
        logs.log(origin)
    shown = logs.token(Scope.APPEND)
    logs.token(Scope.APPEND, origin="example.com/b")
    closed = logs.access(open_to_all=False)
    assert granted(closed, shown) == {"append"}
    assert granted(closed, shown, "example.com/b") == set()
    assert granted(closed, shown, "example.com/open") == set()
    assert granted(logs.access(open_to_all=True), shown, "example.com/open") == ALL


def test_the_same_token_in_two_logs_is_good_at_both(logs: Logs) -> None:
    logs.log()
    logs.log("example.com/b")
    shown = logs.token(Scope.APPEND)
    file = logs.rules[ORIGIN].directory / "tokens.json"
    other = logs.rules["example.com/b"].directory / "tokens.json"
    other.touch(0o600)
    other.write_bytes(file.read_bytes().replace(b"append", b"read"))
    access = logs.access(open_to_all=False)
    assert granted(access, shown) == {"append"}
    assert granted(access, shown, "example.com/b") == {"read"}


def test_a_log_without_a_rule_is_closed_to_everyone(logs: Logs) -> None:
    logs.log()
    shown = logs.token(Scope.APPEND, Scope.READ, Scope.ADMIN)
    access = logs.access(open_to_all=True)
    for authorization in (None, shown):
        with pytest.raises(UnknownLogError, match=r"example\.com/new"):
            access.identify(authorization).may(Scope.READ, "example.com/new")
    assert not access.is_public("example.com/new")
    with pytest.raises(UnknownLogError):
        Access(open_to_all=True).identify(None).may(Scope.READ, ORIGIN)


def test_the_last_token_revoked_does_not_open_the_log(logs: Logs) -> None:
    logs.log()
    shown = logs.token(Scope.APPEND)
    change_tokens(logs.rules[ORIGIN].directory, lambda _old: (), lambda _tokens: None)
    access = logs.access(open_to_all=True)
    assert granted(access, None) == NOBODY
    with pytest.raises(UnauthenticatedError, match="no such token"):
        access.identify(shown)


def test_expiry(logs: Logs) -> None:
    logs.log()
    shown = logs.token(Scope.APPEND, expires=NOW + 60)
    assert granted(logs.access(open_to_all=False, now=NOW + 59.9), shown) == {"append"}
    with pytest.raises(UnauthenticatedError, match="expired"):
        logs.access(open_to_all=False, now=NOW + 60).identify(shown)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "bearer x",
        "Basic dXNlcjpwYXNz",
        "mlt_0123456789abcdef_x",
        "Bearer a b",
        "\x00",
        "é",
    ],
)
def test_headers_that_are_no_token(logs: Logs, header: str) -> None:
    logs.log(read="public")
    logs.token(Scope.APPEND)
    with pytest.raises(UnauthenticatedError, match="authorization"):
        logs.access(open_to_all=False).identify(header)


def test_a_header_as_others_write_it(logs: Logs) -> None:
    logs.log()
    shown = logs.token(Scope.APPEND)
    access = logs.access(open_to_all=False)
    token = shown.removeprefix("Bearer ")
    for header in (f"bearer {token}", f"BEARER   {token} ", f"  Bearer {token}"):
        assert granted(access, header) == {"append"}


def test_no_refusal_repeats_what_was_shown(logs: Logs) -> None:
    logs.log()
    shown = logs.token(Scope.APPEND)
    access = logs.access(open_to_all=False)
    for header in (shown + "A", shown[:-1] + "-", shown.replace("Bearer", "Token"), shown + " " * 600 + "x"):
        with pytest.raises(UnauthenticatedError) as caught:
            access.identify(header)
        assert shown.split("_", 2)[2][:10] not in str(caught.value)


def test_certificates(logs: Logs) -> None:
    logs.log()
    logs.log("example.com/b")
    name = "URI:spiffe://example.com/collector"
    logs.token(Scope.APPEND, certificate=name)
    logs.token(Scope.READ, certificate=name, name="b", origin="example.com/b")
    logs.token(Scope.ADMIN, certificate="CN:old", expires=NOW + 1)
    access = logs.access(open_to_all=False)
    caller = access.identify(None, name)
    assert caller.name == name
    assert caller.may(Scope.APPEND, ORIGIN)
    assert not caller.may(Scope.READ, ORIGIN)
    assert caller.may(Scope.READ, "example.com/b")
    for unknown in ("URI:spiffe://example.com/collector2", "DNS:spiffe://example.com/collector", "CN:x"):
        stranger = access.identify(None, unknown)
        assert stranger.name == ""
        with pytest.raises(UnauthenticatedError, match="nothing here is granted to the certificate of"):
            stranger.may(Scope.READ, ORIGIN)
    assert access.identify(None, "CN:old").may(Scope.ADMIN, ORIGIN)
    late = logs.access(open_to_all=False, now=NOW + 2)
    with pytest.raises(UnauthenticatedError):
        late.identify(None, "CN:old").may(Scope.ADMIN, ORIGIN)


def test_a_token_goes_before_a_certificate(logs: Logs) -> None:
    logs.log()
    logs.token(Scope.ADMIN, certificate="CN:x")
    shown = logs.token(Scope.READ, name="b")
    access = logs.access(open_to_all=False)
    caller = access.identify(shown, "CN:x")
    assert caller.name == "b"
    assert not caller.may(Scope.ADMIN, ORIGIN)
    with pytest.raises(UnauthenticatedError):
        access.identify("Bearer wrong", "CN:x")


def test_a_refresh_that_fails_changes_nothing(logs: Logs) -> None:
    logs.log()
    logs.log("example.com/b")
    shown = logs.token(Scope.APPEND)
    access = logs.access(open_to_all=False)
    fresh = logs.token(Scope.READ, name="fresh")
    bad = logs.rules["example.com/b"].directory / "tokens.json"
    bad.touch(0o600)
    with pytest.raises(ConfigError):
        access.refresh(logs.rules.values())
    assert granted(access, shown) == {"append"}
    with pytest.raises(UnauthenticatedError):
        access.identify(fresh)
    bad.unlink()
    access.refresh(logs.rules.values())
    assert granted(access, fresh) == {"read"}


def test_what_is_revoked_ends_what_it_began(logs: Logs) -> None:
    logs.log(read="public")
    logs.log("example.com/open")
    shown = logs.token(Scope.APPEND)
    other = logs.token(Scope.APPEND, certificate="CN:x")
    assert other == "Bearer None"
    access = logs.access(open_to_all=True)
    callers = [access.identify(shown), access.identify(None, "CN:x")]
    nameless = access.identify(None)
    assert all(caller.may(Scope.APPEND, ORIGIN) for caller in callers)
    assert nameless.may(Scope.APPEND, "example.com/open")
    change_tokens(
        logs.rules[ORIGIN].directory,
        lambda old: tuple(revoked(each, NOW) for each in old),
        lambda _tokens: None,
    )
    logs.token(Scope.APPEND, origin="example.com/open")
    access.refresh(logs.rules.values())
    for caller in callers:
        with pytest.raises(UnauthenticatedError, match="has expired or was revoked"):
            caller.may(Scope.APPEND, ORIGIN)
        assert caller.may(Scope.READ, ORIGIN)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        access.identify(shown)
    with pytest.raises(UnauthenticatedError):
        nameless.may(Scope.APPEND, "example.com/open")
    access.refresh([])
    with pytest.raises(UnknownLogError):
        callers[0].may(Scope.APPEND, ORIGIN)


def test_what_expires_ends_too(logs: Logs) -> None:
    logs.log()
    now = [float(NOW)]
    shown = logs.token(Scope.APPEND, expires=NOW + 10)
    access = Access(open_to_all=False, clock=lambda: now[0])
    access.refresh(logs.rules.values())
    caller = access.identify(shown)
    now[0] += 9
    assert caller.may(Scope.APPEND, ORIGIN)
    assert not caller.may(Scope.READ, ORIGIN)
    now[0] += 1
    with pytest.raises(UnauthenticatedError, match="expired"):
        caller.may(Scope.APPEND, ORIGIN)
    with pytest.raises(UnauthenticatedError, match="expired"):
        access.identify(shown)


def test_a_word_that_is_no_policy(logs: Logs) -> None:
    logs.log(read="everyone")
    with pytest.raises(ConfigError, match=r"log\.read is 'everyone'"):
        logs.access(open_to_all=True)
