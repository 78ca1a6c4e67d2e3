"""What the tests of the publisher share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merklelog.errors import UnreachableError
from merklelog.formats import parse_checkpoint, verify_note
from merklelog.publish import BundleEncoding
from merklelog.publish.publisher import Publisher

CALLS = 60


def publisher(log: Any, *stores: Any, encoding: str = "gzip", **options: Any) -> Publisher:
    """A publisher of `log`; new targets store their bundles so."""
    return Publisher(log, stores, encoding=lambda _: BundleEncoding(encoding), **options)


def drain(made: Publisher) -> list[Any]:
    """Publish until nothing is left; the reports."""
    reports = []
    for _ in range(CALLS):
        if (report := made.publish()) is None:
            return reports
        reports.append(report)
    raise AssertionError(f"after {CALLS} publications there is still something to publish")


def insist(call: Any) -> Any:
    """Call again as the log does, while a target does not answer."""
    for _ in range(CALLS):
        try:
            return call()
        except UnreachableError:
            continue
    raise AssertionError(f"{CALLS} times no answer")


def running(log: Any, *stores: Any, **options: Any) -> Publisher:
    """A publisher that has started."""
    made = publisher(log, *stores, **options)
    made.start()
    return made


def dump(store: Any, folder: Path) -> Path:
    """The objects of a store in memory as files, for a checker that looks at files alone."""
    for key, (data, _) in store.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def shown(store: Any, keys: Sequence[Any]) -> int:
    """The size of the verified checkpoint that a target shows."""
    signed = parse_checkpoint(store.get("checkpoint").data)
    verify_note(signed.note, keys)
    return signed.checkpoint.size
