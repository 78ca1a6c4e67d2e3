"""The whole list of metrics, and the sheet that a scrape fills in.

docs/metrics.md is made from FAMILIES, so a metric that is not in the table does not exist.

Source: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import Metric

from .tally import Tally


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as Prometheus shows it, its type, what it says, and its labels."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


_LOG: Final = ("log",)
_WITNESS: Final = ("log", "witness")
_COUNTER, _GAUGE, _HISTOGRAM = "counter", "gauge", "histogram"
FAMILIES: Final = (
    Family("merklelog_build_info", _GAUGE, "Always 1; the version that runs.", ("version",)),
    Family("merklelog_server_ready", _GAUGE, "Whether /readyz says ready."),
    Family("merklelog_server_logs", _GAUGE, "Logs that are served."),
    Family(
        "merklelog_log_info",
        _GAUGE,
        "Always 1; where HTTP serves the log and what keeps it from forking after a restored backup.",
        ("log", "prefix", "rollback_protection"),
    ),
    Family("merklelog_log_taking_appends", _GAUGE, "0 while the log refuses every append.", _LOG),
    Family("merklelog_log_stopped", _GAUGE, "1 once a failure stopped the log: only a restart helps.", _LOG),
    Family("merklelog_log_size_entries", _GAUGE, "Entries that are durable and in the tree.", _LOG),
    Family(
        "merklelog_log_starting",
        _GAUGE,
        "1 while the log has not compared itself with all of its targets and witnesses: it refuses appends.",
        _LOG,
    ),
    Family("merklelog_log_published_entries", _GAUGE, "Entries that its publish targets show.", _LOG),
    Family(
        "merklelog_log_indexed_entries",
        _GAUGE,
        "Entries that searches find, of a log that is indexed: all it shows, but for what the index lags behind.",
        _LOG,
    ),
    Family("merklelog_log_epoch", _GAUGE, "The epoch that the log took at its start.", _LOG),
    Family("merklelog_log_publication_lag_entries", _GAUGE, "Entries that no target shows yet.", _LOG),
    Family(
        "merklelog_log_publication_lag_seconds",
        _GAUGE,
        "How long the oldest entry that is not published has waited; 0 where all are.",
        _LOG,
    ),
    Family("merklelog_log_publication_interval_seconds", _GAUGE, "publish.interval.", _LOG),
    Family("merklelog_log_publications_total", _COUNTER, "Publications since the start.", _LOG),
    Family(
        "merklelog_log_publication_errors_total",
        _COUNTER,
        "Publications that failed since the start, and are tried again.",
        _LOG,
    ),
    Family(
        "merklelog_log_publication_requests_total",
        _COUNTER,
        "Requests to the publish targets since the start.",
        _LOG,
    ),
    Family("merklelog_log_last_publication_seconds", _GAUGE, "How long the last publication took.", _LOG),
    Family(
        "merklelog_log_appends_total",
        _COUNTER,
        "Appends that commits took: a batch is one, repeats count.",
        _LOG,
    ),
    Family(
        "merklelog_log_witnessed_entries", _GAUGE, "Entries under a checkpoint that meets its policy.", _LOG
    ),
    Family("merklelog_log_witness_lag_entries", _GAUGE, "Entries that no quorum has cosigned yet.", _LOG),
    Family(
        "merklelog_log_witness_lag_seconds",
        _GAUGE,
        "How long the oldest entry that no quorum has cosigned has waited; 0 where all are.",
        _LOG,
    ),
    Family("merklelog_log_witness_up", _GAUGE, "Whether the witness cosigned the last time.", _WITNESS),
    Family(
        "merklelog_log_witness_alarm",
        _GAUGE,
        "1 while the witness says that it has more of the log than the log has, or another tree.",
        _WITNESS,
    ),
    Family(
        "merklelog_log_witness_set_backs_total",
        _COUNTER,
        "Times it had less of the log than it had cosigned: an older copy of it was brought back.",
        _WITNESS,
    ),
    Family(
        "merklelog_log_witness_size_entries", _GAUGE, "The size of what the witness cosigned last.", _WITNESS
    ),
    Family(
        "merklelog_log_witness_cosigned_total", _COUNTER, "Checkpoints it cosigned since the start.", _WITNESS
    ),
    Family(
        "merklelog_log_witness_errors_total",
        _COUNTER,
        "Requests it did not answer so since the start.",
        _WITNESS,
    ),
    Family("merklelog_log_entries_total", _COUNTER, "Entries stored since the start, repeats not.", _LOG),
    Family("merklelog_log_entry_bytes_total", _COUNTER, "Bytes of the entries stored since the start.", _LOG),
    Family("merklelog_log_commit_entries", _HISTOGRAM, "New entries of each commit.", _LOG),
    Family(
        "merklelog_log_commit_stage_seconds",
        _HISTOGRAM,
        "Time of each stage of a commit: plan, hash, sign and write for each; sync and tell for all that one "
        "sync made durable.",
        ("log", "stage"),
    ),
    Family("merklelog_log_queue_requests", _GAUGE, "Appends that wait for a commit to begin.", _LOG),
    Family("merklelog_log_pending_bytes", _GAUGE, "Bytes of appends that are not yet durable.", _LOG),
    Family("merklelog_log_pending_limit_bytes", _GAUGE, "log.max_pending_bytes: beyond it, refused.", _LOG),
    Family("merklelog_log_disk_free_bytes", _GAUGE, "Free bytes on the log's disk.", _LOG),
    Family("merklelog_log_disk_reserve_bytes", _GAUGE, "store.min_free_bytes: below it, refused.", _LOG),
    Family("merklelog_ingest_records_total", _COUNTER, "Records that became entries since the start.", _LOG),
    Family(
        "merklelog_ingest_duplicates_total",
        _COUNTER,
        "Records that were there already, by their ID or their content, and were not stored again.",
        _LOG,
    ),
    Family(
        "merklelog_ingest_conflicts_total",
        _COUNTER,
        "Records stored with the ID of an earlier one and other content.",
        _LOG,
    ),
    Family(
        "merklelog_ingest_split_records_total",
        _COUNTER,
        "Records too long for an entry, stored in several.",
        _LOG,
    ),
    Family(
        "merklelog_ingest_content_hashes_total",
        _COUNTER,
        "Content hashes that were checked, by what was found: ok, mismatch or not checkable.",
        ("log", "verdict"),
    ),
    Family(
        "merklelog_ingest_ids_behind_entries",
        _GAUGE,
        "Entries whose record IDs are not read yet after a start; until they are, records with an ID wait.",
        _LOG,
    ),
    Family(
        "merklelog_requests_total",
        _COUNTER,
        "Requests that ended, by status code: HTTP's number (499: the client left first) or gRPC's name.",
        ("door", "method", "code"),
    ),
    Family("merklelog_request_seconds", _HISTOGRAM, "From request to end of answer.", ("door", "method")),
    Family("merklelog_requests_in_flight", _GAUGE, "Requests and streams under way.", ("door", "method")),
    Family(
        "merklelog_certificate_expiry_timestamp_seconds",
        _GAUGE,
        "When a certificate in use ends, since the epoch.",
        ("certificate",),
    ),
)
_BY_NAME: Final = {family.name: family for family in FAMILIES}


class Sheet:
    """The values of one scrape, by family."""

    def __init__(self) -> None:
        # prometheus_client names a counter without the "_total" that its samples have.
        self._filled = {
            family.name: Metric(family.name.removesuffix("_total"), family.meaning, family.kind)
            for family in FAMILIES
        }

    def put(self, name: str, value: float, *labels: str) -> None:
        """A counter's or gauge's value; label values in the order of the table."""
        self._filled[name].add_sample(name, self._labels(name, labels), float(value))

    def put_tally(self, name: str, tally: Tally, *labels: str) -> None:
        """A histogram: cumulative counts by upper bound, their number and their sum."""
        metric, fixed = self._filled[name], self._labels(name, labels)
        seen = 0
        for bound, count in zip((*map(str, tally.bounds), "+Inf"), tuple(tally.counts), strict=True):
            seen += count
            metric.add_sample(f"{name}_bucket", {**fixed, "le": bound}, seen)
        metric.add_sample(f"{name}_count", fixed, seen)
        metric.add_sample(f"{name}_sum", fixed, tally.total)

    def families(self) -> Iterator[Metric]:
        """Those that have a value."""
        return (metric for metric in self._filled.values() if metric.samples)

    @staticmethod
    def _labels(name: str, values: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(_BY_NAME[name].labels, values, strict=True))
