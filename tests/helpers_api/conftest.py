"""What the tests of the helpers share: where events go while a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from merklelog.audit_events import AuditEvent, OtelEmitter, use
from merklelog.client.producer_batch import Batch, Sent
from merklelog.errors import MerklelogError

from .serving import Served


class Exported:
    """The SDK with an exporter that keeps what it is given."""

    def __init__(self) -> None:
        self._kept = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self._kept))

    @property
    def records(self) -> list:
        """What was exported, as the SDK's own records."""
        return [each.log_record for each in self._kept.get_finished_logs()]

    @property
    def attributes(self) -> list[dict]:
        return [dict(record.attributes) for record in self.records]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One log behind all doors, for every test that appends to one."""
    made = Served(tmp_path_factory.mktemp("served") / "log")
    yield made
    assert made.server.end() == 0


@pytest.fixture
def exported() -> Iterator[Exported]:
    """Events go to OpenTelemetry's SDK, and are kept."""
    made = Exported()
    before = use(OtelEmitter(made.provider))
    yield made
    use(before)
    made.provider.shutdown()


@dataclass
class Confirming:
    """An emitter that knows at once how each event ended: stored, or failed with `fails`."""

    confirms: bool = True
    fails: MerklelogError | None = None
    refuses: MerklelogError | None = None
    hangs: bool = False
    events: list[AuditEvent] = field(default_factory=list)

    def emit(self, event: AuditEvent) -> Sent:
        if self.refuses is not None:
            raise self.refuses
        self.events.append(event)
        batch = Batch(b"key", 0, 0.0)
        batch.error, batch.receipts = self.fails, [event.record_id]
        if not self.hangs:
            batch.done.set()
        return Sent(batch, 0)

    async def emit_async(self, event: AuditEvent) -> Sent:
        return self.emit(event)


@pytest.fixture
def confirming() -> Confirming:
    return Confirming()
