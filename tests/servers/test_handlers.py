"""Handlers over real logs, without a wire: a message in, a message out, errors as this project's classes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import (
    ClosedError,
    ConflictError,
    EntryError,
    FieldError,
    ForbiddenError,
    LevelError,
    NotFoundError,
    RangeError,
    UnknownLogError,
)
from merklelog.formats import format_vkey, parse_checkpoint
from merklelog.servers.caller import ANYONE, Scope
from merklelog.servers.handlers import METHODS, SERVICE, Handlers
from merklelog.servers.served import ServedLogs
from merklelog.tree import CompactRange, leaf_hash, verify_consistency, verify_inclusion, verify_range
from merklelog.v1 import log_pb2 as pb

ORIGIN, DEDUPING = "handlers.example/plain", "handlers.example/dedupe"
SMALL = {"store.min_free_bytes": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two empty logs, made once: making keys and a database takes its time."""
    path = tmp_path_factory.mktemp("handlers")
    merklelog.create_log(path / "plain", ORIGIN, settings=SMALL)
    merklelog.create_log(path / "dedupe", DEDUPING, settings={**SMALL, "log.dedupe": True})
    return path


@pytest.fixture
def logs(made: Path, tmp_path: Path) -> Iterator[ServedLogs]:
    """A plain log, the only one."""
    served = ServedLogs()
    served.add(merklelog.open(shutil.copytree(made / "plain", tmp_path / "plain")), "/")
    yield served
    served.close()


@pytest.fixture
def two(logs: ServedLogs, made: Path, tmp_path: Path) -> ServedLogs:
    """Also one that dedupes."""
    logs.add(merklelog.open(shutil.copytree(made / "dedupe", tmp_path / "dedupe")), "/two/")
    return logs


def ask(logs: ServedLogs, name: str, request: object, caller: object = ANYONE) -> object:
    """The answer of one unary rpc, or all answers of a stream."""

    async def call() -> object:
        handlers = Handlers(logs)
        answer = getattr(handlers, name)(request, caller)
        if hasattr(answer, "__aiter__"):
            return [each async for each in answer]
        return await answer

    return asyncio.run(call())


def entry(data: bytes = b"x", **more: bytes) -> pb.NewEntry:
    return pb.NewEntry(data=data, **more)


def fill(logs: ServedLogs, count: int) -> list[bytes]:
    entries = [b"entry %d" % i for i in range(count)]
    logs.find(ORIGIN).log.append_batch(entries)
    return entries


def root_of(checkpoint: bytes) -> tuple[int, bytes]:
    parsed = parse_checkpoint(checkpoint).checkpoint
    return parsed.size, parsed.root


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


# --- reading -----------------------------------------------------------------------------------------------------


def test_checkpoints_by_level_and_by_size(logs: ServedLogs) -> None:
    fill(logs, 5)
    log = logs.find("").log
    for request in (
        pb.GetCheckpointRequest(),
        pb.GetCheckpointRequest(level=pb.LEVEL_INTEGRATED),
        pb.GetCheckpointRequest(origin=ORIGIN, tree_size=5),
    ):
        assert ask(logs, "get_checkpoint", request).checkpoint == log.checkpoint()
    assert root_of(ask(logs, "get_checkpoint", pb.GetCheckpointRequest(tree_size=0)).checkpoint)[0] == 0
    with pytest.raises(NotFoundError):
        ask(logs, "get_checkpoint", pb.GetCheckpointRequest(tree_size=3))
    with pytest.raises(RangeError):
        ask(logs, "get_checkpoint", pb.GetCheckpointRequest(tree_size=6))
    with pytest.raises(FieldError, match=r"^level: 9 is no level"):
        ask(logs, "get_checkpoint", pb.GetCheckpointRequest(level=9))


def test_inclusion_proofs_verify_at_every_size(logs: ServedLogs) -> None:
    entries = fill(logs, 260)
    log = logs.find("").log
    for index, size in ((0, 0), (0, 1), (3, 7), (200, 260), (255, 256), (258, 259)):
        request = pb.GetInclusionProofRequest(index=index, tree_size=size)
        answer = ask(logs, "get_inclusion_proof", request)
        assert answer.tree_size == (size or 260)
        assert bool(answer.checkpoint) == (answer.tree_size == 260)
        root = log.root if answer.tree_size == 260 else root_at(entries[: answer.tree_size])
        assert answer.entry.leaf_hash == leaf_hash(entries[index])
        verify_inclusion(leaf_hash(entries[index]), index, answer.tree_size, list(answer.entry.proof), root)


def root_at(entries: list[bytes]) -> bytes:
    grown = CompactRange()
    for data in entries:
        grown = grown.append(leaf_hash(data))
    return grown.root()


BAD_PROOFS = {
    "nothing": (pb.GetInclusionProofRequest(), FieldError),
    "beyond the tree": (pb.GetInclusionProofRequest(index=5), RangeError),
    "beyond the size": (pb.GetInclusionProofRequest(index=3, tree_size=3), RangeError),
    "size beyond": (pb.GetInclusionProofRequest(index=0, tree_size=6), RangeError),
    "huge index": (pb.GetInclusionProofRequest(index=2**64 - 1), RangeError),
    "huge size": (pb.GetInclusionProofRequest(index=0, tree_size=2**64 - 1), FieldError),
    "no lookup": (pb.GetInclusionProofRequest(leaf_hash=b"h" * 32), FieldError),
}


@pytest.mark.parametrize(("request_", "error"), BAD_PROOFS.values(), ids=BAD_PROOFS)
def test_proofs_that_are_not_to_be_had(logs: ServedLogs, request_: object, error: type[Exception]) -> None:
    fill(logs, 5)
    with pytest.raises(error):
        ask(logs, "get_inclusion_proof", request_)


def test_an_empty_log_proves_nothing(logs: ServedLogs) -> None:
    with pytest.raises(RangeError):
        ask(logs, "get_inclusion_proof", pb.GetInclusionProofRequest(index=0))


def test_entries_are_found_by_leaf_hash(two: ServedLogs) -> None:
    log = two.find(DEDUPING).log
    log.append_batch([b"%d" % i for i in range(300)])
    request = pb.GetInclusionProofRequest(origin=DEDUPING, leaf_hash=leaf_hash(b"270"))
    answer = ask(two, "get_inclusion_proof", request)
    assert answer.entry.index == 270
    verify_inclusion(leaf_hash(b"270"), 270, 300, list(answer.entry.proof), log.root)
    many = pb.GetInclusionProofsRequest(origin=DEDUPING, indexes=[1], leaf_hashes=[leaf_hash(b"7")])
    assert [e.index for e in ask(two, "get_inclusion_proofs", many).entries] == [1, 7]
    with pytest.raises(NotFoundError):
        ask(two, "get_inclusion_proof", pb.GetInclusionProofRequest(origin=DEDUPING, leaf_hash=b"h" * 32))
    bad = pb.GetInclusionProofsRequest(origin=DEDUPING, leaf_hashes=[b"short"])
    with pytest.raises(FieldError, match=r"^leaf_hashes\[0\]: 5 bytes: want 32"):
        ask(two, "get_inclusion_proofs", bad)


@pytest.mark.parametrize("count", [3, 400])  # read in the event loop, and in a thread
def test_many_proofs_in_one_call(logs: ServedLogs, count: int) -> None:
    entries = fill(logs, 700)
    indexes = [(i * 37) % 650 for i in range(count)]
    answer = ask(logs, "get_inclusion_proofs", pb.GetInclusionProofsRequest(indexes=indexes, tree_size=650))
    root = root_at(entries[:650])
    assert [e.index for e in answer.entries] == indexes
    for proven in answer.entries:
        assert proven.leaf_hash == leaf_hash(entries[proven.index])
        verify_inclusion(proven.leaf_hash, proven.index, 650, list(proven.proof), root)


@pytest.mark.parametrize(("start", "end", "size"), [(0, 1, 1), (0, 300, 300), (3, 7, 300), (255, 257, 299)])
def test_a_range_is_proven_by_what_stands_beside_it(
    logs: ServedLogs, start: int, end: int, size: int
) -> None:
    entries = fill(logs, 300)
    request = pb.GetInclusionProofsRequest(range_start=start, range_end=end, tree_size=size)
    proof = list(ask(logs, "get_inclusion_proofs", request).range_proof)
    leaves = [leaf_hash(data) for data in entries[start:end]]
    verify_range(leaves, start, size, proof, root_at(entries[:size]))


BAD_RANGES = {
    "nothing": ({}, FieldError),
    "empty": ({"range_start": 3, "range_end": 3}, FieldError),
    "beyond": ({"range_start": 3, "range_end": 6}, RangeError),
    "huge": ({"range_start": 3, "range_end": 2**64 - 1}, RangeError),
    "too many": ({"indexes": [0] * 10_001}, FieldError),
    "index beyond": ({"indexes": [0, 5]}, RangeError),
}


@pytest.mark.parametrize(("fields", "error"), BAD_RANGES.values(), ids=BAD_RANGES)
def test_many_proofs_that_are_not_to_be_had(
    logs: ServedLogs, fields: dict[str, object], error: type[Exception]
) -> None:
    fill(logs, 5)
    with pytest.raises(error):
        ask(logs, "get_inclusion_proofs", pb.GetInclusionProofsRequest(**fields))


def test_consistency_proofs_verify(logs: ServedLogs) -> None:
    entries = fill(logs, 300)
    for old, new in ((0, 0), (1, 2), (7, 300), (256, 299), (300, 0)):
        answer = ask(logs, "get_consistency_proof", pb.GetConsistencyProofRequest(old_size=old, new_size=new))
        size = new or 300
        roots = root_at(entries[:old]), root_at(entries[:size])
        assert answer.new_size == size
        verify_consistency(old, size, *roots, list(answer.proof))
    for old, new in ((8, 7), (0, 301), (2**63 - 1, 0)):
        with pytest.raises(RangeError):
            ask(logs, "get_consistency_proof", pb.GetConsistencyProofRequest(old_size=old, new_size=new))


def test_entries_come_in_order_and_in_parts(logs: ServedLogs) -> None:
    entries = fill(logs, 2500)
    answers = ask(logs, "get_entries", pb.GetEntriesRequest(start=7))
    assert [answer.start for answer in answers] == [7, 7 + 1024, 7 + 2048]
    assert [data for answer in answers for data in answer.entries] == entries[7:]
    some = ask(logs, "get_entries", pb.GetEntriesRequest(start=3, end=5))
    assert [list(answer.entries) for answer in some] == [entries[3:5]]
    assert ask(logs, "get_entries", pb.GetEntriesRequest(start=2500)) == []
    with pytest.raises(FieldError):
        ask(logs, "get_entries", pb.GetEntriesRequest(start=5, end=3))
    for start, end in ((0, 2501), (2501, 0), (2**64 - 1, 0)):
        with pytest.raises(RangeError):
            ask(logs, "get_entries", pb.GetEntriesRequest(start=start, end=end))


def test_large_entries_come_about_a_quarter_of_a_mebibyte_at_a_time(logs: ServedLogs) -> None:
    logs.find("").log.append_batch([bytes(65_535)] * 40)
    answers = ask(logs, "get_entries", pb.GetEntriesRequest())
    assert [len(answer.entries) for answer in answers] == [5] * 8


def test_watches_begin_with_what_is_there_and_go_on(logs: ServedLogs) -> None:
    fill(logs, 2)
    log = logs.find("").log

    async def use() -> None:
        handlers = Handlers(logs)
        heads = handlers.watch_checkpoints(pb.WatchCheckpointsRequest(), ANYONE)
        tail = handlers.watch_entries(pb.WatchEntriesRequest(start=1), ANYONE)
        ahead = handlers.watch_entries(pb.WatchEntriesRequest(start=4), ANYONE)
        assert root_of((await anext(heads)).checkpoint)[0] == 2
        assert list((await anext(tail)).entries) == [b"entry 1"]
        waiting = asyncio.ensure_future(anext(ahead))
        for i in range(2, 6):
            following = asyncio.ensure_future(anext(heads)), asyncio.ensure_future(anext(tail))
            await asyncio.sleep(0)
            await log.append_async(b"entry %d" % i)
            head, entries = await asyncio.gather(*following)
            assert root_of(head.checkpoint)[0] == i + 1
            assert (entries.start, list(entries.entries)) == (i, [b"entry %d" % i])
        first = await waiting
        assert (first.start, first.entries[0]) == (4, b"entry 4")
        ending = [asyncio.ensure_future(anext(each)) for each in (heads, tail)]
        await asyncio.sleep(0)
        handlers.drain()
        for ended in await asyncio.gather(*ending, return_exceptions=True):
            assert isinstance(ended, ClosedError)
        with pytest.raises(ClosedError):
            await anext(handlers.watch_entries(pb.WatchEntriesRequest(start=0), ANYONE))

    asyncio.run(use())


def test_a_log_describes_itself(two: ServedLogs) -> None:
    plain = ask(two, "get_log", pb.GetLogRequest(origin=ORIGIN))
    assert (plain.origin, plain.http_prefix, plain.dedupe, plain.lookup) == (ORIGIN, "/", False, False)
    assert list(plain.verifier_keys) == [format_vkey(key) for key in two.find(ORIGIN).log.vkeys]
    assert [(size.level, size.tree_size) for size in plain.sizes] == [(pb.LEVEL_INTEGRATED, 0)]
    assert (plain.limits.max_entry_bytes, plain.limits.max_batch_entries) == (65_535, 10_000)
    other = ask(two, "get_log", pb.GetLogRequest(origin=DEDUPING))
    assert (other.http_prefix, other.dedupe, other.lookup) == ("/two/", True, True)


# --- which log, and who asks -------------------------------------------------------------------------------------


def test_of_several_logs_a_request_names_one(two: ServedLogs) -> None:
    assert ask(two, "append", pb.AppendRequest(origin=DEDUPING, entry=entry())).entry.index == 0
    assert two.find(ORIGIN).log.size == 0
    for origin in ("", "handlers.example/other"):
        with pytest.raises(UnknownLogError):
            ask(two, "append", pb.AppendRequest(origin=origin, entry=entry()))


@dataclass(frozen=True)
class Reader:
    """May read one log, and nothing else."""

    name: str = "reader"

    def may(self, scope: Scope, origin: str) -> bool:
        return scope == Scope.READ and origin == ORIGIN


@pytest.mark.parametrize("origin", [ORIGIN, ""])
def test_a_caller_does_what_it_may(logs: ServedLogs, origin: str) -> None:
    assert ask(logs, "get_log", pb.GetLogRequest(origin=origin), Reader()).origin == ORIGIN
    with pytest.raises(ForbiddenError, match="reader may not append"):
        ask(logs, "append", pb.AppendRequest(origin=origin, entry=entry()), Reader())
    with pytest.raises(ForbiddenError):  # before it learns that there is no such log
        ask(logs, "get_log", pb.GetLogRequest(origin="handlers.example/secret"), Reader())


def test_idempotency_keys_belong_to_their_caller(logs: ServedLogs) -> None:
    @dataclass(frozen=True)
    class Writer:
        name: str

        def may(self, scope: Scope, origin: str) -> bool:
            return True

    request = pb.AppendRequest(entry=entry(b"a", idempotency_key=b"k"))
    assert [ask(logs, "append", request, Writer(name)).entry.index for name in ("a", "b", "a")] == [0, 1, 0]
