"""The metrics of a witness. docs/witness.md lists them, and a test compares it with WITNESS_FAMILIES."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from merklelog.version import __version__
from merklelog.witness.service import Witness

from .tally import RequestTally

_COUNTER, _GAUGE, _HISTOGRAM = "counter", "gauge", "histogram"
# Name, type and meaning.
WITNESS_FAMILIES: Final = (
    ("merklelog_witness_info", _GAUGE, "Always 1; the witness' name and the version that runs."),
    ("merklelog_witness_ready", _GAUGE, "0 once a failure of its disk stopped it."),
    ("merklelog_witness_known_logs", _GAUGE, "Logs on its list."),
    ("merklelog_witness_cosigned_logs", _GAUGE, "Logs of which it cosigned a checkpoint, ever."),
    (
        "merklelog_witness_sitting_out_logs",
        _GAUGE,
        "Known logs for which it signs nothing until an operator says.",
    ),
    (
        "merklelog_witness_equivocations_total",
        _COUNTER,
        "Times a log showed another tree of the recorded size.",
    ),
    ("merklelog_witness_syncs_total", _COUNTER, "Times the disk was made to keep what was recorded."),
    ("merklelog_witness_synced_requests_total", _COUNTER, "Requests that waited for one of these."),
    ("merklelog_witness_sync_seconds_total", _COUNTER, "Seconds that these took."),
    ("merklelog_witness_waiting_requests", _GAUGE, "Requests that wait for a signature or for the disk."),
    (
        "merklelog_witness_requests_total",
        _COUNTER,
        "Requests by path and status (499: the client left first).",
    ),
    ("merklelog_witness_request_seconds", _HISTOGRAM, "From request to answer, by path."),
)


class WitnessMetrics(Collector):
    """What a scrape of a witness shows; nothing is computed before one. Tallies belong to the event loop's
    thread.
    """

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._tallies: list[RequestTally] = []
        self._rendering = Lock()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def request_tally(self, method: str) -> RequestTally:
        """A new tally for the requests of that kind."""
        self._tallies.append(RequestTally("http", method))
        return self._tallies[-1]

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """All of it as text, and the media type that fits `accept`."""
        encode, media_type = choose_encoder(accept)
        with self._rendering:
            return media_type, encode(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        found = {
            name: Metric(name.removesuffix("_total"), meaning, kind)
            for name, kind, meaning in WITNESS_FAMILIES
        }
        info = {"name": self._witness.config.name, "version": __version__}
        found["merklelog_witness_info"].add_sample("merklelog_witness_info", info, 1.0)
        for name, value in self._values():
            found[name].add_sample(name, {}, float(value))
        for tally in self._tallies:
            _put(found, tally)
        return iter(found.values())

    def _values(self) -> Iterator[tuple[str, float]]:
        witness = self._witness
        syncs, waits, seconds = witness.state.syncs
        yield "merklelog_witness_ready", witness.state.failure is None
        yield "merklelog_witness_known_logs", len(witness.logs)
        yield "merklelog_witness_cosigned_logs", len(witness.state)
        yield "merklelog_witness_sitting_out_logs", len(witness.sitting_out())
        yield "merklelog_witness_equivocations_total", witness.equivocations
        yield "merklelog_witness_syncs_total", syncs
        yield "merklelog_witness_synced_requests_total", waits
        yield "merklelog_witness_sync_seconds_total", seconds
        yield "merklelog_witness_waiting_requests", witness.waiting


def _put(found: dict[str, Metric], tally: RequestTally) -> None:
    labels = {"path": tally.method}
    for code, count in tuple(tally.codes.items()):
        name = "merklelog_witness_requests_total"
        found[name].add_sample(name, {**labels, "code": str(code)}, float(count))
    name, seen = "merklelog_witness_request_seconds", 0
    for bound, count in zip(
        (*map(str, tally.seconds.bounds), "+Inf"), tuple(tally.seconds.counts), strict=True
    ):
        seen += count
        found[name].add_sample(f"{name}_bucket", {**labels, "le": bound}, float(seen))
    found[name].add_sample(f"{name}_count", labels, float(seen))
    found[name].add_sample(f"{name}_sum", labels, tally.seconds.total)
