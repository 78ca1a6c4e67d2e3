"""Appends, batches and streams of them: a message in, a message out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from merklelog.errors import (
    ClosedError,
    ConflictError,
    EntryError,
    FieldError,
    LevelError,
)
from merklelog.servers.caller import ANYONE
from merklelog.servers.handlers import METHODS, SERVICE, Handlers
from merklelog.servers.served import ServedLogs
from merklelog.tree import leaf_hash, verify_inclusion
from merklelog.v1 import log_pb2 as pb
from tests.servers.handling.conftest import DEDUPING, ask, entry, fill, root_of

# --- the table ---------------------------------------------------------------------------------------------------


def test_every_rpc_has_a_handler() -> None:
    assert [m.path for m in METHODS] == [
        f"/{SERVICE}/{m.name}" for m in pb.DESCRIPTOR.services_by_name["LogService"].methods
    ]
    for method in METHODS:
        assert callable(getattr(Handlers, method.attribute)), method.path
    stream = next(m for m in METHODS if m.path.endswith("/AppendStream"))
    assert (stream.client_streaming, stream.server_streaming) == (True, True)
    assert (stream.request, stream.response) == (pb.AppendStreamRequest, pb.AppendStreamResponse)


# --- appending ---------------------------------------------------------------------------------------------------


def test_append_answers_with_as_much_as_was_asked(logs: ServedLogs) -> None:
    plain = ask(logs, "append", pb.AppendRequest(entry=entry(b"a")))
    assert (plain.entry.index, plain.tree_size, plain.level) == (0, 1, pb.LEVEL_INTEGRATED)
    assert plain.entry.leaf_hash == leaf_hash(b"a")
    assert (plain.signed_note, list(plain.entry.proof)) == (b"", [])
    noted = ask(logs, "append", pb.AppendRequest(entry=entry(b"b"), detail=pb.DETAIL_CHECKPOINT))
    assert root_of(noted.signed_note)[0] == noted.tree_size == 2
    assert not noted.entry.proof
    full = ask(logs, "append", pb.AppendRequest(entry=entry(b"c"), detail=pb.DETAIL_PROOF))
    size, root = root_of(full.signed_note)
    verify_inclusion(leaf_hash(b"c"), full.entry.index, size, list(full.entry.proof), root)


def test_an_empty_entry_is_one_and_a_missing_one_is_not(logs: ServedLogs) -> None:
    assert ask(logs, "append", pb.AppendRequest(entry=entry(b""))).entry.leaf_hash == leaf_hash(b"")
    with pytest.raises(FieldError, match=r"^entry: missing"):
        ask(logs, "append", pb.AppendRequest())


def test_append_keeps_idempotency_keys(logs: ServedLogs) -> None:
    request = pb.AppendRequest(entry=entry(b"a", idempotency_key=b"k"))
    assert [ask(logs, "append", request).entry.index for _ in range(2)] == [0, 0]
    with pytest.raises(ConflictError):
        ask(logs, "append", pb.AppendRequest(entry=entry(b"b", idempotency_key=b"k")))


def test_a_batch_is_contiguous_and_says_so_briefly(logs: ServedLogs) -> None:
    fill(logs, 3)
    request = pb.AppendBatchRequest(entries=[entry(b"%d" % i) for i in range(1000)])
    answer = ask(logs, "append_batch", request)
    assert (answer.first_index, answer.count, answer.tree_size, len(answer.entries)) == (3, 1000, 1003, 0)
    assert logs.find("").log.entry(1002) == b"999"


def test_a_batch_carries_proofs_that_verify(logs: ServedLogs) -> None:
    fill(logs, 300)
    data = [b"%d" % i for i in range(20)]
    request = pb.AppendBatchRequest(entries=[entry(each) for each in data], detail=pb.DETAIL_PROOF)
    answer = ask(logs, "append_batch", request)
    size, root = root_of(answer.signed_note)
    assert [each.index for each in answer.entries] == list(range(300, 320))
    for each, text in zip(answer.entries, data, strict=True):
        assert each.leaf_hash == leaf_hash(text)
        verify_inclusion(leaf_hash(text), each.index, size, list(each.proof), root)


def test_a_batch_with_repeats_names_each_index(two: ServedLogs) -> None:
    batch = [entry(b"a"), entry(b"b"), entry(b"a")]
    answer = ask(two, "append_batch", pb.AppendBatchRequest(origin=DEDUPING, entries=batch))
    assert [each.index for each in answer.entries] == [0, 1, 0]
    assert [each.leaf_hash for each in answer.entries] == [leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"a")]
    same = entry(b"other bytes", identity=leaf_hash(b"a"))
    again = pb.AppendBatchRequest(origin=DEDUPING, entries=[same, entry(b"c", idempotency_key=b"k")])
    assert [each.index for each in ask(two, "append_batch", again).entries] == [0, 2]


def test_a_batch_has_a_key_of_its_own(logs: ServedLogs) -> None:
    request = pb.AppendBatchRequest(entries=[entry(b"a"), entry(b"b")], idempotency_key=b"k")
    assert [ask(logs, "append_batch", request).first_index for _ in range(2)] == [0, 0]
    assert logs.find("").log.size == 2


LONG = b"x" * 65_536
BAD_APPENDS = {
    "no entries": (pb.AppendBatchRequest(), "entries"),
    "too many": (pb.AppendBatchRequest(entries=[entry()] * 10_001), "entries"),
    "long entry": (pb.AppendBatchRequest(entries=[entry(), entry(LONG)]), "entries[1].data"),
    "long key": (pb.AppendBatchRequest(entries=[entry()], idempotency_key=b"k" * 129), "idempotency_key"),
    "long entry key": (
        pb.AppendBatchRequest(entries=[entry(idempotency_key=b"k" * 129)]),
        "entries[0].idempotency_key",
    ),
    "two kinds of key": (
        pb.AppendBatchRequest(entries=[entry(idempotency_key=b"k")], idempotency_key=b"k"),
        "idempotency_key",
    ),
    "identity": (pb.AppendBatchRequest(entries=[entry(identity=b"i" * 32)]), "entries[0].identity"),
    "level": (pb.AppendBatchRequest(entries=[entry()], wait=7), "wait"),
    "detail": (pb.AppendBatchRequest(entries=[entry()], detail=9), "detail"),
    "one long entry": (pb.AppendRequest(entry=entry(LONG)), "entry.data"),
    "one long key": (pb.AppendRequest(entry=entry(idempotency_key=b"k" * 129)), "entry.idempotency_key"),
    "one identity": (pb.AppendRequest(entry=entry(identity=b"i" * 32)), "entry.identity"),
}


@pytest.mark.parametrize(("request_", "field"), BAD_APPENDS.values(), ids=BAD_APPENDS)
def test_what_can_not_be_appended_names_its_field(logs: ServedLogs, request_: object, field: str) -> None:
    name = "append" if isinstance(request_, pb.AppendRequest) else "append_batch"
    with pytest.raises(FieldError) as caught:
        ask(logs, name, request_)
    assert caught.value.field == field
    assert logs.find("").log.size == 0


def test_an_identity_has_32_bytes(two: ServedLogs) -> None:
    with pytest.raises(FieldError, match=r"^entry\.identity: 31 bytes: want 32"):
        ask(two, "append", pb.AppendRequest(origin=DEDUPING, entry=entry(identity=b"i" * 31)))


@pytest.mark.parametrize("level", [pb.LEVEL_PUBLISHED, pb.LEVEL_WITNESSED])
def test_a_level_that_the_log_has_not_is_refused(logs: ServedLogs, level: pb.Level) -> None:
    for name, request in (
        ("append", pb.AppendRequest(entry=entry(), wait=level)),
        ("get_checkpoint", pb.GetCheckpointRequest(level=level)),
        ("watch_checkpoints", pb.WatchCheckpointsRequest(level=level)),
    ):
        with pytest.raises(LevelError, match="this log has no"):
            ask(logs, name, request)
    assert logs.find("").log.size == 0


# --- the stream --------------------------------------------------------------------------------------------------


async def each(requests: list[pb.AppendStreamRequest]) -> AsyncIterator[pb.AppendStreamRequest]:
    for request in requests:
        yield request


def stream(logs: ServedLogs, requests: list[pb.AppendStreamRequest]) -> list[pb.AppendStreamResponse]:
    return ask(logs, "append_stream", each(requests))


def one(data: bytes, **more: object) -> pb.AppendStreamRequest:
    return pb.AppendStreamRequest(entries=[entry(data)], **more)


def test_a_stream_is_answered_in_order(logs: ServedLogs) -> None:
    answers = stream(logs, [one(b"%d" % i, detail=pb.DETAIL_CHECKPOINT) for i in range(3000)])
    appended = [(a.first_index, a.count) for answer in answers for a in answer.appended]
    assert appended == [(i, 1) for i in range(3000)]
    assert len(answers) < 3000, "what is stored together is answered together"
    for answer in answers:
        assert root_of(answer.signed_note)[0] == answer.tree_size > answer.appended[-1].first_index
    log = logs.find("").log
    assert list(log.entries(0, 3000)) == [b"%d" % i for i in range(3000)]


def test_a_stream_takes_batches_and_repeats(two: ServedLogs) -> None:
    first = pb.AppendStreamRequest(origin=DEDUPING, entries=[entry(b"a"), entry(b"b")])
    answers = stream(two, [first, pb.AppendStreamRequest(entries=[entry(b"b"), entry(b"a")]), one(b"c")])
    appended = [a for answer in answers for a in answer.appended]
    assert [(a.first_index, a.count, list(a.indexes)) for a in appended] == [
        (0, 2, []),
        (1, 2, [1, 0]),
        (2, 1, []),
    ]


def test_an_empty_stream_has_no_answers(logs: ServedLogs) -> None:
    assert stream(logs, []) == []


def test_an_error_ends_a_stream_behind_the_answers_before_it(logs: ServedLogs) -> None:
    requests = [one(b"a"), one(b"b"), one(LONG), one(b"never")]

    async def use() -> list[int]:
        indexes: list[int] = []

        async def collect() -> None:
            async for answer in Handlers(logs).append_stream(each(requests), ANYONE):
                indexes.extend(a.first_index for a in answer.appended)

        with pytest.raises(FieldError, match=r"^entries\[0\]\.data"):
            await collect()
        return indexes

    assert asyncio.run(use()) == [0, 1]
    assert logs.find("").log.size == 2


def test_a_stream_gives_no_proofs(logs: ServedLogs) -> None:
    with pytest.raises(FieldError, match=r"^detail: 3 is not to be had here"):
        stream(logs, [one(b"a", detail=pb.DETAIL_PROOF)])


def test_a_client_that_breaks_off_leaves_no_loose_ends(logs: ServedLogs) -> None:
    async def broken() -> AsyncIterator[pb.AppendStreamRequest]:
        yield one(b"a")
        yield one(b"b")
        raise EntryError("the wire broke")

    async def use() -> None:
        answers = Handlers(logs).append_stream(broken(), ANYONE)
        with pytest.raises(EntryError, match="the wire broke"):
            [answer async for answer in answers]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(use())
    assert logs.find("").log.size == 2


def test_draining_answers_what_was_read_and_ends_the_stream(logs: ServedLogs) -> None:
    async def endless() -> AsyncIterator[pb.AppendStreamRequest]:
        yield one(b"a")
        await asyncio.Event().wait()

    async def use() -> None:
        handlers = Handlers(logs)
        answers = handlers.append_stream(endless(), ANYONE)
        assert (await anext(answers)).appended[0].first_index == 0
        handlers.drain()
        with pytest.raises(ClosedError):
            await anext(answers)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(use())
