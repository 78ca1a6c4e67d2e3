"""The metrics of a server: what is counted as it happens, and what a scrape looks up.

Nothing is computed before a scrape. What has to be counted is counted by the tallies of `tally`; the rest (sizes,
what waits, free disk, certificates) is asked for when Prometheus asks. `families` has the whole list.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from merklelog.ingest.intake import Intake
from merklelog.log import Log
from merklelog.log.publishing import PublishStatus
from merklelog.log.witnessing import WitnessingStatus
from merklelog.version import __version__

from .families import Sheet
from .publication import rollback_protection
from .served import ServedLogs, has_targets
from .tally import LogTally, RequestTally, merged


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in use: what it is for ("server", "client CA 1"), and its end in seconds since the epoch."""

    name: str
    not_after: float


class Metrics(Collector):
    """The metrics of one server: tallies for what happens, and a registry that a scrape renders.

    `certificates` and `ready` are asked at each scrape, from a thread of its own.
    """

    def __init__(
        self,
        logs: ServedLogs,
        *,
        certificates: Callable[[], Iterable[Certificate]] = tuple,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._logs = logs
        self._certificates = certificates
        self._ready = ready
        self.indexed: Callable[[], Mapping[str, int]] = dict  # entries of each log that searches find
        self._log_tallies: dict[str, LogTally] = {}
        self._requests: list[RequestTally] = []
        self.intakes: Iterable[Intake] = ()  # those of which there are records to be counted
        self._rendering = Lock()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def log_tally(self, origin: str) -> LogTally:
        """The observer for the log of that origin, for `open_log`; the same for a log that is opened again."""
        return self._log_tallies.setdefault(origin, LogTally())

    def request_tally(self, door: str, method: str) -> RequestTally:
        """A new tally for a method at a door, for one thread alone; those of the same names are added up."""
        tally = RequestTally(door, method)
        self._requests.append(tally)
        return tally

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """All of it as text, and the media type that fits `accept` (Prometheus' text format, or OpenMetrics)."""
        encode, media_type = choose_encoder(accept)
        with self._rendering:  # a scrape behind a slow one waits, so that they do not slow each other down
            return media_type, encode(self.registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family that has a value now."""
        sheet = Sheet()
        sheet.put("merklelog_build_info", 1, __version__)
        sheet.put("merklelog_server_ready", self._ready())
        sheet.put("merklelog_server_logs", len(self._logs))
        for served in self._logs:
            log = served.log
            sheet.put("merklelog_log_info", 1, log.origin, served.prefix, rollback_protection(log))
            for name, value in _gauges(log):
                sheet.put(name, value, log.origin)
            if has_targets(log) and (status := log.publishing) is not None:
                for name, value in _publication(log, status):
                    sheet.put(name, value, log.origin)
            if (witnessing := log.witnessing) is not None:
                _put_witnesses(sheet, log.origin, witnessing)
        for origin, entries in self.indexed().items():
            sheet.put("merklelog_log_indexed_entries", entries, origin)
        for origin, tally in list(self._log_tallies.items()):
            _put_commits(sheet, origin, tally)
        for intake in self.intakes:
            _put_records(sheet, intake)
        _put_requests(sheet, tuple(self._requests))
        for certificate in self._certificates():
            sheet.put(
                "merklelog_certificate_expiry_timestamp_seconds", certificate.not_after, certificate.name
            )
        return sheet.families()


def taking_appends(log: Log) -> bool:
    """Whether an append would not be refused at once: while starting, for want of disk, after a failure."""
    return not log.stopped and not log.starting and free_bytes(log) >= log.config.min_free_bytes


def free_bytes(log: Log) -> int:
    """Free bytes on the log's disk; 0 when the disk does not say, which is how a log would take it too."""
    try:
        stat = os.statvfs(log.path)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize


def _gauges(log: Log) -> Iterator[tuple[str, float]]:
    yield "merklelog_log_size_entries", log.integrated.size
    yield "merklelog_log_stopped", log.stopped
    yield "merklelog_log_starting", log.starting
    yield "merklelog_log_taking_appends", taking_appends(log)
    yield "merklelog_log_disk_free_bytes", free_bytes(log)
    yield "merklelog_log_disk_reserve_bytes", log.config.min_free_bytes
    queued, pending = log.pending
    yield "merklelog_log_queue_requests", queued
    yield "merklelog_log_pending_bytes", pending
    yield "merklelog_log_pending_limit_bytes", log.config.max_pending_bytes


def _put_witnesses(sheet: Sheet, origin: str, status: WitnessingStatus) -> None:
    sheet.put("merklelog_log_witnessed_entries", status.size or 0, origin)
    sheet.put("merklelog_log_witness_lag_entries", status.lag_entries, origin)
    sheet.put("merklelog_log_witness_lag_seconds", status.lag_seconds, origin)
    for each in status.witnesses:
        sheet.put("merklelog_log_witness_up", each.error is None, origin, each.name)
        sheet.put("merklelog_log_witness_alarm", each.alarm, origin, each.name)
        sheet.put("merklelog_log_witness_set_backs_total", each.set_backs, origin, each.name)
        sheet.put("merklelog_log_witness_cosigned_total", each.cosigned, origin, each.name)
        sheet.put("merklelog_log_witness_errors_total", each.failed, origin, each.name)
        if each.size is not None:
            sheet.put("merklelog_log_witness_size_entries", each.size, origin, each.name)


def _publication(log: Log, status: PublishStatus) -> Iterator[tuple[str, float]]:
    yield "merklelog_log_published_entries", log.size
    if status.epoch is not None:
        yield "merklelog_log_epoch", status.epoch
    yield "merklelog_log_publication_lag_entries", status.lag_entries
    yield "merklelog_log_publication_lag_seconds", status.lag_seconds
    yield "merklelog_log_publication_interval_seconds", log.config.publish.interval
    yield "merklelog_log_publications_total", status.publications
    yield "merklelog_log_publication_errors_total", status.failures
    yield "merklelog_log_publication_requests_total", status.requests
    yield "merklelog_log_last_publication_seconds", status.last_seconds


def _put_commits(sheet: Sheet, origin: str, tally: LogTally) -> None:
    sheet.put("merklelog_log_appends_total", tally.requests, origin)
    sheet.put("merklelog_log_entries_total", tally.commit_entries.total, origin)
    sheet.put("merklelog_log_entry_bytes_total", tally.entry_bytes, origin)
    if any(tally.commit_entries.counts):  # hundreds of logs may lie idle: they cost a scrape little
        sheet.put_tally("merklelog_log_commit_entries", tally.commit_entries, origin)
    for stage, seconds in tally.stages.items():
        if any(seconds.counts):
            sheet.put_tally("merklelog_log_commit_stage_seconds", seconds, origin, stage)


def _put_records(sheet: Sheet, intake: Intake) -> None:
    tallies, origin = intake.tallies, intake.origin
    sheet.put("merklelog_ingest_records_total", tallies.records, origin)
    sheet.put("merklelog_ingest_duplicates_total", tallies.duplicates, origin)
    sheet.put("merklelog_ingest_conflicts_total", tallies.conflicts, origin)
    sheet.put("merklelog_ingest_split_records_total", tallies.split, origin)
    sheet.put("merklelog_ingest_ids_behind_entries", intake.behind, origin)
    for verdict, count in tallies.verdicts.items():
        sheet.put("merklelog_ingest_content_hashes_total", count, origin, str(verdict))


def _put_requests(sheet: Sheet, tallies: Iterable[RequestTally]) -> None:
    alike: dict[tuple[str, str], list[RequestTally]] = defaultdict(list)
    for tally in tallies:
        if tally.codes or tally.under_way:  # a front has a tally for every method there is
            alike[tally.door, tally.method].append(tally)
    for (door, method), group in alike.items():
        codes: dict[str, int] = defaultdict(int)
        for tally in group:
            for code, count in tuple(tally.codes.items()):
                codes[str(code)] += count
        for code, count in codes.items():
            sheet.put("merklelog_requests_total", count, door, method, code)
        sheet.put("merklelog_requests_in_flight", sum(each.under_way for each in group), door, method)
        sheet.put_tally("merklelog_request_seconds", merged([each.seconds for each in group]), door, method)
