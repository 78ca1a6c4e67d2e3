"""What a log says of itself: its end and its successor are findings, and an entry behind its end is one too."""

from __future__ import annotations

from pathlib import Path

import pytest

import merklelog
from merklelog.audit import monitor_entries
from merklelog.audit.monitor_statements import Stated, statements_in
from merklelog.formats import SignatureType, SigningKey
from merklelog.formats.statement import Follows, Freeze, sign_statement
from merklelog.tree import EMPTY_ROOT, TreeSize
from tests.monitor.scene import ORIGIN, Scene, append, numbered

KEY = SigningKey(ORIGIN, SignatureType.ED25519, b"\x05" * 32)
STRANGER = SigningKey(ORIGIN, SignatureType.ED25519, b"\x06" * 32)


def freeze(index: int, key: SigningKey = KEY, origin: str = ORIGIN, successor: str | None = None) -> bytes:
    return sign_statement(Freeze(origin, TreeSize(index), successor), [key])


@pytest.mark.parametrize(
    ("entry", "words", "genuine", "frozen"),
    [
        (freeze(7), "the log ends with entry 7; no successor is named", True, True),
        (freeze(7, successor="next.example/log"), "it goes on as 'next.example/log'", True, True),
        (freeze(6), "which stands at 7", False, False),
        (freeze(7, STRANGER), "did not sign", False, False),
        (b"merklelog/statement/v1\nwho knows", "did not sign", False, False),
    ],
)
def test_a_statement_is_judged_where_it_stands(entry: bytes, words: str, genuine: bool, frozen: bool) -> None:
    (found,) = statements_in([b"one", b"two", entry], 5, ORIGIN, [KEY.verifier])
    assert (found.index, found.genuine, found.frozen) == (7, genuine, frozen)
    assert words in found.words


def test_a_successor_points_back() -> None:
    entry = sign_statement(Follows(ORIGIN, "old.example/log", TreeSize(9), EMPTY_ROOT), [KEY])
    (found,) = statements_in([entry], 0, ORIGIN, [KEY.verifier])
    assert found.genuine
    assert f"'old.example/log' ended, at size 9, root {EMPTY_ROOT.hex()}" in found.words


def test_entries_that_only_look_like_statements_are_passed_over() -> None:
    assert statements_in([b"merklelog/statement/v10\n", b"merklelog/statement", b""], 0, ORIGIN, []) == []


def test_a_log_that_ends_and_goes_on_all_the_same(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's own software refuses that, so what stands at entry 3 is judged by a stand-in."""

    def judged(entries: list[bytes], start: int, *_: object) -> list[Stated]:
        return [Stated(3, "the log ends", True, True)] if start <= 3 < start + len(entries) else []

    monkeypatch.setattr(monitor_entries, "statements_in", judged)
    append(scene.log, numbered(0, 4))
    with scene.monitor(str(scene.log)) as watch:
        watch.round()
        assert watch.logs[0].frozen == 3
    assert scene.heard.kinds() == ["statement"]
    append(scene.log, [b"and on"])
    with scene.monitor(str(scene.log)) as watch:
        watch.round()
        assert [each.disproven for each in watch.lasting] == [True]
    (finding,) = scene.heard.findings
    assert finding["kind"] == "thawed"
    assert Path(finding["evidence"][0]).read_bytes().startswith(b"watched.example/log\n5\n")


def test_the_end_of_a_real_log_is_told_with_its_successor(scene: Scene) -> None:
    append(scene.log, numbered(0, 3))
    with merklelog.open(scene.log) as log:
        log.freeze("next.example/log")
    with scene.monitor(str(scene.log)) as watch:
        watch.round()
        assert (watch.logs[0].frozen, watch.lasting) == (3, [])
    (finding,) = scene.heard.findings
    assert (finding["kind"], finding["index"], finding["disproven"]) == ("statement", 3, False)
    assert "the log ends with entry 3; it goes on as 'next.example/log'" in finding["detail"]
