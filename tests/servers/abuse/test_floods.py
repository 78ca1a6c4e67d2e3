"""Floods of HTTP/2 frames: each costs who sends it its connection, or nothing, and good clients are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import hostile as h
import pytest
from floods import FLOODS, NOTICED, Frames, flood, header_bomb, many_fields
from victim import Beside, Victim

import merklelog

GROWTH = 96 << 20  # far less than any of these sends


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One for all floods: what each leaves behind would be seen at the end."""
    path = tmp_path_factory.mktemp("floods") / "log"
    merklelog.create_log(path, "abuse.example/log", settings={"store.min_free_bytes": 0})
    victim = Victim(path)
    victim.well()
    before = victim.memory()
    yield victim
    try:
        assert victim.memory() - before < GROWTH
        status, out, err = victim.end()
        assert (status, out) == (0, "drained 0\n"), err
    finally:
        victim.process.kill()
        victim.process.communicate()


@pytest.mark.parametrize("attack", FLOODS, ids=[each.__name__ for each in FLOODS])
def test_a_flood_is_borne(server: Victim, attack: Callable[[], Frames]) -> None:
    before = server.memory()
    with Beside(server) as good:
        code, sent = flood(server.port, attack())
    grown = server.memory() - before
    print(f"{sent:,} bytes sent, GOAWAY {code}, memory {grown:+,}, {len(good.answered)} calls beside it")
    assert sent > 100_000
    assert grown < GROWTH
    assert code != 0 or attack not in NOTICED
    server.well()


def test_a_head_too_long_is_refused_before_it_is_unpacked(server: Victim) -> None:
    """A bomb of 48 MB in 16 KB, and a head of too many fields: neither reaches a handler."""
    for attack in (header_bomb, many_fields):
        with h.Peer(server.port) as peer:
            peer.send(next(attack()))
            ((_, how),) = peer.statuses(1, 60).items()
        assert how.startswith(("http 4", "reset"))
