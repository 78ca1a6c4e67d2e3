"""An old copy of a witness brought back: it sits out until somebody says what was newest, or is caught."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import (
    ForkError,
    FormatError,
    LockedError,
    MerklelogError,
    SignatureError,
    StaleError,
    UsageError,
)
from merklelog.formats.witness import checkpoint_path, format_add_checkpoint, origin_hash
from merklelog.witness.answer import Answer
from merklelog.witness.config import load_witness_config
from merklelog.witness.restore import Resumed, mark_restored, resume
from merklelog.witness.service import Witness
from tests.witness.support import GrownLog, make_witness, served

LOG = GrownLog()
OTHER = GrownLog("other.example/log", seed=b"\x09")
FORK = GrownLog(salt="fork", fork=5)
Opened = Callable[..., Witness]


def add(witness: Witness, body: bytes) -> Answer:
    return asyncio.run(witness.add_checkpoint(body, ""))


@pytest.fixture
def old(tmp_path: Path, opened: Opened) -> Path:
    """A copy at size 5, of a witness that went on to 20: the directory with the copy brought back."""
    directory = tmp_path / "w"
    make_witness(directory, LOG, OTHER)
    witness = opened(directory)
    assert add(witness, LOG.request(0, 5)).status == 200
    witness.close()
    shutil.copytree(directory, tmp_path / "copy")
    witness = opened(directory)
    assert add(witness, LOG.request(5, 20)).status == 200
    (tmp_path / "lines").write_bytes(witness.shown(origin_hash(LOG.origin)) or b"")
    witness.close()
    shutil.rmtree(directory)
    (tmp_path / "copy").rename(directory)
    return directory


def again(directory: Path, newest: dict[str, bytes], as_stored: tuple[str, ...] = ()) -> list[Resumed]:
    return resume(directory, load_witness_config(directory, {}), newest, as_stored)


def test_it_sits_out_for_every_log_until_an_operator_says(old: Path, opened: Opened) -> None:
    assert mark_restored(old) == 1
    for _ in range(2):  # a restart changes nothing of it
        witness = opened(old)
        for body in (LOG.request(5, 9), FORK.request(5, 9), OTHER.request(0, 3), LOG.request(5, 5)):
            answer = add(witness, body)
            assert (answer.status, answer.retry_after) == (503, 60.0)
            assert b"brought back from a copy" in answer.body
        assert set(witness.sitting_out()) == {LOG.origin, OTHER.origin}
        witness.close()
    assert again(old, {"newest": LOG.note(20)}) == [Resumed(LOG.origin, 20)]
    witness = opened(old)
    assert add(witness, OTHER.request(0, 3)).status == 503
    assert add(witness, FORK.request(5, 9)).body == b"20\n"
    assert add(witness, FORK.request(20, 29)).status == 422
    assert witness.shown(origin_hash(LOG.origin)) is None, "what is shown bears the witness' own lines"
    assert add(witness, LOG.request(20, 29)).status == 200
    assert witness.shown(origin_hash(LOG.origin)) is not None
    witness.close()
    assert again(old, {}, (OTHER.origin,)) == [Resumed(OTHER.origin, 0)]
    witness = opened(old)
    assert add(witness, OTHER.request(0, 3)).status == 200
    assert witness.sitting_out() == {}
    witness.close()
    assert mark_restored(old) == 2
    assert len(opened(old).sitting_out()) == 2


def test_a_copy_that_nobody_told_is_caught_by_its_own_cosignature(
    old: Path, opened: Opened, tmp_path: Path
) -> None:
    """A log that sends what the witness signed shows it that it is a copy; from then on it sits out."""
    witness = opened(old)
    body = format_add_checkpoint(5, LOG.proof(5, 20), (tmp_path / "lines").read_bytes())
    assert add(witness, body).status == 503
    assert add(witness, FORK.request(5, 9)).status == 503
    assert add(witness, OTHER.request(0, 3)).status == 200, "nothing was shown about the other log"
    witness.close()
    witness = opened(old)
    assert b"it is a copy" in add(witness, LOG.request(5, 9)).body
    witness.close()
    again(old, {"newest": (tmp_path / "lines").read_bytes()})
    assert add(opened(old), LOG.request(20, 21)).status == 200


def test_anybodys_line_in_its_name_does_not_stop_it(old: Path, opened: Opened, tmp_path: Path) -> None:
    witness = opened(old)
    lines = (tmp_path / "lines").read_bytes().partition(b"\n\n")[2].split(b"\n")[1:]  # of size 20
    body = format_add_checkpoint(5, LOG.proof(5, 9), LOG.note(9) + b"\n".join(lines))
    assert add(witness, body).status == 200
    assert witness.sitting_out() == {}


@pytest.mark.parametrize(
    ("newest", "as_stored", "error", "says"),
    [
        ({"f": LOG.note(4)}, (), StaleError, "f: size 4, the witness itself has 5"),
        ({"f": GrownLog(salt="x").note(5)}, (), ForkError, "another tree of size 5"),
        ({"f": b"hello"}, (), FormatError, "f: "),
        ({"f": LOG.note(9, [LOG.mldsa])}, (), SignatureError, "no trusted key"),
        ({"f": GrownLog("nobody.example/log").note(9)}, (), UsageError, "knows no log"),
        ({}, ("nobody.example/log",), UsageError, "knows no log"),
        ({"f": LOG.note(9)}, (LOG.origin,), UsageError, "named twice"),
        ({"f": LOG.note(9), "g": LOG.note(10)}, (), UsageError, "named twice"),
        ({"g": OTHER.note(9), "f": LOG.note(4)}, (), StaleError, "f: size 4"),
    ],
)
def test_what_is_not_taken_changes_nothing(
    old: Path,
    opened: Opened,
    newest: dict[str, bytes],
    as_stored: tuple[str, ...],
    error: type[MerklelogError],
    says: str,
) -> None:
    mark_restored(old)
    with pytest.raises(error, match=says) as caught:
        again(old, newest, as_stored)
    if isinstance(caught.value, ForkError):
        assert (caught.value.first, caught.value.second)[1] == newest["f"]
    assert len(opened(old).sitting_out()) == 2


def test_the_stored_checkpoint_may_be_said_to_be_newest(old: Path, opened: Opened) -> None:
    mark_restored(old)
    assert again(old, {"same": LOG.note(5)}, (OTHER.origin,)) == [
        Resumed(LOG.origin, 5),
        Resumed(OTHER.origin, 0),
    ]
    witness = opened(old)
    assert witness.shown(origin_hash(LOG.origin)) is not None
    assert add(witness, LOG.request(5, 6)).status == 200


def test_not_while_it_runs(old: Path, opened: Opened) -> None:
    opened(old)
    with pytest.raises(LockedError):
        mark_restored(old)
    with pytest.raises(LockedError):
        again(old, {}, (LOG.origin,))


def test_the_server_says_so(old: Path) -> None:
    with served(old, options=["--after-restore"]) as witness:
        answer = witness.add(LOG.request(5, 9))
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        ready = witness.ask("GET", "/readyz", admin=True)
        assert ready.status == 200, "other logs are served, and a restart would not help"
        assert f"sitting out for {LOG.origin}" in ready.body.decode()
        metrics = witness.ask("GET", "/metrics", admin=True).body
        assert b"\nmerklelog_witness_sitting_out_logs 2.0\n" in metrics
        assert "sitting out" in witness.said.read_text()
        assert witness.ask("GET", checkpoint_path(LOG.origin)).status == 200
