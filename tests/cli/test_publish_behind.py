"""`merklelog publish DIR` ends when every target shows what the log has, or says which one does not and why."""

from __future__ import annotations

from pathlib import Path

import pytest

import merklelog
from merklelog.cli import publish_now
from merklelog.errors import UnavailableError, UnreachableError
from merklelog.log import publishing_targets
from merklelog.publish.memory import MemoryStore
from tests.support import targets
from tests.support.targets import Gate, published


def test_a_target_that_was_added_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets.use(monkeypatch, None)
    stores = {name: Gate(MemoryStore(name)) for name in ("first", "second")}
    monkeypatch.setattr(publishing_targets, "open_store", lambda target, _: stores[target.rpartition("/")[2]])
    monkeypatch.setattr(publish_now, "PATIENCE", 1.0)
    directory = targets.make(tmp_path / "log", publish__targets=("dir:/first",))
    with merklelog.open(directory) as log:
        log.append(b"one")
        published(log)
    config = directory / "merklelog.toml"
    config.write_text(config.read_text().replace('"dir:/first"', '"dir:/first", "dir:/second"'))
    stores["second"].fails = lambda operation, key: (
        UnreachableError(f"{key}: no room") if operation == "put_many" else None
    )
    with pytest.raises(UnavailableError, match=r"memory:second: .*no room"):
        publish_now.publish_now(str(directory))
    stores["second"].up()
    assert publish_now.publish_now(str(directory))["moved"] is False
    assert stores["second"].inner.get("checkpoints/1").data
