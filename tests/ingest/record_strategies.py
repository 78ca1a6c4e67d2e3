"""Any export request, as bytes on the wire: every field of every message, in any order, well formed."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from merklelog.ingest.record import ENTITY, LOG_RECORD, RESOURCE, SCOPE, Fields, Kind


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def tagged(number: int, wire: int, content: bytes) -> bytes:
    return varint(number << 3 | wire) + content


def of_length(number: int, content: bytes) -> bytes:
    return tagged(number, 2, varint(len(content)) + content)


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "a", "Ä\u2028\U0001f600", '"\\/\b\f\n\r\t\x00\x1f\x7f', '"doubleValue":1.0', "\ufeff"]
    ),
)
DATA = st.binary(max_size=20)
BROKEN = st.sampled_from(
    [b"\xff", b"a\x80b", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", "ü".encode()[:1]]
)
DOUBLES = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 1e21, 1e20, 1e-6, 1e-7, 5e-324, 2**53 + 0.0, 333333333.3333333]),
)
INT64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-2, 2), st.sampled_from([-(2**63), 2**63 - 1])
)


def texts(broken: bool) -> st.SearchStrategy[bytes]:
    """The bytes of a string; with `broken` some that are not UTF-8."""
    good = TEXTS.map(lambda text: text.encode("utf-8"))
    return st.one_of(good, BROKEN) if broken else good


def values(broken: bool) -> st.SearchStrategy[bytes]:
    """An AnyValue."""
    leaves = st.one_of(
        texts(broken).map(lambda data: of_length(1, data)),
        st.booleans().map(lambda each: tagged(2, 0, varint(each))),
        INT64.map(lambda number: tagged(3, 0, varint(number))),
        DOUBLES.map(lambda number: tagged(4, 1, struct.pack("<d", number))),
        DATA.map(lambda data: of_length(7, data)),
        st.just(tagged(8, 0, b"\x05")),
        st.just(b""),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(
                lambda items: of_length(5, b"".join(of_length(1, x) for x in items))
            ),
            st.lists(pairs(inner, broken), max_size=3).map(
                lambda items: of_length(6, b"".join(of_length(1, each) for each in items))
            ),
        ),
        max_leaves=6,
    )


def pairs(value: st.SearchStrategy[bytes], broken: bool) -> st.SearchStrategy[bytes]:
    """A KeyValue, with its value or without."""
    keys = texts(broken).map(lambda data: of_length(1, data))
    return st.tuples(keys, st.one_of(st.just(b""), value.map(lambda data: of_length(2, data)))).map(b"".join)


def fields_of(fields: Fields, broken: bool) -> st.SearchStrategy[bytes]:
    """A message of a table, its fields in any order, some twice."""
    choices = [_field(number, kind, broken) for number, (_, kind) in fields.items()]
    return st.lists(st.one_of(*choices, _unknown()), max_size=10).map(b"".join)


def _unknown() -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [
            of_length(99, b"later"),
            tagged(98, 0, b"\x01"),
            tagged(97, 3, tagged(1, 0, b"\x01")) + tagged(97, 4, b""),
        ]
    )


def _field(number: int, kind: Kind, broken: bool) -> st.SearchStrategy[bytes]:
    if kind is Kind.TIME:
        return st.integers(0, 2**64 - 1).map(lambda time: tagged(number, 1, struct.pack("<Q", time)))
    if kind is Kind.FIXED32:
        return st.integers(0, 2**32 - 1).map(lambda flags: tagged(number, 5, struct.pack("<I", flags)))
    if kind is Kind.UINT32:
        return st.integers(0, 2**32 - 1).map(lambda count: tagged(number, 0, varint(count)))
    if kind is Kind.ENUM:
        return st.integers(-(2**31), 2**31 - 1).map(lambda level: tagged(number, 0, varint(level)))
    if kind is Kind.HEX:
        return DATA.map(lambda data: of_length(number, data))
    if kind is Kind.VALUE:
        return values(broken).map(lambda data: of_length(number, data))
    if kind is Kind.ATTRIBUTES:
        return pairs(values(broken), broken).map(lambda data: of_length(number, data))
    if kind is Kind.ENTITIES:
        return fields_of(ENTITY, broken).map(lambda data: of_length(number, data))
    return texts(broken).map(lambda data: of_length(number, data))


def requests(*, broken: bool = False) -> st.SearchStrategy[bytes]:
    """An ExportLogsServiceRequest; with `broken` its strings may be no UTF-8."""
    record = fields_of(LOG_RECORD, broken).map(lambda data: of_length(2, data))
    scopes = _group(fields_of(SCOPE, broken), record, broken).map(lambda data: of_length(2, data))
    resources = _group(fields_of(RESOURCE, broken), scopes, broken)
    return st.lists(resources.map(lambda data: of_length(1, data)), max_size=2).map(b"".join)


def _group(
    head: st.SearchStrategy[bytes], member: st.SearchStrategy[bytes], broken: bool
) -> st.SearchStrategy[bytes]:
    heads = st.lists(head.map(lambda data: of_length(1, data)), max_size=2).map(b"".join)
    urls = st.lists(texts(broken).map(lambda data: of_length(3, data)), max_size=1).map(b"".join)
    members = st.lists(member, max_size=3).map(b"".join)
    return st.tuples(heads, urls, members).map(b"".join)
