"""Why the recipe is as it is: what is lost when a Collector is killed while the log can not be reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.split import join_entries
from tests.collector.ends import DROPPED, Ends, found_id
from tests.otlp_bad.senders import PROTOBUF, named, request
from tests.support.collector import RECIPE
from tests.support.otlp_sender import Sender
from tests.support.programs import SECONDS

BATCHED = """\
processors:
  batch: {timeout: 60s}
service:
  pipelines:
    logs:
      processors: [batch]
"""
EVENTS = 200


@pytest.fixture
def make_ends(collector: None, tmp_path: Path) -> Iterator[Callable[..., Ends]]:
    made: list[Ends] = []

    def make(*configurations: Path, **settings: str) -> Ends:
        made.append(Ends(tmp_path, *configurations, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def send(ends: Ends, name: str, count: int) -> None:
    """So many events, all of which the Collector says that it has taken."""
    sender = Sender(ends.collector.grpc, group=50)
    for number in range(count):
        sender.emit(number, {"audit.record.id": f"{name}-{number}", "audit.action": "x"})
    sender.flush()
    assert sender.processor.taken == count
    sender.close()


def killed_while_away(ends: Ends) -> None:
    """Events come while there is no receiver; the Collector is killed, comes back, and one more comes."""
    ends.receiver.kill()
    send(ends, "before", EVENTS)
    ends.collector.kill()
    ends.receiver.start()
    ends.collector.start()
    send(ends, "after", 1)


def wait(ends: Ends, size: int) -> None:
    """Until the log has so many entries, and the Collector nothing more for it."""
    end = time.monotonic() + SECONDS
    while ends.receiver.size() < size:
        assert time.monotonic() < end, (ends.receiver.size(), ends.collector.program)
        time.sleep(0.05)
    ends.collector.wait_empty()


def stored(log: Path) -> list[str]:
    with merklelog.open_reader(log) as reader:
        entries = list(reader.entries(0, reader.size))
    records = [
        decode_record(join_entries(entries.__getitem__, at).record_bytes) for at in range(len(entries))
    ]
    return sorted(found_id(dict(record)) for record in records)


def test_the_recipe_loses_nothing(make_ends: Callable[..., Ends]) -> None:
    ends = make_ends()
    killed_while_away(ends)
    wait(ends, EVENTS + 1)
    ends.close()
    assert stored(ends.log) == sorted(["after-0", *(f"before-{number}" for number in range(EVENTS))])


def test_a_batch_processor_loses_what_it_has_acknowledged(
    make_ends: Callable[..., Ends], tmp_path: Path
) -> None:
    batched = tmp_path / "batched.yaml"
    batched.write_text(BATCHED)
    ends = make_ends(RECIPE, batched)
    killed_while_away(ends)
    ends.collector.stop()  # on SIGTERM the processor hands on what it holds: to the queue
    ends.collector.start()
    wait(ends, 1)
    ends.close()
    assert stored(ends.log) == ["after-0"]


def test_what_an_unknown_token_brings_is_thrown_away_and_counted(make_ends: Callable[..., Ends]) -> None:
    """As the page says; and the metric that the other tests look at does tell of losses."""
    ends = make_ends()
    ends.collector.stop()
    ends.collector.settings["MERKLELOG_TOKEN"] = "mlt_" + "0" * 64
    ends.collector.start()
    send(ends, "lost", 20)
    end = time.monotonic() + SECONDS
    while ends.collector.metric(DROPPED) < 20 and time.monotonic() < end:
        time.sleep(0.05)
    assert ends.collector.metric(DROPPED) == 20
    assert ends.receiver.size() == 0


def test_a_log_without_room_is_waited_for(make_ends: Callable[..., Ends], tmp_path: Path) -> None:
    """A refusal that passes, rather than silence: the Collector is told to come again, and does. It sends zstd."""
    smaller = tmp_path / "zstd.yaml"
    smaller.write_text("exporters: {otlp_grpc/merklelog: {compression: zstd}}\n")
    ends = make_ends(RECIPE, smaller, store__min_free_bytes=str(1 << 60))
    send(ends, "full", 20)
    shown = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {ends.receiver.token}"}
    body = request(named("direct")).SerializeToString()
    status, said, headers = ends.receiver.ask("POST", "/v1/logs", body, shown, door="otlp_http")
    assert (status, "retry-after" in headers) == (503, True), said
    assert ends.receiver.size() == 0
    ends.receiver.stop()
    ends.receiver.settings["MERKLELOG_STORE__MIN_FREE_BYTES"] = "0"
    ends.receiver.start()
    wait(ends, 20)
    assert ends.collector.metric(DROPPED) == 0
    ends.close()
    assert stored(ends.log) == sorted(f"full-{number}" for number in range(20))
