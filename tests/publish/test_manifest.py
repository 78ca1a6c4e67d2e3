"""`merklelog.json`: what is written is read back, and whatever else is there is an error of ours."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merklelog.errors import FormatError, FormatVersionError
from merklelog.publish import BundleEncoding
from merklelog.publish.manifest import FORMAT_VERSION, Manifest, format_manifest, parse_manifest

FIELDS = st.dictionaries(
    st.sampled_from(["format", "bundles", "x"]),
    st.one_of(
        st.sampled_from([1, 2, "gzip", "identity"]), st.integers(), st.booleans(), st.text(), st.none()
    ),
)


@pytest.mark.parametrize("encoding", BundleEncoding)
def test_it_is_read_back(encoding: BundleEncoding) -> None:
    manifest = Manifest(encoding)
    assert parse_manifest(format_manifest(manifest)) == manifest
    assert json.loads(format_manifest(manifest)) == {"format": FORMAT_VERSION, "bundles": encoding.value}


@given(FIELDS)
def test_only_what_this_version_means_is_taken(fields: dict[str, object]) -> None:
    good = fields.keys() == {"format", "bundles"} and type(fields["format"]) is int
    good = good and fields["format"] == 1 and fields["bundles"] in ("gzip", "identity")
    data = json.dumps(fields).encode()
    if good:
        assert parse_manifest(data).bundles == fields["bundles"]
        return
    version = fields.get("format")
    newer = type(version) is int and FORMAT_VERSION < version < 1 << 64
    with pytest.raises(FormatVersionError if newer else (FormatError, FormatVersionError)):
        parse_manifest(data)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_garbage_is_an_error_of_ours(data: bytes, at: int) -> None:
    whole = format_manifest(Manifest(BundleEncoding.GZIP))
    for spoilt in (
        data,
        b'{"' + data,
        whole[:at] + data + whole[at:],
        whole[:at] + data[:1] + whole[at + 1 :],
    ):
        with suppress(FormatError, FormatVersionError):
            assert isinstance(parse_manifest(spoilt), Manifest)
