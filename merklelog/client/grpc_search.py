"""Searching over gRPC."""

from __future__ import annotations

from contextlib import closing

from merklelog.client.access import Access
from merklelog.client.grpc_transport import GrpcTransport
from merklelog.client.grpc_wire import Question, place_of
from merklelog.client.searching import Search, SearchAnswer, SearchHit
from merklelog.errors import DamagedError
from merklelog.v1 import log_pb2 as pb


def search_grpc(target: str, search: Search, access: Access, origin: str) -> SearchAnswer:
    """See search_server. One try, no longer than one of `access.retry`."""
    request = pb.SearchRequest(
        origin=origin,
        query=search.query,
        limit=search.limit,
        cursor=search.cursor,
        newest_first=search.newest_first,
        entries=search.entries,
        proofs=search.proofs,
        count_by=search.count_by,
        histogram_seconds=search.seconds,
    )
    with closing(GrpcTransport(place_of(target, access), origin)) as transport:
        return transport.ask(Question("Search", request, pb.SearchResponse, _answer), access.retry.attempt)


def _answer(told: pb.SearchResponse) -> SearchAnswer:
    try:
        checkpoint = told.checkpoint.decode("utf-8")
        hits = tuple(_hit(each) for each in told.hits)
    except UnicodeDecodeError as error:
        raise DamagedError(f"search: a note in the answer is not UTF-8: {error}") from error
    return SearchAnswer(
        hits,
        told.total if told.HasField("total") else None,
        told.cursor,
        told.indexed_size,
        told.tree_size,
        checkpoint,
        tuple((each.value, each.entries) for each in told.counts),
        tuple((each.second, each.entries) for each in told.buckets),
        told.bucket_seconds,
        told.untimed,
    )


def _hit(told: pb.SearchHit) -> SearchHit:
    return SearchHit(
        told.index,
        told.entries,
        told.time_unix_nano,
        dict(told.fields),
        tuple(told.data),
        told.proof.decode("utf-8"),
    )


__all__ = ["search_grpc"]
