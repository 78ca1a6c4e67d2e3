"""Fuzz targets for what comes in beside the C2SP formats: configurations, objects of a publish target, packs, the
records of RocksDB's files, heads of HTTP, addresses. What a target is stands in `targets.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from hashlib import sha256

from merklelog.cli.settings import parse_setting
from merklelog.client.access import split_url
from merklelog.cosign.http import parse_url
from merklelog.errors import UsageError
from merklelog.ingest import times
from merklelog.log.config import format_config, parse_config
from merklelog.pack import layout, statement
from merklelog.pack.archive import Archive
from merklelog.pack.fold import Beside
from merklelog.pack.zipped import ZipWriter
from merklelog.protocol.publication import EpochHead, TreeHead
from merklelog.publish import partitions_layout, partitions_lines, pointer, s3_options, staging
from merklelog.publish.encoding import parse_bundle_encoding
from merklelog.publish.layout import parse_staging_key, staging_key
from merklelog.publish.partitions_layout import Closing, Part, Partitioning, PartitionState, period_at
from merklelog.servers.grpc_wire import parse_timeout
from merklelog.servers.http_wishes import RefusedError
from merklelog.servers.lean_head import HeadLimits, parse_head
from merklelog.tree import Hash

ROOT = Hash(bytes(range(32)))
HEAD = EpochHead(3, 1000, 1256, ROOT, "0123456789abcdef" * 2)
DAY = period_at(Partitioning.DAILY, 1_700_000_000)
LIMITS = HeadLimits(head_bytes=4_096, fields=10)


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def configuration(data: bytes) -> None:
    parsed = parse_config(text(data), {})
    assert parse_config(format_config({"log.origin": parsed.origin}), {}).origin == parsed.origin


def setting(data: bytes) -> None:
    name, _ = parse_setting(text(data), {"log.origin": "--origin"})
    assert text(data).startswith(f"{name}=")


def copy_head(data: bytes) -> None:
    assert pointer.format_head(pointer.parse_head(data)) == data


def staged(data: bytes) -> None:
    parsed = staging.parse_staging(data)
    lengths = [(key, len(content)) for key, content in parsed.objects.items()]
    again = staging.format_staging(
        parsed.origin, TreeHead(parsed.size, parsed.root), lengths, parsed.objects.values()
    )
    assert staging.parse_staging(again) == parsed


def staged_name(data: bytes) -> None:
    assert staging_key(*parse_staging_key(text(data))) == text(data)


def partition_lines(data: bytes) -> None:
    entries, _ = partitions_lines.parse_lines(data, 7)
    assert partitions_lines.format_lines(7, entries) == data


def partition_state(data: bytes) -> None:
    assert partitions_layout.format_state(partitions_layout.parse_state(data)) == data


def partition_name(data: bytes) -> None:
    assert partitions_layout.parse_part_key(text(data)).key == text(data)


def bundle_encoding(data: bytes) -> None:
    assert parse_bundle_encoding(text(data)).value == text(data)


def s3_url(data: bytes) -> None:
    found = s3_options.parse_s3_url(text(data))
    assert s3_options.parse_s3_url(f"s3://{found.bucket}/{found.prefix}") == found


def web_url(data: bytes) -> None:
    assert split_url(text(data), ("http", "https"), prefix=True).hostname


def witness_url(data: bytes) -> None:
    assert parse_url(text(data), "url").hostname


def http_head(data: bytes) -> None:
    try:
        parsed = parse_head(data, LIMITS)
    except RefusedError as error:  # the one error there that is not the log's: it has a status instead
        raise UsageError(str(error)) from None
    assert parsed.length is None or parsed.length >= 0
    assert len(parsed.fields) <= LIMITS.fields


def grpc_timeout(data: bytes) -> None:
    assert parse_timeout(data) >= 0


def pack_statement(data: bytes) -> None:
    assert statement.format_statement(statement.parse_statement(data)) == data


def pack_entries(data: bytes) -> None:
    lines, lengths = layout.names_at(0)
    assert len(layout.parse_entries(lengths if data[:1] == b"\0" else lines, data, 3)) == 3


def pack_archive(data: bytes) -> None:
    archive = Archive(io.BytesIO(data))
    names = list(archive.names())
    read = [(member.name, archive.read(member, 5_000)) for member in archive.members()]
    assert [name for name, _ in read] == names


def event_time(data: bytes) -> None:
    if (found := times.parse_time(data.decode("utf-8", "replace"))) is None:
        raise UsageError("no time")  # which is its answer, and no error
    assert found > 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    "configuration": configuration,
    "setting": setting,
    "copy_head": copy_head,
    "staged": staged,
    "staged_name": staged_name,
    "partition_lines": partition_lines,
    "partition_state": partition_state,
    "partition_name": partition_name,
    "bundle_encoding": bundle_encoding,
    "s3_url": s3_url,
    "web_url": web_url,
    "witness_url": witness_url,
    "http_head": http_head,
    "grpc_timeout": grpc_timeout,
    "pack_statement": pack_statement,
    "pack_entries": pack_entries,
    "pack_archive": pack_archive,
    "event_time": event_time,
}


def _archive() -> bytes:
    made = io.BytesIO()
    packer = ZipWriter(made.write)
    for name, content in (("README.txt", b"words"), ("entries/0.txt", b"a\nb\nc\n" * 50)):
        packer.add(name, content)
    packer.close()
    return made.getvalue()


STATE = PartitionState("example.com/log", 5, DAY, Closing(period_at(Partitioning.DAILY, 1_600_000_000), 9))
STATEMENT = statement.Statement(100, 1100, ROOT, Beside((ROOT,), (ROOT, Hash(sha256(b"").digest()))))
SEEDS: dict[str, list[bytes]] = {
    "configuration": [
        b'[log]\norigin = "example.com/log"\n',
        b'[log]\norigin = "a.example/b"\ndedupe = true\n[publish]\ntargets = ["dir:/a"]\n',
    ],
    "setting": [b"log.dedupe=true", b'publish.targets=["dir:/a", "dir:/b"]', b"store.min_free_bytes=0"],
    "copy_head": [pointer.format_head(HEAD)],
    "staged": [staging.format_staging("a", TreeHead(2, ROOT), [("tile/0/000.p/2", 64)], [bytes(64)])],
    "staged_name": [staging_key(1256, ROOT).encode()],
    "partition_lines": [partitions_lines.format_lines(7, [b"{}", b"\xff\0", "é\n".encode()])],
    "partition_state": [partitions_layout.format_state(STATE)],
    "partition_name": [Part(DAY, 0, 300, ROOT).key.encode()],
    "bundle_encoding": [b"gzip", b"identity"],
    "s3_url": [b"s3://audit-bucket/trail", b"s3://abc", b"s3://a.b-c/d/e=f"],
    "web_url": [b"https://example.com:8080/log/", b"http://[::1]:7080"],
    "witness_url": [b"https://witness.example/w", b"http://127.0.0.1:7081"],
    "http_head": [
        b"POST /add HTTP/1.1\r\nHost: a:7080\r\nContent-Length: 5\r\nExpect: 100-continue",
        b"GET http://a/tile/0/000?x=%41 HTTP/1.1\r\nhost: a\r\nConnection: close",
        b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
    ],
    "grpc_timeout": [b"1S", b"99999999H", b"20m"],
    "pack_statement": [statement.format_statement(STATEMENT)],
    "pack_entries": [b"a\nb\nc\n", b"\0\0\0\1b\0\2cc"],
    "pack_archive": [_archive()],
    "event_time": [b"2026-11-22T03:00:00.123456789+01:00", b"1700000000", b"2016-12-31 23:59:60Z"],
}
