"""The probes of locks: each sets a short one and tries to get round it.

A refusal proves a lock only where the same identity could have done it without one, and only while the lock
lasts: the probe "delete" is the first half of that, and the second is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from merklelog.publish.preflight_report import Finding, Outcome
from merklelog.publish.preflight_scene import SHORT_LOCK_SECONDS, Answer, Scene, Until

_ONE: Final = b"one\n"
_TWO: Final = b"two\n"
# Amazon S3 answers 403; others 400. Anything else may be a failure of another kind.
_REFUSED: Final = (400, 403, 405, 409)

Try = tuple[str, Callable[[], Answer]]


class LockProbe:
    """One locked object of a scene and what was tried on it."""

    def __init__(self, scene: Scene, name: str, mode: str) -> None:
        self.scene = scene
        self.name = name
        self.mode = mode
        self.until: Until = scene.until(scene.lock_seconds)
        self.put = scene.put(name, _ONE, (mode, self.until))
        self.version = self.put.version or ""
        self.answers: dict[str, list[str]] = {}

    def set(self, mode: str | None, until: Until | None, *, bypass: bool = False) -> Answer:
        """Ask for another lock on the version."""
        retention = {} if mode is None or until is None else {"Mode": mode, "RetainUntilDate": until.date}
        extra = {"BypassGovernanceRetention": True} if bypass else {}
        answer = self.scene.ask(
            "put_object_retention", self.name, VersionId=self.version, Retention=retention, **extra
        )
        if answer.ok and until is not None:
            self.scene.locked_until(until)
        return answer

    def delete(self, *, bypass: bool = False) -> Answer:
        """Ask for the version's deletion."""
        return self.scene.delete(self.name, self.version, bypass=bypass)

    def read_back(self) -> str:
        """What is wrong with the lock as the store tells it; "" for nothing."""
        found = self.scene.ask("get_object_retention", self.name, VersionId=self.version)
        if not found.ok:
            return f"the lock can not be read back: {found}"
        lock = found.fields.get("Retention", {})
        date = lock.get("RetainUntilDate")
        if lock.get("Mode") != self.mode or date is None:
            return f"the lock reads back as {lock.get('Mode')} until {date}"
        if abs((date - self.until.date).total_seconds()) > 1:
            return f"the lock reads back as until {date}, and {self.until.date} was asked for"
        return ""

    def breach(self, tries: list[Try]) -> str:
        """What of `tries`, each of which has to be refused, was not; "" for nothing. The object is still there."""
        for what, attempt in tries:
            answer = attempt()
            if answer.ok:
                return f"{what}: {answer.status}, it was done"
            if answer.status not in _REFUSED:
                return f"{what}: {answer}"
            self.answers.setdefault(answer.short, []).append(what)
            if not self.scene.is_there(self.name, self.version):
                return f"{what}: {answer}, and yet the version is gone"
        found, data = self.scene.read(self.name, self.version)
        return "" if data == _ONE else f"the locked version reads as {data[:20]!r} ({found})"

    def refusals(self) -> str:
        """For people: what was answered to what."""
        return "; ".join(f"{code}: {', '.join(what)}" for code, what in self.answers.items())

    def not_locked(self) -> Finding | None:
        """The finding for an object that could not be locked to begin with."""
        probe = self.mode.lower()
        if not self.put.ok:
            return Finding(probe, Outcome.FAIL, f"no object can be locked so: {self.put}")
        if not self.put.version:
            return Finding(probe, Outcome.FAIL, "the object it locked has no version")
        return None


def compliance(scene: Scene) -> Finding:
    """No way round a COMPLIANCE lock; it can be made longer, which `retention extend` does."""
    probe = LockProbe(scene, "locks/compliance", "COMPLIANCE")
    if failed := probe.not_locked():
        return failed
    sooner, later = scene.until(scene.lock_seconds // 2), scene.until(scene.lock_seconds + 1)
    tries: list[Try] = [
        ("deletion", probe.delete),
        ("deletion with bypass", lambda: probe.delete(bypass=True)),
        ("shortening", lambda: probe.set("COMPLIANCE", sooner)),
        ("shortening with bypass", lambda: probe.set("COMPLIANCE", sooner, bypass=True)),
        ("GOVERNANCE instead", lambda: probe.set("GOVERNANCE", probe.until, bypass=True)),
        ("no lock instead", lambda: probe.set(None, None, bypass=True)),
    ]
    wrong = probe.read_back() or probe.breach(tries) or probe.read_back()
    if scene.is_close(probe.until):
        return _too_late("compliance")
    if wrong:
        return Finding("compliance", Outcome.FAIL, wrong)
    longer = probe.set("COMPLIANCE", later)
    if not longer.ok:
        return Finding("compliance", Outcome.FAIL, f"it can not be made longer: {longer}")
    return Finding("compliance", Outcome.PASS, f"refused: {probe.refusals()}")


def governance(scene: Scene) -> list[Finding]:
    """A GOVERNANCE lock without and (last, since it may succeed) with the header that bypasses it."""
    probe = LockProbe(scene, "locks/governance", "GOVERNANCE")
    if failed := probe.not_locked():
        return [failed, Finding("governance-bypass", Outcome.UNKNOWN, "nothing can be locked so")]
    sooner = scene.until(scene.lock_seconds // 2)
    tries: list[Try] = [
        ("deletion", probe.delete),
        ("shortening", lambda: probe.set("GOVERNANCE", sooner)),
        ("no lock instead", lambda: probe.set(None, None)),
    ]
    wrong = probe.read_back() or probe.breach(tries)
    if scene.is_close(probe.until):
        return [_too_late("governance"), _too_late("governance-bypass")]
    outcome = Outcome.FAIL if wrong else Outcome.PASS
    found = [Finding("governance", outcome, wrong or f"refused: {probe.refusals()}")]
    # Each by itself, since each takes one more permission, which this identity may have or not.
    bypasses: list[Try] = [
        ("shortened", lambda: probe.set("GOVERNANCE", sooner, bypass=True)),
        ("deleted", lambda: probe.delete(bypass=True)),
    ]
    answers = [(what, attempt()) for what, attempt in bypasses]
    if done := [what for what, answer in answers if answer.ok]:
        seen = f"it {' and '.join(done)} a locked version by asking for the bypass"
        return [*found, Finding("governance-bypass", Outcome.FAIL, seen)]
    seen = f"refused: {', '.join(dict.fromkeys(answer.short for _, answer in answers))}"
    return [*found, Finding("governance-bypass", Outcome.PASS, seen)]


def versions(scene: Scene) -> Finding:
    """A locked version stays readable by its ID, whatever is put over it."""
    name, until = "locks/over", scene.until(scene.lock_seconds)
    first = scene.put(name, _ONE, ("COMPLIANCE", until))
    if not first.ok or not first.version:
        return Finding("versions", Outcome.FAIL, f"no object can be locked: {first}")
    over = scene.put(name, _TWO)
    marker = scene.delete(name)
    said = f"write over it: {over}; deletion without a version: {marker}"
    hidden, _ = scene.read(name)
    by_version, data = scene.read(name, first.version)
    if scene.is_close(until):
        return _too_late("versions")
    if not by_version.ok or data != _ONE:
        return Finding("versions", Outcome.FAIL, f"{said}; the locked version: {by_version}, {data[:20]!r}")
    shown = "hidden" if not hidden.ok else "still shown"
    return Finding("versions", Outcome.PASS, f"{said}; {shown}, and readable by its version")


def legal_hold(scene: Scene) -> Finding:
    """A legal hold on an object whose lock is over: that is what holds are for."""
    name = "locks/hold"
    until = scene.until(SHORT_LOCK_SECONDS)
    put = scene.put(name, _ONE, ("GOVERNANCE", until))
    if not put.ok or not put.version:
        return Finding("legal-hold", Outcome.UNKNOWN, f"no object to hold: {put}")
    change = _holder(scene, name, put.version)
    on = change("ON")
    if not on.ok:
        return Finding("legal-hold", Outcome.FAIL, f"it can not be set: {on}")
    back = scene.ask("get_object_legal_hold", name, VersionId=put.version)
    status = back.fields.get("LegalHold", {}).get("Status")
    scene.wait_for(until)
    refused = scene.delete(name, put.version)
    if refused.ok:
        return Finding(
            "legal-hold", Outcome.FAIL, "a version whose lock was over was deleted while it was held"
        )
    off = change("OFF")
    if not off.ok:
        return Finding("legal-hold", Outcome.FAIL, f"it can not be released: {off}")
    if status != "ON":
        return Finding("legal-hold", Outcome.FAIL, f"it reads back as {status} ({back})")
    gone = scene.delete(name, put.version)
    if not gone.ok:
        return Finding("legal-hold", Outcome.FAIL, f"what was released can not be deleted: {gone}")
    return Finding("legal-hold", Outcome.PASS, f"refused while it is held: {refused.short}")


def _holder(scene: Scene, name: str, version: str) -> Callable[[str], Answer]:
    def change(status: str) -> Answer:
        hold: dict[str, Any] = {"Status": status}
        return scene.ask("put_object_legal_hold", name, VersionId=version, LegalHold=hold)

    return change


def _too_late(probe: str) -> Finding:
    seen = "the store was so slow that the lock was nearly over: what it refused proves nothing"
    return Finding(probe, Outcome.UNKNOWN, seen)
