"""`merklelog.json` at the root of a published copy: which format it has, and how its bundles are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from merklelog.errors import FormatError, FormatVersionError
from merklelog.publish.encoding import BundleEncoding

MANIFEST_KEY: Final = "merklelog.json"
MAX_MANIFEST_BYTES: Final = 1 << 16
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a reader has to know before it reads anything else of a copy."""

    bundles: BundleEncoding


def format_manifest(manifest: Manifest) -> bytes:
    """The file's bytes, one JSON object."""
    return b'{"format": %d, "bundles": "%s"}\n' % (FORMAT_VERSION, manifest.bundles.value.encode("ascii"))


def parse_manifest(data: bytes) -> Manifest:
    """Reads the file. Raises FormatVersionError for a newer format, naming both versions; else FormatError.

    The version is looked at first: a newer one may mean anything by the other fields. A field that this
    version does not know is refused, since it would be obeyed by nobody.
    """
    try:
        fields = msgspec.json.decode(data.decode("utf-8"), type=dict[str, object])
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"not a JSON object: {error}") from None
    version = fields.pop("format", None)
    # A bool is an int in Python, and `true` is no version.
    if type(version) is not int or version < 1:
        raise FormatError(f"format: got {_shown(version)}, want a version number")
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"format version {version} is newer than this version reads, {FORMAT_VERSION}"
        )
    bundles = fields.pop("bundles", None)
    if fields:
        raise FormatError(
            f"got a field {_shown(next(iter(fields)))}, which format {FORMAT_VERSION} does not have"
        )
    if not isinstance(bundles, str) or bundles not in tuple(BundleEncoding):
        raise FormatError(f"bundles: got {_shown(bundles)}, want identity or gzip")
    return Manifest(BundleEncoding(bundles))


def _shown(value: object) -> str:
    return ascii(value)[:60]
