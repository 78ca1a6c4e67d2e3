"""Judging what an index said, by the entries themselves: no index is needed for that, and none is believed."""

from __future__ import annotations

from collections.abc import Sequence

from merklelog.client.searching import SearchHit

from .assembler import Assembler
from .match import matches
from .query import Condition


def judge_hit(condition: Condition, hit: SearchHit, entries: Sequence[bytes]) -> str:
    """What is wrong with a hit, "" when nothing is. `entries` are the hit's, which the caller has proven."""
    assembler = Assembler(hit.index)
    found = [each for data in entries for each in assembler.add(data)]
    found += assembler.flush()
    if len(found) != 1 or found[0].entries != hit.entries:
        return f"entry {hit.index}: it does not make one record of {hit.entries} entries"
    if found[0].time != hit.time:
        return f"entry {hit.index}: the index says time {hit.time}, the entry {found[0].time}"
    for name in sorted(found[0].fields.keys() | hit.fields.keys()):
        told, true = hit.fields.get(name), found[0].fields.get(name)
        if told != true:
            return f"entry {hit.index}: {name}: the index says {told!r}, the entry {true!r}"
    if not matches(condition, found[0]):
        return f"entry {hit.index}: it does not meet the query"
    return ""


__all__ = ["judge_hit"]
