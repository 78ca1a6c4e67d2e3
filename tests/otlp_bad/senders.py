"""Senders of what should not be sent: requests by hand over HTTP and gRPC, and the bodies to send."""

from __future__ import annotations

import http.client
import zlib
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from tests.support.otlp_server import Receiver
from tests.support.programs import SECONDS

PROTOBUF, JSON = "application/x-protobuf", "application/json"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


@dataclass(frozen=True)
class Told:
    """HTTP's status or gRPC's code, what it says, and after how many seconds to try again, if it says so."""

    code: int
    message: str
    retry_after: float | None = None


def told_by(status: bytes, code: int) -> Told:
    """Of the bytes of a google.rpc.Status."""
    parsed = status_pb2.Status.FromString(status)
    delay = error_details_pb2.RetryInfo()
    found = [each for each in parsed.details if each.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    for each in found:
        each.Unpack(delay)
    seconds = delay.retry_delay.seconds + delay.retry_delay.nanos / 1e9
    return Told(code, parsed.message, seconds if found else None)


class Senders:
    """One HTTP connection and one gRPC channel to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        host, _, port = receiver.addresses["otlp_http"].rpartition(":")
        self._http = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self.channel: Any = grpc.insecure_channel(receiver.addresses["otlp_grpc"], options=own)

    def close(self) -> None:
        self._http.close()
        self.channel.close()

    def post(
        self, body: bytes, kind: str | None = PROTOBUF, encoding: str = "", *, path: str = "/v1/logs"
    ) -> Told:
        """A POST, and its answer, which must be in the request's own encoding."""
        headers = {"Content-Type": kind} if kind is not None else {}
        if encoding:
            headers["Content-Encoding"] = encoding
        try:
            self._http.request("POST", path, body, headers)
            answer = self._http.getresponse()
            data = answer.read()
        finally:
            self._http.close()  # the next one may be asked for long after: a server ends what is idle
        said = answer.getheader("Content-Type", "")
        retry = answer.getheader("Retry-After")
        if answer.status == 200:
            assert (said, data) == ((JSON, b"{}") if kind == JSON else (PROTOBUF, b""))
            return Told(200, "")
        if kind == PROTOBUF:
            assert said == PROTOBUF, (answer.status, data)
            return Told(answer.status, told_by(data, 0).message, float(retry) if retry else None)
        assert said == JSON, (answer.status, data)
        return Told(answer.status, msgspec.json.decode(data)["message"], float(retry) if retry else None)

    def call(self, message: bytes, path: str = EXPORT, compression: Any = None) -> Told:
        """An rpc with this message; code 0 when it was taken."""
        method = self.channel.unary_unary(path)
        try:
            answer = method(message, timeout=SECONDS, compression=compression)
        except grpc.RpcError as error:
            refused: Any = error
            trailers = dict(refused.trailing_metadata() or ())
            code = refused.code().value[0]
            status = trailers.get("grpc-status-details-bin", b"")
            return told_by(status, code) if status else Told(code, refused.details() or "")
        assert answer == b""
        return Told(0, "")


def request(*records: LogRecord) -> ExportLogsServiceRequest:
    """An export request of these records."""
    scope = ScopeLogs(log_records=records)
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[scope])])


def named(name: str, **fields: Any) -> LogRecord:
    """A record that is found again by its event name."""
    return LogRecord(event_name=name, **fields)


def raw_request(*records: bytes) -> bytes:
    """An export request of records that are bytes already: what no parser would let one write."""
    return field(1, field(2, b"".join(field(2, each) for each in records)))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes on protobuf's wire."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number on protobuf's wire."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def nested(depth: int) -> bytes:
    """The bytes of an AnyValue: arrays of one, `depth` within each other, a string in the last."""
    value = field(1, b"deep")
    for _ in range(depth):
        value = field(5, field(1, value))
    return value


def gzip_bomb(megabytes: int) -> bytes:
    """gzip of so many MiB of zeros, but for its end: the same block of deflate again and again."""
    engine = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    head = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    block = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1) + engine.flush()


def zstd_bomb(megabytes: int) -> bytes:
    """zstd of so many MiB of zeros: a frame of blocks that repeat one byte 128 KiB long (RFC 8878, 3.1.1.2)."""
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x58"  # no checksum, no size; a window of 2 MiB
    size = 1 << 17
    block, last = ((size << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return frame + block * (8 * megabytes - 1) + last


def value(text: str) -> AnyValue:
    return AnyValue(string_value=text)


def attribute(key: str, text: str) -> KeyValue:
    return KeyValue(key=key, value=value(text))


__all__ = [
    "EXPORT",
    "JSON",
    "PROTOBUF",
    "Senders",
    "Told",
    "attribute",
    "field",
    "gzip_bomb",
    "named",
    "nested",
    "raw_request",
    "request",
    "value",
    "varint",
    "zstd_bomb",
]
