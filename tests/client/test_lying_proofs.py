"""A server that lies in proofs, entries, appends and tiles is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merklelog
from merklelog.client.retry import Retry
from merklelog.errors import (
    DamagedError,
    ForkError,
    ProofError,
    UnavailableError,
)
from merklelog.v1 import log_pb2 as pb
from tests.client.lying_server import (
    ONCE,
    ORIGIN,
    SHARED,
    TRUE,
    GrpcLiar,
    HttpLiar,
    Lie,
    World,
    caught,
    copy_log,
)

# --- proofs and entries over gRPC -----------------------------------------------------------------------------


def changed(field: str, change: Callable[[list[bytes]], list[bytes]]) -> Lie:
    def lie(_request: Any, answer: Any) -> Any:
        target = answer.entries[0] if field == "proof" and hasattr(answer, "range_proof") else answer
        hashes = getattr(target, field)
        instead = change(list(hashes))
        del hashes[:]
        hashes.extend(instead)
        return answer

    return lie


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "truncated": lambda hashes: hashes[:-1],
    "swapped": lambda hashes: [hashes[1], hashes[0], *hashes[2:]],
    "longer": lambda hashes: [*hashes, hashes[0]],
    "empty": lambda _: [],
    "changed": lambda hashes: [*hashes[:-1], bytes([hashes[-1][0] ^ 1]) + hashes[-1][1:]],
    "cut": lambda hashes: [*hashes[:-1], hashes[-1][:-1]],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_proof_with_something_done_to_it(
    name: str, grpc_liar: GrpcLiar, grpc_world: World, tmp_path: Path
) -> None:
    liar, keys = grpc_liar, grpc_world.keys
    liar.lies["GetInclusionProofs"] = changed("proof", CHANGES[name])
    caught(liar, keys, ProofError, "prove", 77)
    liar.lies["GetInclusionProofs"] = changed("range_proof", CHANGES[name])
    caught(liar, keys, ProofError, "entry", 77)
    liar.lies.clear()
    liar.lies["GetConsistencyProof"] = changed("proof", CHANGES[name])
    caught(liar, keys, ProofError, "consistency", 300, 512)
    (tmp_path / "state").write_bytes(grpc_world.note300)
    caught(liar, keys, ProofError, "checkpoint", state=tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == grpc_world.note300


def test_another_entry_than_was_asked_for(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    liar, keys = grpc_liar, grpc_world.keys

    def shift(_: Any, answer: Any) -> Any:
        answer.entries[0].index += 1
        return answer

    liar.lies["GetInclusionProofs"] = shift
    caught(liar, keys, ProofError, "prove", 77)
    liar.lies.clear()

    def from_elsewhere(_: Any, answer: Any) -> Any:
        answer.start += 1
        return answer

    changes: dict[str, Lie] = {
        "from elsewhere": from_elsewhere,
        "none": lambda _, answer: pb.GetEntriesResponse(start=answer.start),
        "another": lambda _, answer: pb.GetEntriesResponse(start=answer.start, entries=[b"another"]),
        "a byte": lambda _, a: pb.GetEntriesResponse(start=a.start, entries=[a.entries[0][:-1] + b"!"]),
        "shorter": lambda _, answer: pb.GetEntriesResponse(
            start=answer.start, entries=[answer.entries[0][:-1]]
        ),
    }
    for lie in changes.values():
        liar.lies["GetEntries"] = lie
        caught(liar, keys, ProofError, "entry", 77)


def test_entries_of_a_range_in_another_order(grpc_liar: GrpcLiar, grpc_world: World) -> None:
    def swapped(_: Any, answer: Any) -> Any:
        entries = list(answer.entries)
        entries[3], entries[4] = entries[4], entries[3]
        return pb.GetEntriesResponse(start=answer.start, entries=entries)

    grpc_liar.lies["GetEntries"] = swapped
    with (
        merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client,
        pytest.raises(ProofError),
    ):
        list(client.entries())
    grpc_liar.lies.clear()
    with merklelog.connect(grpc_liar.url, grpc_world.keys, retry=ONCE) as client:
        assert list(client.entries()) == SHARED + TRUE


def test_an_append_that_was_not_stored_as_it_says(
    grpc_liar: GrpcLiar, start_grpc: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        before = log.append_batch([b"before %d" % i for i in range(5)]).checkpoint
    liar = grpc_liar
    liar.point(start_grpc(path).url)

    def with_index(_: Any, answer: Any) -> Any:
        answer.entry.index -= 1
        return answer

    def far(_: Any, answer: Any) -> Any:
        answer.entry.index = 2**64 - 1
        return answer

    def without_note(_: Any, answer: Any) -> Any:
        answer.signed_note = b""
        return answer

    def old_note(_: Any, answer: Any) -> Any:
        answer.signed_note = before
        return answer

    def cut(_: Any, answer: Any) -> Any:
        del answer.entry.proof[-1:]
        return answer

    for lie in (with_index, far, without_note, old_note, cut):
        liar.lies["Append"] = lie
        caught(liar, keys, ProofError, "append", b"entry")
    liar.lies.clear()

    def another_place(_: Any, answer: Any) -> Any:
        answer.first_index -= 1
        return answer

    def permuted(_: Any, answer: Any) -> Any:
        first = answer.first_index
        for index in (first + 1, first):
            answer.entries.add(index=index)
        return answer

    def one_missing(_: Any, answer: Any) -> Any:
        answer.entries.add(index=answer.first_index)
        return answer

    for lie in (another_place, permuted, one_missing, without_note, old_note):
        liar.lies["AppendBatch"] = lie
        caught(liar, keys, ProofError, "append_batch", [b"one", b"two"])


def test_a_fork_comes_out_of_an_append_too(
    grpc_liar: GrpcLiar, start_grpc: Callable[..., Any], tmp_path: Path
) -> None:
    """An append to the other history: its own proof tells where it forks there, else one question more."""
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch([b"%d" % i for i in range(5)])
    fork = copy_log(path, tmp_path / "fork")
    for place, entry in ((path, b"a"), (fork, b"b")):
        with merklelog.open(place) as log:
            log.append(entry)
    true, false = start_grpc(path).url, start_grpc(fork).url
    for method, words in (("append", b"x"), ("append_batch", [b"x", b"y"])):
        grpc_liar.point(true)
        with merklelog.connect(grpc_liar.url, keys, retry=ONCE) as client:
            note = client.checkpoint().note
            grpc_liar.point(false)
            with pytest.raises(ForkError) as error:
                getattr(client, method)(words)
            assert error.value.first == note
            assert client.trusted is not None
            assert client.trusted.note == note


# --- tiles over HTTP ------------------------------------------------------------------------------------------


FLIPPED: dict[str, Lie] = {
    "first byte": lambda _, body: bytes([body[0] ^ 1]) + body[1:],
    "last byte": lambda _, body: body[:-1] + bytes([body[-1] ^ 1]),
    "truncated": lambda _, body: body[:-1],
    "longer": lambda _, body: body + b"x",
    "empty": lambda *_: b"",
}


@pytest.mark.parametrize("name", FLIPPED)
@pytest.mark.parametrize(
    ("path", "method", "word"),
    [
        ("/tile/entries/000", "entry", 5),
        ("/tile/entries/001", "entry", 300),
        ("/tile/0/000", "prove", 5),
        ("/tile/0/001", "prove", 300),
        ("/tile/1/000.p/2", "prove", 5),
    ],
)
def test_a_tile_or_bundle_with_something_done_to_it(
    name: str, path: str, method: str, word: int, http_liar: HttpLiar, http_world: World
) -> None:
    http_liar.lies[path] = FLIPPED[name]
    error = caught(http_liar, http_world.keys, DamagedError, method, word)
    assert path[1:] in str(error)


def test_an_append_over_http_that_is_not_there(
    http_liar: HttpLiar, start_http: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    keys = merklelog.create_log(path, ORIGIN, settings={"store.min_free_bytes": 0})
    with merklelog.open(path) as log:
        log.append_batch([b"before %d" % i for i in range(5)])
    http_liar.point(start_http(path).url)
    http_liar.lies["/add"] = lambda *_: b"3\n"
    caught(http_liar, keys, ProofError, "append", b"entry")
    for nonsense in (b"", b"-1\n", b"x\n", b"05\n", b"5\n\n", b"9223372036854775808\n"):
        http_liar.lies["/add"] = lambda *_, nonsense=nonsense: nonsense
        caught(http_liar, keys, DamagedError, "append", b"entry")
    http_liar.lies["/add"] = lambda *_: b"9999\n"
    short = Retry(total=60, attempt=0.5, first=200, most=200)
    caught(http_liar, keys, UnavailableError, "append", b"entry", retry=short)
