"""docs/security.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from merklelog.errors import UnauthenticatedError
from merklelog.servers.access import Access, LogAccess
from merklelog.servers.caller import Scope
from merklelog.servers.exposure import WITHOUT_TLS, WITHOUT_TOKENS
from merklelog.servers.tokens import change_tokens, make_token
from tests.servers.security.secure import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")


def test_the_table_of_what_needs_no_token(tmp_path: Path) -> None:
    rows = re.findall(r"(?m)^\| (never had a token|has tokens) \| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", PAGE)
    assert len(rows) == 6
    for number, (tokens, read, where, told) in enumerate(rows):
        directory = tmp_path / str(number)
        directory.mkdir()
        if tokens == "has tokens":
            kept, _ = make_token("a", [Scope.APPEND], 0)
            change_tokens(directory, lambda old, new=kept: (*old, new), lambda _tokens: None)
        for opened in {True} if where == "on this machine only" else {True, False}:
            access = Access(open_to_all=opened)
            access.refresh([LogAccess("o", directory, read)])
            free = [scope for scope in (Scope.APPEND, Scope.READ) if may(access, scope)]
            assert told == (", ".join(free) or "nothing")


def may(access: Access, scope: Scope) -> bool:
    try:
        return access.identify(None).may(scope, "o")
    except UnauthenticatedError:
        return False


def test_every_scope_is_told() -> None:
    assert re.findall(r"(?m)^\| `(\w+)` \| ", PAGE) == [scope.value for scope in Scope]


def test_the_sentences_are_the_very_ones() -> None:
    assert f'without_tls = "{WITHOUT_TLS}"' in PAGE
    assert f'without_tokens = "{WITHOUT_TOKENS}"' in PAGE


def test_formats_names_the_files() -> None:
    for name in ("tokens.json", "admin.jsonl"):
        assert f"| `{name}` |" in FORMATS
