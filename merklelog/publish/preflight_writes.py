"""The probes of plain writes: what is refused, what is seen afterwards, how it comes back, what can be removed."""

from __future__ import annotations

import gzip
from hashlib import sha256
from typing import Any, Final

from merklelog.formats.wire import encode_base64
from merklelog.publish.preflight_report import Finding, Outcome
from merklelog.publish.preflight_scene import BRIEF_LOCK_SECONDS, SHORT_LOCK_SECONDS, Scene

_TURNS: Final = 8
_TEXT: Final = "text/plain; charset=utf-8"
_CACHE: Final = "public, max-age=31536000, immutable"


def checksum(scene: Scene) -> Finding:
    """Bytes under another SHA-256 than theirs."""
    name, probe = "plain/checksum", "checksum"
    right = scene.put(name, b"right")
    if not right.ok:
        return Finding(probe, Outcome.UNKNOWN, f"not even the right one: {right}")
    other = encode_base64(sha256(b"other").digest()).decode("ascii")
    wrong = scene.put(name, b"wrong", ChecksumSHA256=other)
    _, data = scene.read(name)
    if wrong.ok or data != b"right":
        return Finding(probe, Outcome.FAIL, f"a wrong one: {wrong}; the object is {data[:20]!r}")
    return Finding(probe, Outcome.PASS, wrong.short)


def read_after_write(scene: Scene) -> Finding:
    """New, replaced and deleted objects, each looked for at once; also one that was looked for before it was."""
    probe = "read-after-write"
    names: list[str] = ["seen/same"]
    unlisted = ""
    for turn in range(_TURNS):
        names.insert(0, f"seen/new-{turn}")
        # A store that remembers what it did not find would be wrong from now on.
        if (absent := scene.read(names[0])[0]).status != 404:
            seen = f"what is not there: {absent}, want 404: who may not list is not told what is missing"
            return Finding(probe, Outcome.FAIL, seen)
        for name in (names[0], "seen/same"):
            put = scene.put(name, b"%d" % turn)
            if not put.ok:
                return Finding(probe, Outcome.UNKNOWN, f"a write: {put}")
            found, data = scene.read(name)
            if data != b"%d" % turn:
                seen = f"turn {turn}: right after {name} was written: {found}, {data[:20]!r}"
                return Finding(probe, Outcome.FAIL, seen)
        listed = scene.ask("list_objects_v2", Prefix=scene.key("seen/"))
        unlisted = "" if listed.ok else f"; listing: {listed}"
        keys = [row["Key"] for row in listed.fields.get("Contents", [])]
        if listed.ok and keys != sorted(map(scene.key, names)):
            return Finding(
                probe, Outcome.FAIL, f"turn {turn}: a listing gives {len(keys)} of {len(names)} keys"
            )
    scene.delete("seen/same")
    if scene.is_there("seen/same"):
        return Finding(probe, Outcome.FAIL, "it is still there right after its deletion")
    return Finding(probe, Outcome.PASS, f"{2 * _TURNS} writes and a deletion{unlisted}")


def headers(scene: Scene) -> Finding:
    """What a web server or a CDN in front of the bucket would say of an object."""
    name, body = "plain/headers", gzip.compress(b"entries" * 10, mtime=0)
    sent: dict[str, Any] = {"ContentType": _TEXT, "ContentEncoding": "gzip", "CacheControl": _CACHE}
    put = scene.put(name, body, **sent)
    if not put.ok:
        return Finding("headers", Outcome.UNKNOWN, str(put))
    found, data = scene.read(name)
    got = {header: str(found.fields.get(header, "")) for header in sent}
    other = [
        f"{header}: {got[header]!r} for {sent[header]!r}" for header in sent if got[header] != sent[header]
    ]
    if data != body:
        other.append(f"{len(data)} bytes for {len(body)}: somebody decoded them")
    if other:
        return Finding("headers", Outcome.FAIL, "; ".join(other))
    return Finding("headers", Outcome.PASS, "all three, and the bytes")


def encryption(scene: Scene) -> Finding | None:
    """Server-side encryption and the storage class, where the configuration asks for them."""
    options = scene.options
    extra: dict[str, Any] = {}
    if options.sse != "none":
        extra["ServerSideEncryption"] = options.sse
    if options.sse_kms_key_id:
        extra["SSEKMSKeyId"] = options.sse_kms_key_id
    if options.storage_class:
        extra["StorageClass"] = options.storage_class
    if not extra:
        return None
    put = scene.put("plain/encrypted", b"secret", **extra)
    if not put.ok:
        return Finding("encryption", Outcome.FAIL, f"{_named(extra)}: {put}")
    found = scene.ask("head_object", "plain/encrypted").fields
    # A key may be given by an alias and told by its ARN.
    told = {header: found.get(header) for header in extra if header != "SSEKMSKeyId"}
    if any(told[header] != extra[header] for header in told):
        return Finding("encryption", Outcome.FAIL, f"asked for {_named(extra)}, got {_named(told)}")
    return Finding("encryption", Outcome.PASS, _named(told))


def _named(fields: dict[str, Any]) -> str:
    return ", ".join(f"{header} {value}" for header, value in fields.items())


def delete(scene: Scene) -> Finding:
    """A version without a lock, or whose own short lock is over, by its ID."""
    name = "plain/delete"
    put = scene.put(name, b"x")
    if not put.ok:
        return Finding("delete", Outcome.UNKNOWN, f"no object to delete: {put}")
    how = "an unlocked version"
    if scene.default.mode is not None:
        scene.wait_for(scene.until(SHORT_LOCK_SECONDS))
        how = f"after its own lock of {SHORT_LOCK_SECONDS} s, under a default of {scene.default}"
    gone = scene.delete(name, put.version)
    if not gone.ok:
        return Finding("delete", Outcome.FAIL, f"{how}: {gone}")
    if scene.is_there(name, put.version):
        return Finding("delete", Outcome.FAIL, f"{how}: {gone}, and yet it is there")
    return Finding("delete", Outcome.PASS, how)


def delete_many(scene: Scene, mode: str | None) -> Finding:
    """Two versions that may go and one that is locked, in one request."""
    probe = "delete-many"
    names = ["many/free-0", "many/free-1"]
    puts = [scene.put(name, b"x") for name in names]
    if scene.default.mode is not None:
        scene.wait_for(scene.until(SHORT_LOCK_SECONDS))
    until = None if mode is None else scene.until(BRIEF_LOCK_SECONDS)
    if mode is not None and until is not None:
        names.append("many/locked")
        puts.append(scene.put("many/locked", b"x", (mode, until)))
    if bad := [put for put in puts if not put.ok]:
        return Finding(probe, Outcome.UNKNOWN, f"no objects to delete: {bad[0]}")
    rows = [
        {"Key": scene.key(name), **({"VersionId": put.version} if put.version else {})}
        for name, put in zip(names, puts, strict=True)
    ]
    done = scene.ask("delete_objects", Delete={"Objects": rows, "Quiet": True}, ChecksumAlgorithm="SHA256")
    if not done.ok:
        return Finding(probe, Outcome.FAIL, str(done))
    stayed = [name for name, put in zip(names, puts, strict=True) if scene.is_there(name, put.version)]
    refused = [row.get("Key", "").removeprefix(scene.scratch) for row in done.fields.get("Errors", [])]
    want = names[2:]
    if stayed == want and refused == want:
        return Finding(probe, Outcome.PASS, "2 gone" + (", the locked one refused" if want else ""))
    if until is not None and scene.is_close(until):
        return Finding(probe, Outcome.UNKNOWN, "the store was so slow that the lock was nearly over")
    seen = f"there after it: {', '.join(stayed) or 'none'}; refused: {', '.join(refused) or 'none'}"
    return Finding(probe, Outcome.FAIL, seen)


def anonymous(scene: Scene) -> Finding:
    """The same requests without credentials."""
    name, probe = "plain/anonymous", "anonymous"
    put = scene.put(name, b"ours")
    if not put.ok:
        return Finding(probe, Outcome.UNKNOWN, f"no object to try it on: {put}")
    stranger = scene.without_credentials()
    write = stranger.put(name, b"theirs")
    new = stranger.put("plain/anonymous-new", b"theirs")
    gone = stranger.delete(name)
    read, _ = stranger.read(name, put.version)
    listed = stranger.ask("list_objects_v2", Prefix=scene.scratch)
    may = [what for what, answer in (("read", read), ("list", listed)) if answer.ok]
    harm = [what for what, answer in (("replace", write), ("create", new), ("delete", gone)) if answer.ok]
    if harm:
        return Finding(probe, Outcome.FAIL, f"anybody may {', '.join([*may, *harm])}")
    readers = f"anybody may {' and '.join(may)}" if may else "nobody may read"
    return Finding(probe, Outcome.PASS, f"{write.status} for writes; {readers}")
