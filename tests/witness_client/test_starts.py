"""Starts that are not what they seem: a proxy in a witness' place, another policy, a new target."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog import Log
from merklelog.errors import StoppedError, UnavailableError
from merklelog.formats import format_vkey
from merklelog.log import open_log
from merklelog.log.config import load_config
from merklelog.log.create import load_signers
from merklelog.log.recover import recover_log
from merklelog.log.witnessing import WitnessingStatus
from merklelog.publish import DirectoryStore
from tests.witness_client.faulty import TEXT, Scripted, key, serve
from tests.witness_client.scene import PATIENCE

Reply = tuple[int, str, bytes, dict[str, str]]
AWAY: Reply = 500, TEXT, b"away", {}
PROXY: Reply = 400, "text/html", b"<h1>The plain HTTP request was sent to an HTTPS port</h1>", {}


@dataclass
class Asking:
    """A log that asks scripted witnesses."""

    path: Path
    keys: tuple[Any, ...]
    witnesses: list[Scripted]

    def configure(self, enough: int, *targets: Path, mode: str = "hold") -> None:
        lines = [f"log {format_vkey(each)}" for each in self.keys[:2]]
        lines += [f"witness w{n} {format_vkey(w.verifier)} {w.url}" for n, w in enumerate(self.witnesses)]
        lines += [f"group q {enough} {' '.join(f'w{n}' for n in range(len(self.witnesses)))}", "quorum q", ""]
        (self.path / "policy").write_text("\n".join(lines))
        (self.path / "merklelog.toml").write_text(
            f'[log]\norigin = "{self.keys[0].name}"\n[store]\nmin_free_bytes = 0\n'
            f"[publish]\ninterval = 0.05\ntargets = {[f'dir:{target}' for target in targets]}\n"
            f'[witness]\npolicy = "policy"\ntimeout = 0.5\nmode = "{mode}"\n'
        )

    def answer(self, what: Reply | None, *numbers: int) -> None:
        """Have these witnesses answer so from now on; None: as they should."""
        for n in numbers:
            self.witnesses[n].fault = lambda _number: what


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    """A log and three witnesses; two are enough."""
    keys = merklelog.create_log(tmp_path / "log", "starts.example/log", settings={"store.min_free_bytes": 0})
    with ExitStack() as stack:
        made = Asking(
            tmp_path / "log", keys, [stack.enter_context(serve(Scripted(key(n)))) for n in range(3)]
        )
        made.configure(2)
        yield made


def asked(log: Log) -> WitnessingStatus:
    assert log.witnessing is not None
    return log.witnessing


def recover(asking: Asking, target: Path, place: Path, settings: Mapping[str, Any] | None = None) -> None:
    """The log of `asking`, with its keys and its policy, from what it published."""
    config = load_config(asking.path)
    recover_log(
        place,
        DirectoryStore(target),
        load_signers(config.keys_path(asking.path), config.origin),
        settings={
            "store.min_free_bytes": 0,
            "log.keys": f"{asking.path}/keys",
            "witness.policy": f"{asking.path}/policy",
            **(settings or {}),
        },
    )


def until(what: Callable[[], bool], log: Log) -> None:
    ends = time.monotonic() + PATIENCE
    while not what():
        assert log.failure is None, log.failure
        assert time.monotonic() < ends, log.witnessing
        time.sleep(0.02)


def test_a_copy_of_an_empty_log_signs_nothing_behind_a_proxy_that_refuses_all(
    asking: Asking, tmp_path: Path
) -> None:
    """What is baked into an image, and every witness' URL is wrong now: nobody said that they know no more."""
    shutil.copytree(asking.path, tmp_path / "image")
    with merklelog.open(asking.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
    asking.answer(PROXY, 0, 1, 2)
    with open_log(tmp_path / "image", wait=None) as log:
        until(lambda: "it answered 400" in str(log.publishing and log.publishing.starting), log)
        with pytest.raises(UnavailableError, match="it answered 400"):
            log.append(b"a fork")
        log.close(publish_seconds=0)
    with merklelog.open_reader(tmp_path / "image") as reader:
        assert list(reader.stored_sizes()) == [0]


def test_after_an_outage_another_policy_takes_up_the_newest(asking: Asking) -> None:
    """What was shown had the quorum of the old one; the witnesses are brought further by the start check."""
    asking.answer(AWAY, 2)
    with merklelog.open(asking.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        asking.answer(AWAY, 1)
        log.append(b"second")
        until(lambda: asked(log).offered == 2, log)
    asking.answer(None, 1, 2)
    asking.configure(3)
    with merklelog.open(asking.path) as log:
        assert log.wait_witnessed(2).result(PATIENCE).size == 2
        until(lambda: all(each.size == 2 for each in asked(log).witnesses), log)
        assert not any(each.alarm for each in asked(log).witnesses)


def test_a_new_target_is_filled_though_witnesses_are_further_than_what_is_shown(
    asking: Asking, tmp_path: Path
) -> None:
    """What was signed last was not shown: it was held against the witnesses, and less is not offered after it."""
    asking.configure(2, tmp_path / "a", mode="continue")
    with merklelog.open(asking.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        asking.answer(AWAY, 1, 2)
        log.append(b"second")
        log.wait_published(2).result(PATIENCE)

    def killed(step: Any) -> None:
        if step.name == "signed" and step.size == 3:
            raise SystemExit("killed")

    asking.answer(None, 1, 2)
    log = open_log(asking.path, publication_step=killed)
    asking.answer(AWAY, 1, 2)
    log.append(b"third")
    with pytest.raises(StoppedError):
        log.wait_published(3).result(PATIENCE)
    with pytest.raises(StoppedError):
        log.close()
    asking.answer(None, 1, 2)
    asking.configure(2, tmp_path / "b", tmp_path / "a", mode="continue")
    with merklelog.open(asking.path) as log:
        assert log.wait_witnessed(3).result(PATIENCE).size == 3
        assert not any(each.alarm for each in asked(log).witnesses)
    for name in ("a", "b"):
        assert (tmp_path / name / "checkpoint.witnessed").exists()


def test_a_witness_that_was_set_back_is_told_of_and_brought_up_again(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """While the log runs, and from one life of the log to the next."""
    caplog.set_level("ERROR", "merklelog.witnesses")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "was set back" in record.getMessage()]

    def all_at(size: int, log: Log) -> None:
        until(lambda: all(each.size == size for each in asked(log).witnesses), log)

    with merklelog.open(asking.path) as log:
        log.append(b"first")
        all_at(1, log)
        log.append(b"second")
        all_at(2, log)
        assert not any(each.set_backs for each in asked(log).witnesses)
        asking.witnesses[1].size = 1
        log.append(b"third")
        all_at(3, log)
        assert [each.set_backs for each in asked(log).witnesses] == [0, 1, 0]
    (message,) = told()
    assert asking.witnesses[1].url in message
    assert "it cosigned size 2 of this log, and has 1 now" in message
    asking.witnesses[2].size = 0
    with merklelog.open(asking.path) as log:
        until(lambda: asking.witnesses[2].size == 3, log)
        assert [each.set_backs for each in asked(log).witnesses] == [0, 0, 1]
    assert "it cosigned size 3 of this log, and has 0 now" in told()[1]
    asking.witnesses[0].size = 0
    asking.answer(AWAY, 0)  # not reached at the start, which the others are enough for
    with merklelog.open(asking.path) as log:
        log.wait_witnessed(3).result(PATIENCE)
        asking.answer(None, 0)
        log.append(b"fourth")
        all_at(4, log)
        assert [each.set_backs for each in asked(log).witnesses] == [1, 0, 0]
    assert "it cosigned size 3 of this log, and has 0 now" in told()[2]
    assert len(told()) == 3


@pytest.mark.parametrize("cosigned", [True, False])
def test_a_log_that_is_recovered_without_the_pointer_shows_no_more_than_was_cosigned(
    asking: Asking, tmp_path: Path, cosigned: bool
) -> None:
    target = tmp_path / "target"
    asking.configure(2, target)
    with merklelog.open(asking.path) as log:
        if cosigned:
            log.append(b"first")
            log.wait_witnessed(1).result(PATIENCE)
        asking.answer(AWAY, 1, 2)
        log.append(b"second")
        until((target / "checkpoints" / str(log.integrated.size)).exists, log)
        size = log.integrated.size
    (target / "checkpoint").unlink(missing_ok=True)
    recover(asking, target, tmp_path / "new")
    with merklelog.open_reader(tmp_path / "new") as reader:
        assert (reader.integrated.size, reader.size) == (size, int(cosigned))
        if cosigned:
            assert reader.checkpoint() == (target / "cosigned" / "1").read_bytes()
    asking.answer(None, 1, 2)
    with merklelog.open(tmp_path / "new") as log:
        assert log.wait_witnessed(size).result(PATIENCE).size == size
        assert log.size == size


def test_a_recovered_log_shows_no_more_than_its_target_until_witnesses_have(
    asking: Asking, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    asking.configure(2, target)
    with merklelog.open(asking.path) as log:
        log.append(b"first")
        log.wait_witnessed(1).result(PATIENCE)
        asking.answer(AWAY, 1, 2)
        log.append(b"second")
        until((target / "checkpoints" / "2").exists, log)
    kept = (target / "checkpoint").read_bytes()
    recover(asking, target, tmp_path / "new", {"publish.targets": (f"dir:{target}",)})
    with open_log(tmp_path / "new", wait=None) as log:
        assert log.integrated.size == 2
        assert log.checkpoint() == kept
        until(lambda: "it answered 500" in str(log.publishing and log.publishing.starting), log)
        assert log.checkpoint() == kept
        asking.answer(None, 1, 2)
        assert log.wait_witnessed(2).result(PATIENCE).size == 2
        assert log.size == 2
    assert b"\n2\n" in (target / "checkpoint").read_bytes()
