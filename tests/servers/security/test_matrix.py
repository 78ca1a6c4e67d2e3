"""TLS and mutual TLS, tokens and certificates, scopes, logs and doors: every combination, over real processes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

import merklelog
from merklelog.servers.caller import Scope
from tests.servers.security.secure import LOGS, Running, Shown

MODES, FRONTS = ("plain", "tls", "mutual"), ("grpcio", "native")


def wanted(mode: str, shown: Shown, log: str, scope: str) -> str:
    """What the rules say, apart from the code that follows them."""
    if mode == "mutual" and shown.certificate in {None, "foreign", "expired"}:
        return "no connection"
    if shown.token == "wrong":
        return "unauthenticated"
    if log == "open" or (log == "public" and scope == "read"):
        return "ok"
    if shown.token is not None:
        return "ok" if shown.token == f"{log}-{scope}" else "forbidden"
    if mode == "mutual" and shown.certificate == "known":
        return "ok" if (log, scope) in {("closed", "read"), ("public", "append")} else "forbidden"
    return "unauthenticated"


@pytest.mark.parametrize(("mode", "front"), list(product(MODES, FRONTS)))
def test_every_combination(start: Callable[[str, str], Running], mode: str, front: str) -> None:
    server = start(mode, front)
    tokens = [None, "wrong", *(f"{log}-{scope}" for log in ("public", "closed") for scope in Scope)]
    shown = [Shown(token) for token in tokens]
    if mode == "mutual":
        shown += [Shown(None, each) for each in (None, "known", "foreign", "expired")]
        shown += [Shown("closed-append", "known"), Shown("closed-append", "foreign"), Shown("wrong", "known")]
    asked = list(product(("grpc", "http"), shown, LOGS, ("append", "read")))
    want = {each: wanted(mode, *each[1:]) for each in asked}
    got = {each: server.ask(*each) for each in asked}
    assert {each: got[each] for each in asked if got[each] != want[each]} == {}
    # What was refused was not stored.
    server.close()
    for log in LOGS:
        appended = [each for each in asked if each[2:] == (log, "append") and want[each] == "ok"]
        with merklelog.open_reader(server.place.folder / "logs" / log) as reader:
            assert reader.size == len(appended)
