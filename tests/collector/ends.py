"""From an application's SDK through a Collector into a log, with kills at both: every event once.

`Ends` has the programs. `run` sends events, kills the receiver three times and the Collector once; `judge` reads
the log. The kills come at counts of entries and events, not at times; the Collector is killed while the
receiver is down, so that what its queue holds is known to matter.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import merklelog
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import parse_entry
from tests.support.collector import Collector
from tests.support.otlp_sender import FIRST_NS, Sender
from tests.support.otlp_server import Receiver, make_token

ORIGIN = "ends.example/log"
ACTIONS = ("create", "read", "update", "delete", "export")
DROPPED = "otelcol_exporter_send_failed_log_records"
SECONDS = 600  # nothing stands still for so long


def event(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Body and attributes of event `number`: some 500 bytes of OTLP."""
    action = ACTIONS[number % len(ACTIONS)]
    attributes = {
        "audit.record.id": f"event-{number}",
        "audit.actor": f"user-{number % 997}@shop.example",
        "audit.action": f"order.{action}",
        "audit.resource": f"order/{number // 3}",
        "audit.outcome": "success" if number % 7 else "failure",
    }
    body = {
        "number": number,
        "amount": number * 0.25,
        "note": f"{number:x}" * 4,
        "items": [number, number + 1],
    }
    return body, attributes


def found_id(record: dict[str, Any]) -> str:
    """The audit.record.id of a record."""
    ids = [each["value"] for each in record["attributes"] if each["key"] == "audit.record.id"]
    assert len(ids) == 1, record
    text: str = ids[0]["stringValue"]
    return text


@dataclass
class Story:
    """What happened: events taken and entries stored at each kill, and how often a group was sent again."""

    kills: list[tuple[str, int, int]] = field(default_factory=list)
    repeats: int = 0
    seconds: float = 0.0


class Ends:
    """A log in `folder`, its receiver with these settings, and a Collector (the recipe's) in front of it."""

    def __init__(self, folder: Path, *configurations: Path, **settings: str) -> None:
        self.log = folder / "log"
        merklelog.create_log(self.log, ORIGIN, settings={"store.min_free_bytes": 0})
        token = make_token(self.log)
        self.receiver = Receiver(self.log, **settings)
        self.receiver.token = token
        self.receiver.start()
        self.collector = Collector(
            folder,
            *configurations,
            MERKLELOG_ENDPOINT=self.receiver.addresses["otlp_grpc"],
            MERKLELOG_TOKEN=token,
            MERKLELOG_PLAIN="true",
        ).start()

    def close(self) -> None:
        """End both; what is left in the queue stays there."""
        self.collector.stop()
        self.receiver.stop()


def run(
    ends: Ends, count: int, *, group: int = 100, kills: int = 3, say: Callable[[str], None] = lambda _: None
) -> Story:
    """Send `count` events, `group` at a time, and kill the receiver `kills` times and the Collector once.

    Returns when all are in the log and the Collector's queue is empty.
    """
    began, story = time.monotonic(), Story()
    sender = Sender(ends.collector.grpc, group=group)
    gate = Event()
    worker = Thread(target=_send, args=(sender, count, gate))
    worker.start()

    def taken() -> int:
        return sender.processor.taken

    def wait_until(what: str, reached: Callable[[], bool]) -> None:
        _wait_until(ends, taken, what, reached)

    def killed(what: str, stored: int) -> None:
        story.kills.append((what, taken(), stored))
        at = f"{time.monotonic() - began:.0f} s"
        say(f"{at}: {what} killed; {taken():,} events taken by the Collector, {stored:,} entries in the log")

    def kill_receiver(at: int) -> int:
        wait_until("the log grows", lambda: ends.receiver.size() >= at)
        stored = ends.receiver.size()
        ends.receiver.kill()
        killed("receiver", stored)
        return stored

    def kill_collector(at: int, stored: int) -> None:
        wait_until("the Collector takes more", lambda: taken() >= at)
        ends.collector.kill()
        killed("Collector", stored)
        ends.collector.start()

    try:
        for part in range(1, kills + 1):
            stored = kill_receiver(count * part // (kills + 2))
            if part == (kills + 1) // 2:
                # What the Collector takes now is nowhere but in its queue, and more is on its way to it.
                gate.set()
                kill_collector(count // 2 + max(2 * group, count // 20), stored)
            ends.receiver.start()
        wait_until("everything is sent", lambda: not worker.is_alive())
        wait_until("everything is stored", lambda: ends.receiver.size() >= count)
        ends.collector.wait_empty()
    finally:
        sender.processor.stop()
        gate.set()
        worker.join()
        sender.close()
    story.repeats, story.seconds = sender.processor.repeats, time.monotonic() - began
    return story


def _wait_until(ends: Ends, taken: Callable[[], int], what: str, reached: Callable[[], bool]) -> None:
    """Wait as long as the Collector takes more, or SECONDS; and nothing is thrown away meanwhile."""
    last, since = -1, time.monotonic()
    while not reached():
        if taken() != last:
            last, since = taken(), time.monotonic()
        assert ends.collector.metric(DROPPED) == 0, f"waiting until {what}: events were thrown away"
        assert time.monotonic() < since + SECONDS, f"waiting until {what}: {last} events were taken"
        time.sleep(0.02)


def _send(sender: Sender, count: int, gate: Event) -> None:
    """Send all of them, the second half once the gate is open."""
    for number in range(count):
        if number == count // 2:
            sender.flush()
            gate.wait()
        body, attributes = event(number)
        sender.emit(body, attributes, time_ns=FIRST_NS + number)
    sender.flush()


def judge(log: Path, count: int) -> int:
    """Assert that the log, which nobody serves, has each of the events once, and nothing else; gives its size."""
    seen: Counter[str] = Counter()
    last = 0
    with merklelog.open_reader(log) as reader:
        for index, data in enumerate(reader.entries(0, reader.size)):
            entry = parse_entry(data)
            assert entry is not None, f"entry {index}: {data[:200]!r}"
            assert entry.part is not None
            assert entry.part.time >= last, f"entry {index}: time runs back"
            last = entry.part.time
            record = decode_record(entry.record_bytes)
            identity = found_id(record)
            seen[identity] += 1
            body, _ = event(int(identity.removeprefix("event-")))
            values = {each["key"]: each["value"] for each in record["body"]["kvlistValue"]["values"]}
            assert values["number"] == {"intValue": str(body["number"])}, identity
            assert values["note"] == {"stringValue": body["note"]}, identity
    twice = [identity for identity, often in seen.items() if often > 1]
    missing = [number for number in range(count) if f"event-{number}" not in seen]
    assert not missing, f"{len(missing)} events are missing, the first {missing[:3]}"
    assert not twice, f"{len(twice)} events are there more than once: {twice[:3]}"
    assert sum(seen.values()) == count
    return count


__all__ = ["Ends", "Story", "event", "found_id", "judge", "run"]
