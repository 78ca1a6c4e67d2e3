"""Witnesses as processes of their own: a log that shows each half of them another history is caught."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import merklelog
from merklelog.audit.monitor import Monitor, MonitorOptions
from merklelog.formats import VerifierKey, format_vkey, parse_policy
from merklelog.formats.note import format_signature_line
from merklelog.formats.witness import format_add_checkpoint, parse_cosignatures
from merklelog.witness.create import create_witness
from tests.monitor.scene import Scene, append, numbered, twin
from tests.witness.support import Process, served


def shown(witness: Process, log: Path) -> bytes:
    """Have a witness cosign the newest checkpoint of a log; gives that with the cosignatures."""
    with merklelog.open_reader(log) as reader:
        note = reader.checkpoint()
    answer = witness.add(format_add_checkpoint(0, [], note))
    assert answer.status == 200, answer.body
    return note + b"".join(map(format_signature_line, parse_cosignatures(answer.body)))


def policy(scene: Scene, witnesses: list[tuple[Process, VerifierKey]]) -> bytes:
    lines = [f"log {format_vkey(key)}" for key in scene.vkeys[:2]]
    for number, (process, key) in enumerate(witnesses):
        lines.append(f"witness w{number} {format_vkey(key)} http://{process.address}")
    return "\n".join([*lines, "group most 1 w0 w1", "quorum most", ""]).encode()


def test_a_log_with_a_history_for_each_witness_is_caught(scene: Scene) -> None:
    append(scene.log, numbered(0, 200))
    other = twin(scene.log, "other")
    append(scene.log, numbered(200, 300))
    append(other, numbered(200, 310, "forged"))
    logs = list(scene.vkeys[:1])
    keys = [
        create_witness(scene.path / name, f"witness.example/{name}", logs=logs)[0] for name in ("one", "two")
    ]
    with served(scene.path / "one") as one, served(scene.path / "two") as two:
        target = scene.publish()
        note = shown(one, scene.log)
        shown(two, other)
        file = scene.path / "copy" / "checkpoint"
        file.unlink()
        file.write_bytes(note)
        rules = parse_policy(policy(scene, [(one, keys[0]), (two, keys[1])]))
        scene.now = int(time.time())  # as the witnesses' own clocks are
        with scene.monitor(target, policy=rules) as watch:
            found = watch.round()
            assert not found.unknown
            assert watch.lasting == [], "what the second witness has is more than can be compared yet"
            append(scene.log, numbered(300, 400))
            scene.publish()
            watch.round()
            assert "split" in {each.kind for each in watch.lasting}
    split = next(each for each in scene.heard.findings if each["kind"] == "split")
    assert split["source"].startswith("witness w1 (")
    first, second = (Path(path).read_bytes() for path in split["evidence"])
    assert (first.split(b"\n")[1], second.split(b"\n")[1]) == (b"400", b"310")


@pytest.mark.parametrize("mode", ["hold", "continue"])
def test_a_log_that_asks_its_witness_is_sound_wherever_it_is_looked_at(tmp_path: Path, mode: str) -> None:
    """Its directory, its target and its witness, with a policy that wants the witness, and no patience."""
    path = tmp_path / "log"
    settings: dict[str, int | float | str | tuple[str, ...]] = {
        "store.min_free_bytes": 0,
        "publish.targets": (f"dir:{tmp_path}/copy",),
        "publish.interval": 0.1,
        "witness.policy": "witnesses.policy",
        "witness.mode": mode,
    }
    vkeys = merklelog.create_log(path, "asking.example/log", settings=settings)
    key = create_witness(tmp_path / "w", "witness.example/w", logs=[vkeys[0]])[0]
    with served(tmp_path / "w") as process:
        lines = [f"log {format_vkey(vkeys[0])}", f"witness w {format_vkey(key)} http://{process.address}"]
        rules = "\n".join([*lines, "quorum w", ""]).encode()
        (path / "witnesses.policy").write_bytes(rules)
        with merklelog.open(path) as log:
            targets = [str(path), f"dir:{tmp_path}/copy"]
            for start, end in ((0, 300), (300, 310)):
                log.append_batch(numbered(start, end))
                log.wait_published(end).result(120)
                log.wait_witnessed(end).result(120)
                with Monitor(
                    targets, parse_policy(rules), tmp_path / "state", options=MonitorOptions(grace=0)
                ) as watch:
                    assert watch.round().entries == end - start
                    until_nothing_is_wrong(watch)


def until_nothing_is_wrong(watch: Monitor) -> None:
    """The target shows what was cosigned a moment after the log knows it; nothing is disproven meanwhile."""
    ends = time.monotonic() + 60
    while watch.round().unknown or watch.lasting:
        assert not any(each.disproven for each in watch.lasting), watch.lasting
        assert time.monotonic() < ends, watch.lasting
        time.sleep(0.1)
