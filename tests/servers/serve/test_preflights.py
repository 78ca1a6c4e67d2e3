"""What a server asks of silent buckets again, and what it says of them: once, and never the end of other logs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import ConfigError
from merklelog.publish import preflight_start
from merklelog.publish.preflight_record import FILE
from merklelog.publish.preflight_start import StartCheck
from merklelog.servers.preflights import Preflights

MakeLog = Callable[..., Path]
SILENT = StartCheck(fallbacks=("b",), warnings=("c",), unknown=("no answer",))


@pytest.fixture
def log(make_log: MakeLog) -> Path:
    """A log with a target in S3."""
    made = make_log("silent")  # which asks its targets, so they come after
    settings = made / "merklelog.toml"
    settings.write_text(settings.read_text().replace("# targets = []", 'targets = ["s3://bucket/log"]'))
    return made


@pytest.fixture
def preflights(log: Path, monkeypatch: pytest.MonkeyPatch) -> Preflights:
    """Those of a server whose bucket was silent at the start."""
    monkeypatch.setattr(preflight_start, "check_targets", lambda *_: SILENT)
    made = Preflights({}, again_seconds=0.0)
    made.check(log)
    return made


def test_what_is_said_is_said_once(
    log: Path, preflights: Preflights, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "merklelog.server")
    caplog.clear()
    for _ in range(3):
        preflights.check_again(log)
    assert caplog.messages == []
    assert preflights.silent == {log}
    monkeypatch.setattr(preflight_start, "check_targets", lambda *_: StartCheck(warnings=("c", "d")))
    preflights.check_again(log)
    assert caplog.messages == ["d"]
    assert preflights.silent == set()


@pytest.mark.parametrize("how", ["gone", "settings", "record"])
def test_a_log_that_can_not_be_read_any_more_ends_nothing(
    log: Path, preflights: Preflights, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.WARNING, "merklelog.server")
    if how == "gone":
        shutil.rmtree(log)
    else:
        (log / ("merklelog.toml" if how == "settings" else FILE)).write_text("{")
    preflights.check_again(log)
    assert any("not judged before a restart" in message for message in caplog.messages)
    assert preflights.silent == set()


def test_a_bucket_that_turns_out_unfit_is_still_an_error(
    log: Path, preflights: Preflights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_start, "check_targets", lambda *_: StartCheck(refusals=("not so",)))
    with pytest.raises(ConfigError, match="not so"):
        preflights.check_again(log)
