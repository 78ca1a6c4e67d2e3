"""Every event once, whatever is killed: the SDK, a Collector killed once, a receiver killed three times.

`tools/soak.py collector --count 1000000` is the same at length.
"""

from __future__ import annotations

from tests.collector.ends import Ends, judge, run

EVENTS = 4_000


def test_every_event_is_an_entry_once(ends: Ends) -> None:
    story = run(ends, EVENTS, group=50)
    assert [what for what, _, _ in story.kills] == ["receiver", "receiver", "Collector", "receiver"]
    _, taken, stored = story.kills[2]
    assert taken > stored, "the Collector's queue must have held something when it was killed"
    ends.close()
    assert judge(ends.log, EVENTS) == EVENTS
