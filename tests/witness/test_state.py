"""What a witness keeps: found again after a close, and a disk that fails stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import DamagedError, FormatVersionError, LockedError, StorageError, StorageFullError
from merklelog.formats.witness import checkpoint_path, origin_hash
from merklelog.store.witness_rows import WitnessRows
from merklelog.witness.service import Witness
from merklelog.witness.state import FORMAT, WitnessState
from tests.witness.support import GrownLog, make_witness

LOG = GrownLog()
Opened = Callable[..., Witness]


def add(witness: Witness, body: bytes) -> int:
    return asyncio.run(witness.add_checkpoint(body, "")).status


def test_what_was_cosigned_is_there_after_a_close(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    first = opened(tmp_path / "w")
    assert first.shown(origin_hash(LOG.origin)) is None
    assert add(first, LOG.request(0, 7)) == 200
    shown = first.shown(origin_hash(LOG.origin))
    first.close()
    second = opened(tmp_path / "w")
    assert second.shown(origin_hash(LOG.origin)) == shown
    assert second.state.record_of(LOG.origin).root == LOG.root(7)
    assert add(second, LOG.request(0, 9)) == 409
    assert add(second, LOG.request(7, 9)) == 200


def test_names_that_are_no_hash_show_nothing(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w")
    assert add(witness, LOG.request(0, 7)) == 200
    name = checkpoint_path(LOG.origin).split("/")[1]
    assert witness.shown(name) is not None
    for wrong in (name.upper(), name[:-1], name + "0", "", "g" * 64, "0" * 64, f" {name[1:]}", "é" * 64):
        assert witness.shown(wrong) is None


def test_a_disk_that_fails_stops_it_and_a_new_open_goes_on(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w")
    assert add(witness, LOG.request(0, 3)) == 200

    def full(_rows: WitnessRows) -> None:
        raise StorageFullError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(WitnessRows, "sync", full)
        assert add(witness, LOG.request(3, 5)) == 503
    assert isinstance(witness.state.failure, StorageFullError)
    assert add(witness, LOG.request(5, 9)) == 503
    assert add(witness, LOG.request(0, 9)) == 503, "a conflict tells what may not be stored"
    witness.close()
    again = opened(tmp_path / "w")
    size = again.state.record_of(LOG.origin).size
    assert size in {3, 5}
    assert add(again, LOG.request(size, 9)) == 200


def test_a_second_process_is_kept_out(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    opened(tmp_path / "w")
    with pytest.raises(LockedError):
        opened(tmp_path / "w")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ((b"format", b"2"), FormatVersionError),
        ((b"format", None), DamagedError),
        ((b"r", b"x"), DamagedError),
        ((b"o" + bytes(32), b"-1"), DamagedError),
        ((b"c" + bytes(32), b"no note"), DamagedError),
        ((b"c" + bytes(32), LOG.note(3)), DamagedError),
    ],
)
def test_rows_that_can_not_be(
    tmp_path: Path, row: tuple[bytes, bytes | None], error: type[Exception]
) -> None:
    make_witness(tmp_path / "w", LOG)
    rows = WitnessRows(tmp_path / "w" / "db")
    rows.put([row])
    rows.sync()
    rows.close()
    with pytest.raises(error):
        WitnessState(tmp_path / "w", own=())
    WitnessRows(tmp_path / "w" / "db").close()  # it was let go of


def test_rows_are_all_there_in_order_and_deleted_ones_are_not(tmp_path: Path) -> None:
    rows = WitnessRows(tmp_path / "db", create=True)
    rows.put([(b"a2", b"two"), (b"a1", b"one"), (b"b", b"")])
    rows.put([(b"a3", b"x"), (b"a3", None)])
    rows.sync()
    rows.close()
    rows = WitnessRows(tmp_path / "db")
    assert rows.rows(b"a") == [(b"a1", b"one"), (b"a2", b"two")]
    assert rows.rows(b"") == [(b"a1", b"one"), (b"a2", b"two"), (b"b", b"")]
    assert (rows.get(b"b"), rows.get(b"a3")) == (b"", None)
    rows.close()
    rows.close()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no database"):
        WitnessRows(tmp_path / "db")
    assert not (tmp_path / "db").exists()
    assert FORMAT == b"1"
