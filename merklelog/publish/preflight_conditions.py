"""The probes of conditional writes: on them stands that two writers can not both go on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from merklelog.publish.preflight_report import Finding, Outcome
from merklelog.publish.preflight_scene import BRIEF_LOCK_SECONDS, Answer, Scene, Until

RACERS: Final = 8
ROUNDS: Final = 3
_LOST: Final = (409, 412)  # Amazon S3: 412 for a failed condition, 409 for one that lost against another
_NOT_THERE: Final = (404, 412)  # If-Match where nothing is: Amazon S3 says 404, others 412

Lock = Callable[[], "tuple[str, Until] | None"]


def _locks(scene: Scene, mode: str | None) -> Lock:
    """Objects of these probes are locked as the log's are."""
    return lambda: None if mode is None else (mode, scene.until(BRIEF_LOCK_SECONDS))


def if_none_match(scene: Scene, mode: str | None) -> Finding:
    """An object is created once."""
    name, lock = "conditions/new", _locks(scene, mode)
    first = scene.put(name, b"first", lock(), IfNoneMatch="*")
    if not first.ok:
        return Finding("if-none-match", Outcome.FAIL, f"the first write: {first}")
    second = scene.put(name, b"second", lock(), IfNoneMatch="*")
    _, data = scene.read(name)
    if second.ok or data != b"first":
        what = f"a second write: {second}; the object is {data[:20]!r}"
        return Finding("if-none-match", Outcome.FAIL, what)
    if second.status not in _LOST:
        return Finding("if-none-match", Outcome.FAIL, f"a second write: {second}, want 412")
    return Finding("if-none-match", Outcome.PASS, f"{second.short}{_over_a_marker(scene)}")


def _over_a_marker(scene: Scene) -> str:
    """How a store differs that takes a delete marker for an object; nothing depends on it."""
    scene.put("conditions/marked", b"first")
    scene.delete("conditions/marked")
    again = scene.put("conditions/marked", b"second", IfNoneMatch="*")
    return "" if again.ok else f"; over a delete marker too ({again.status}; Amazon S3 creates there)"


def if_match(scene: Scene, mode: str | None) -> Finding:
    """An object is replaced only while it is the expected one. In a bucket with locks, where `head` lies too."""
    name, probe, lock = "conditions/head", "if-match", _locks(scene, mode)
    missing = scene.put("conditions/none", b"x", IfMatch='"0123456789abcdef0123456789abcdef"')
    if missing.ok or missing.status not in _NOT_THERE:
        return Finding(probe, Outcome.FAIL, f"where nothing is: {missing}, want 404")
    first = scene.put(name, b"first", lock())
    second = scene.put(name, b"second", IfMatch=_tag(first))
    if not first.ok or not second.ok:
        return Finding(probe, Outcome.FAIL, f"the expected one: {first}, then {second}")
    late = scene.put(name, b"third", IfMatch=_tag(first))
    found, data = scene.read(name)
    if late.ok or data != b"second":
        return Finding(probe, Outcome.FAIL, f"one that is replaced: {late}; the object is {data[:20]!r}")
    if late.status not in _LOST:
        return Finding(probe, Outcome.FAIL, f"one that is replaced: {late}, want 412")
    if _tag(found) != _tag(second):
        seen = f"ETag {_tag(second)} when it was written, {_tag(found)} when it is read"
        return Finding(probe, Outcome.FAIL, seen)
    other = f"; where nothing is: {missing.status} (Amazon S3: 404)" if missing.status != 404 else ""
    return Finding(probe, Outcome.PASS, f"{late.short}{other}")


def if_none_match_race(scene: Scene, mode: str | None) -> Finding:
    """Several create one object at once."""
    lock = _locks(scene, mode)

    def prepare(turn: int) -> tuple[str, dict[str, Any]]:
        return f"conditions/race-{turn}", {"lock": lock(), "IfNoneMatch": "*"}

    return _race(scene, "if-none-match-race", prepare)


def if_match_race(scene: Scene) -> Finding:
    """Several replace one object at once, each time the one that won the last time."""
    name = "conditions/race"
    put = scene.put(name, b"start")
    if not put.ok:
        return Finding("if-match-race", Outcome.FAIL, f"the object to race for: {put}")

    def prepare(_: int) -> tuple[str, dict[str, Any]]:
        return name, {"IfMatch": _tag(scene.ask("head_object", name))}

    return _race(scene, "if-match-race", prepare)


def _race(scene: Scene, probe: str, prepare: Callable[[int], tuple[str, dict[str, Any]]]) -> Finding:
    """`prepare(turn)` gives the name and the condition that all of a turn's writers have."""
    began = scene.clock()
    with ThreadPoolExecutor(RACERS) as pool:
        for turn in range(ROUNDS):
            name, condition = prepare(turn)
            bodies = [b"writer %d of turn %d" % (racer, turn) for racer in range(RACERS)]
            answers = list(pool.map(partial(scene.put, name, **condition), bodies))
            if lost := _lost(answers, bodies, scene.read(name)[1]):
                outcome = Outcome.FAIL if any(answer.ok for answer in answers) else Outcome.UNKNOWN
                return Finding(probe, outcome, lost)
    took = (scene.clock() - began) / ROUNDS
    return Finding(probe, Outcome.PASS, f"one of {RACERS} writers won, {ROUNDS} times, in {took:.1f} s each")


def _lost(answers: list[Answer], bodies: list[bytes], there: bytes) -> str:
    """What is wrong with how a turn ended; "" for nothing."""
    won = [body for body, answer in zip(bodies, answers, strict=True) if answer.ok]
    if len(won) > 1:
        return f"{len(won)} of {len(bodies)} writers were told that they had won"
    if won and there != won[0]:
        return f"{won[0]!r} was told that it had won, and {there[:30]!r} is there"
    # Nobody was told, and yet one is there: its answer was lost on the way, which is no fault of the condition.
    if not won and there not in bodies:
        said = ", ".join(sorted({str(answer.status) for answer in answers}))
        return f"none of {len(bodies)} writers won: {said}"
    return ""


def _tag(answer: Answer) -> str:
    return str(answer.fields.get("ETag", ""))
