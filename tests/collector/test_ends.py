"""Every event once, whatever is killed: the SDK, a Collector killed once, a receiver killed three times.

`tools/soak.py collector --count 1000000` is the same at length.
"""

from __future__ import annotations

import time

from tests.collector.ends import Ends, event, judge, run
from tests.support.otlp_sender import Sender, emit_each
from tests.support.programs import SECONDS

EVENTS = 4_000


def test_every_event_is_an_entry_once(ends: Ends) -> None:
    story = run(ends, EVENTS, group=50)
    assert [what for what, _, _ in story.kills] == ["receiver", "receiver", "Collector", "receiver"]
    _, taken, stored = story.kills[2]
    assert taken > stored, "the Collector's queue must have held something when it was killed"
    send_again(ends, 300)
    ends.close()
    assert judge(ends.log, EVENTS) == EVENTS


def send_again(ends: Ends, count: int) -> None:
    """An application that believes nothing of what it was told: the first events reach the log once more."""
    sent = "otelcol_exporter_sent_log_records"
    before, size = ends.collector.metric(sent), ends.receiver.size()
    sender = Sender(ends.collector.grpc)
    emit_each(sender, count, event)
    sender.close()
    end = time.monotonic() + SECONDS
    while ends.collector.metric(sent) < before + count:
        assert time.monotonic() < end, ends.collector.metric(sent)
        time.sleep(0.05)
    assert ends.receiver.size() == size
