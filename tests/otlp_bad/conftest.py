"""One receiver and one log for all the bad input of a file; at the end both are judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.ingest.canonical import decode_record
from merklelog.ingest.entry import parse_entry
from merklelog.ingest.split import join_entries
from tests.otlp_bad.senders import Senders, named, request
from tests.support.otlp_server import Receiver


@dataclass
class Target:
    """A receiver, what sends to it, and the number of entries its log must have at the end."""

    log: Path
    receiver: Receiver
    send: Senders
    wanted: int = 0
    good: int = 0
    names: list[str] = field(default_factory=list)

    def well(self) -> None:
        """It takes a good record by each door."""
        for take in (self.send.post, self.send.call):
            name = f"good {self.good}"
            assert take(request(named(name)).SerializeToString()).code in (0, 200)
            self.good += 1
            self.wanted += 1
            self.names.append(name)

    def stored(self, records: int) -> int:
        """So many entries more are there now; gives the index of the first of them."""
        self.wanted += records
        assert self.receiver.size() == self.wanted
        return self.wanted - records

    def record(self, index: int) -> dict[str, Any]:
        """The record at that index, joined when it is split."""
        return dict(decode_record(join_entries(self.entry, index).record_bytes))

    def entry(self, index: int) -> bytes:
        """The bytes of an entry, read beside the server that writes."""
        with merklelog.open_reader(self.log) as reader:
            return bytes(next(iter(reader.entries(index, index + 1))))

    def memory(self) -> int:
        """The most that the server's process ever held, in bytes."""
        assert self.receiver.program is not None
        status = Path(f"/proc/{self.receiver.program.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The receiver of a file's tests; the last one fails of a server that was ill, or lost or made up an entry."""
    log = tmp_path_factory.mktemp("bad") / "log"
    merklelog.create_log(log, "bad.example/log", settings={"store.min_free_bytes": 0})
    receiver = Receiver(log, limits__message_bytes=str(4 << 20), limits__body_seconds="5").start()
    target = Target(log, receiver, Senders(receiver))
    try:
        target.well()
        yield target
        target.well()
        target.send.close()
        assert receiver.stop() == 0
        assert receiver.program is not None
        assert not [line for line in receiver.program.lines if "Traceback" in line], receiver.program.tail()
        judge(target)
    finally:
        target.send.close()
        if receiver.program is not None and receiver.program.alive():
            receiver.kill()


def judge(target: Target) -> None:
    """The log has what was taken, in order, with times that never run back, and nothing else."""
    names, last = [], 0
    with merklelog.open_reader(target.log) as reader:
        assert reader.size == target.wanted
        for data in reader.entries(0, reader.size):
            entry = parse_entry(data)
            assert entry is not None
            assert entry.part is not None
            assert entry.part.time >= last
            last = entry.part.time
            if entry.part.split is None:
                names.append(decode_record(entry.record_bytes).get("eventName"))
    assert [name for name in names if isinstance(name, str) and name.startswith("good ")] == target.names


@pytest.fixture
def well(target: Target) -> Iterator[Target]:
    """The target, which takes good records after the test as before."""
    yield target
    target.well()
