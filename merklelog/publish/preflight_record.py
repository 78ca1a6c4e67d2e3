"""`DIR/preflight.json`: the preflights of a log's targets, the newest of each, with their dates.

A server that starts trusts it for what can be found out only by writing.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from merklelog.errors import ConfigError, FormatVersionError
from merklelog.publish.files import exclusive, sync_directory, write_all, writing
from merklelog.publish.preflight_report import BY_NAME, PreflightReport
from merklelog.version import __version__

FILE: Final = "preflight.json"
FORMAT: Final = 1
_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PreflightRecord:
    """A preflight as it was written down; `version` is the version of this project that made it."""

    version: str
    report: PreflightReport


class _File(msgspec.Struct, frozen=True):
    format: int
    records: list[PreflightRecord] = []


def write_record(directory: Path, report: PreflightReport) -> Path:
    """Put a whole preflight in the place of the last one of the same target; gives the file's path.

    Raises ConfigError for a file there that is none of these, StorageError.
    """
    path = directory / FILE
    with writing(str(path)), exclusive(directory / f".{FILE}.lock"):
        others = [each for each in _read(path) if not _is_about(each.report, report.target, report.endpoint)]
        made = _File(FORMAT, [*others, PreflightRecord(__version__, report)])
        draft = directory / f".{FILE}.{secrets.token_hex(8)}"
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                write_all(handle, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(directory)
    return path


def read_record(directory: Path, target: str, endpoint: str) -> PreflightRecord | None:
    """The newest preflight of that target at that endpoint, None where there was none.

    `endpoint` is the URL that the client really asks (boto3: `client.meta.endpoint_url`). Raises ConfigError for
    a file that can not be read, FormatVersionError for one of a newer version.
    """
    found = [each for each in _read(directory / FILE) if _is_about(each.report, target, endpoint)]
    return found[-1] if found else None


def missing_probes(record: PreflightRecord) -> list[str]:
    """The probes that this version makes and the record's did not, but for those that are made only at need."""
    there = {finding.probe for finding in record.report.findings}
    return [name for name in BY_NAME if name not in there and name != "encryption"]


def _is_about(report: PreflightReport, target: str, endpoint: str) -> bool:
    return (report.target, report.endpoint) == (target, endpoint)


def _read(path: Path) -> list[PreflightRecord]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT:
            raise FormatVersionError(f"{path}: format {version} is newer than this version reads, {FORMAT}")
        found = msgspec.json.decode(data, type=_File).records
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}; remove it and run `merklelog preflight` again") from error
    # Of probes that this version does not know nothing can be said.
    return [each for each in found if all(f.probe in BY_NAME for f in each.report.findings)]


class _Version(msgspec.Struct, frozen=True):
    format: int
