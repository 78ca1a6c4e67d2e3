"""Any record at all through everything that is done to it on its way in and for a search: nothing is an error."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError
from merklelog.ingest.audit_signal import missing, receipt_in, refusals
from merklelog.ingest.canonical import encode_record
from merklelog.ingest.content_hash import check_content, judge_content
from merklelog.ingest.ids import _record_id
from merklelog.ingest.model import audit_fields, record_id_of
from merklelog.ingest.otlp_protobuf import records_from_protobuf
from merklelog.ingest.protect import Protect
from merklelog.ingest.verdict import Verdict
from merklelog.log.ingest_config import ProtectConfig
from tests.ingest.real_events import cloudtrail_events
from tests.ingest.record_strategies import requests

EVERYTHING = ProtectConfig(drop=("", "a", "body.a"), hmac=("b", "body.b"), key_name="k")
CLAIM = {"key": "audit.content_hash", "value": {"stringValue": "0" * 64}}


@given(requests(broken=True))
def test_any_record(data: bytes) -> None:
    protect = Protect(EVERYTHING, bytes(32))
    for record in records_from_protobuf(data):
        claiming: dict[str, Any] = {**record, "attributes": [*record.get("attributes", []), CLAIM]}
        fields = audit_fields(claiming)
        assert check_content(claiming, fields) in {Verdict.MISMATCH, Verdict.NOT_CHECKABLE}
        assert record_id_of(claiming) == fields.record_id or fields.mapper
        for key in ("audit.record.id", "other"):
            named = {**record, "attributes": [{**each, "key": key} for each in claiming["attributes"][:-1]]}
            assert _record_id(encode_record(named)) == record_id_of(named)
        assert refusals([claiming], "both") is not None or not missing(claiming)
        kept, told = protect.apply(claiming)
        assert (encode_record(kept) == encode_record(claiming)) == (not told)


@given(st.text() | st.sampled_from(cloudtrail_events()).map(lambda text: text.replace('"', "'", 1)))
def test_any_text_as_a_body(text: str) -> None:
    body = {"body": {"stringValue": text}}
    audit_fields(body)
    assert judge_content(body, "0" * 64).verdict is not Verdict.OK


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_an_answer(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        receipt_in(data)
