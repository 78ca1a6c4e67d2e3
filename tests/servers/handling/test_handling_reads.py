"""Checkpoints, proofs, entries and watches: a message in, a message out; and who may ask for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from merklelog.errors import (
    ClosedError,
    FieldError,
    ForbiddenError,
    NotFoundError,
    RangeError,
    UnknownLogError,
)
from merklelog.formats import format_vkey
from merklelog.servers.caller import ANYONE, Scope
from merklelog.servers.handlers import Handlers
from merklelog.servers.served import ServedLogs
from merklelog.tree import CompactRange, leaf_hash, verify_consistency, verify_inclusion, verify_range
from merklelog.v1 import log_pb2 as pb
from tests.servers.handling.conftest import DEDUPING, ORIGIN, ask, entry, fill, root_of

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
