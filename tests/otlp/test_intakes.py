"""The intakes of a server: one that failed makes way for another, which knows all that the first one sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

from merklelog.errors import StorageError
from merklelog.ingest.intake import open_intake
from merklelog.servers.intakes import Intakes
from merklelog.servers.served import ServedLogs
from tests.otlp.conftest import ORIGIN, Place
from tests.otlp.events import record
from tests.otlp.test_intake import held, put


def test_what_a_failed_one_has_on_its_way_is_known_to_the_next(make_place: Callable[..., Place]) -> None:
    disk = threading.Event()
    place = make_place()
    place.open(step=held(disk))
    assert place.log is not None
    logs = ServedLogs()
    logs.add(place.log, "/")

    async def both() -> None:
        intakes = Intakes(logs, open_intake)
        first = await intakes.ready(ORIGIN)
        on_its_way = first.submit([record("x", "id")], "")
        first._failure = StorageError("its index took no more")
        ready = asyncio.ensure_future(intakes.ready(ORIGIN))
        await asyncio.wait({ready}, timeout=0.2)
        disk.set()
        again = await ready
        assert again is not first
        assert [each.index for each in await asyncio.wrap_future(on_its_way)] == [0]
        found = await asyncio.to_thread(put, again, record("x", "id"))
        assert [(each.index, each.duplicate) for each in found] == [(0, True)]
        await intakes.close()

    asyncio.run(both())


def test_what_is_said_of_one(make_place: Callable[..., Place]) -> None:
    place = make_place()
    place.open()
    assert place.log is not None
    logs = ServedLogs()
    logs.add(place.log, "/")

    async def asked() -> None:
        intakes = Intakes(logs, open_intake)
        assert intakes.say(ORIGIN) is None
        intake = await intakes.ready(ORIGIN)
        assert intakes.say(ORIGIN) == "taken"
        repeats = intake._repeats
        unread = "those without an ID are taken; IDs of 1,003 entries are unread"
        for trouble, more in (("", ""), ("no answer", ": no answer; tried again")):
            intake._repeats = SimpleNamespace(behind=1003, trouble=trouble)  # type: ignore[assignment]
            assert intakes.say(ORIGIN) == unread + more
        intake._repeats = repeats
        await intakes.close()

    asyncio.run(asked())
