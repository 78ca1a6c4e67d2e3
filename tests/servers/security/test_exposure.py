"""Beyond this machine only with TLS and tokens, or with words that can not be missed."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from merklelog.errors import ConfigError
from merklelog.servers.exposure import WITHOUT_TLS, WITHOUT_TOKENS, Waivers, check_exposure, is_local


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:7070", "127.9.9.9:0", "[::1]:7070", "localhost:7080", "unix:/run/merklelog.sock"),
        "[::ffff:127.0.0.1]:1",
    ],
)
def test_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0:7070", "[::]:7070", "10.0.0.1:1", "192.168.1.2:1", "[fe80::1%eth0]:1", ":7070", "*:7070"),
        *("example.com:7070", "localhost.example.com:1", "127.0.0.1.example.com:1", "127.1:1", "", "7070"),
        *("[::ffff:10.0.0.1]:1", "fd://3"),
    ],
)
def test_reached_from_elsewhere(address: str) -> None:
    assert not is_local(address)


LOCAL, OPEN = "127.0.0.1:7070", "0.0.0.0:7080"
TOKENS, NONE = (Path("/logs/a"), True), (Path("/logs/b"), False)


def test_on_loopback_nothing_is_asked() -> None:
    assert check_exposure([LOCAL], tls=False, logs=[NONE], waivers=Waivers())
    assert check_exposure([], tls=False, logs=[NONE], waivers=Waivers())


@pytest.mark.parametrize(("tls", "tokens", "no_tls", "no_tokens"), list(product([True, False], repeat=4)))
def test_beyond_loopback(tls: bool, tokens: bool, no_tls: bool, no_tokens: bool) -> None:
    waivers = Waivers(WITHOUT_TLS if no_tls else "", WITHOUT_TOKENS if no_tokens else "")
    logs = [TOKENS] if tokens else [TOKENS, NONE]
    allowed = (tls or no_tls) and (tokens or no_tokens)
    if allowed:
        opened = check_exposure([LOCAL, OPEN], tls=tls, logs=logs, waivers=waivers)
        assert opened is no_tokens
        return
    with pytest.raises(ConfigError) as caught:
        check_exposure([LOCAL, OPEN], tls=tls, logs=logs, waivers=waivers)
    assert OPEN in str(caught.value)
    assert (WITHOUT_TOKENS if tls or no_tls else WITHOUT_TLS) in str(caught.value)


@pytest.mark.parametrize("word", ["yes", "true", WITHOUT_TLS.upper(), WITHOUT_TLS + ".", WITHOUT_TLS[:-1]])
@pytest.mark.parametrize("address", [LOCAL, OPEN])
def test_other_words_are_refused_wherever_it_listens(word: str, address: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.without_tls is .*to the letter"):
        check_exposure([address], tls=True, logs=[TOKENS], waivers=Waivers(without_tls=word))
    with pytest.raises(ConfigError, match=r"server\.without_tokens is .*to the letter"):
        check_exposure([address], tls=True, logs=[TOKENS], waivers=Waivers(without_tokens=word))
