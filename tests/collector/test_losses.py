"""Why the recipe is as it is: what is lost when Collectors are killed while the log has no room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merklelog
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import parse_entry
from tests.collector.ends import DROPPED, found_id
from tests.otlp_bad.senders import PROTOBUF, named, request
from tests.support.collector import RECIPE, Collector
from tests.support.otlp_sender import Sender
from tests.support.otlp_server import Receiver, make_token
from tests.support.programs import SECONDS

BATCHED = """\
processors:
  batch: {timeout: 60s}
service:
  pipelines:
    logs:
      processors: [batch]
"""
ZSTD = "exporters: {otlp_grpc/merklelog: {compression: zstd}}\n"
EVENTS = 200
MIN_FREE = "store__min_free_bytes"


@pytest.fixture(scope="module")
def receiver(collector: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """The receiver of an empty log whose disk has less room than it must have."""
    log = tmp_path_factory.mktemp("losses") / "log"
    merklelog.create_log(log, "losses.example/log")
    made = Receiver(log, **{MIN_FREE: str(1 << 60)})
    made.token = make_token(log)
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def start(receiver: Receiver, tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """`start("name", changes, token)`: the recipe's Collector, with these changes, before the receiver."""
    made: list[Collector] = []

    def begin(name: str, changes: str, token: str = "") -> Collector:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "changes.yaml").write_text(changes)
        settings = {
            "MERKLELOG_ENDPOINT": receiver.addresses["otlp_grpc"],
            "MERKLELOG_TOKEN": token or receiver.token,
            "MERKLELOG_PLAIN": "true",
        }
        made.append(Collector(folder, RECIPE, folder / "changes.yaml", **settings))
        return made[-1].start()

    yield begin
    for each in made:
        each.stop()


def send(collector: Collector, name: str, count: int) -> None:
    """So many events, all of which the Collector says that it has taken."""
    sender = Sender(collector.grpc, group=50)
    for number in range(count):
        sender.emit(number, {"audit.record.id": f"{name}-{number}", "audit.action": "x"})
    sender.flush()
    assert sender.processor.taken == count
    sender.close()


def test_what_an_unknown_token_brings_is_thrown_away_and_counted(
    receiver: Receiver, start: Callable[..., Collector]
) -> None:
    """As the page says; and the metric that other tests look at does tell of losses."""
    stranger = start("stranger", "", "mlt_" + "0" * 64)
    send(stranger, "stranger", 20)
    end = time.monotonic() + SECONDS
    while stranger.metric(DROPPED) < 20 and time.monotonic() < end:
        time.sleep(0.05)
    assert stranger.metric(DROPPED) == 20
    assert receiver.size() == 0


def test_a_queue_on_disk_loses_nothing_and_a_batch_processor_all_that_it_acknowledged(
    receiver: Receiver, start: Callable[..., Collector]
) -> None:
    """Both are killed while the log refuses for now; then it has room. The one with the queue sends zstd."""
    collectors = {"queued": start("queued", ZSTD), "batched": start("batched", BATCHED)}
    for name, each in collectors.items():
        send(each, name, EVENTS)
    shown = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {receiver.token}"}
    body = request(named("direct")).SerializeToString()
    status, said, headers = receiver.ask("POST", "/v1/logs", body, shown, door="otlp_http")
    assert (status, "retry-after" in headers) == (503, True), said
    for each in collectors.values():
        each.kill()
    assert receiver.size() == 0
    receiver.stop()
    receiver.settings[f"MERKLELOG_{MIN_FREE.upper()}"] = "0"
    receiver.start()
    for name, each in collectors.items():
        send(each.start(), f"{name}-late", 1)
    collectors["batched"].stop()  # on SIGTERM the processor hands on what it holds: to the queue
    collectors["batched"].start()
    end = time.monotonic() + SECONDS
    while receiver.size() < EVENTS + 2 and time.monotonic() < end:
        time.sleep(0.05)
    for each in collectors.values():
        each.wait_empty()
        assert each.metric(DROPPED) == 0
        each.stop()
    want = [*(f"queued-{number}" for number in range(EVENTS)), "queued-late-0", "batched-late-0"]
    assert sorted(stored(receiver)) == sorted(want)


def stored(receiver: Receiver) -> Iterator[str]:
    """The ID of each record in the log."""
    with merklelog.open_reader(receiver.directories[0]) as reader:
        for data in reader.entries(0, reader.size):
            entry = parse_entry(data)
            assert entry is not None
            yield found_id(dict(decode_record(entry.record_bytes)))
