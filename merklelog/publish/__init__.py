"""Object stores, and the publication of a log into one.

Read in this order: `objects` (what a store promises), `directory` (a store that is a directory), `layout`
(what a published copy is made of), `source` (where its bytes come from), `verified` (how each is checked),
`copy` (the order in which they are put).
"""

from __future__ import annotations

from merklelog.publish.copy import PublishReport, publish_copy
from merklelog.publish.directory import DirectoryStore
from merklelog.publish.encoding import BundleEncoding
from merklelog.publish.objects import NewObject, ObjectKind, ObjectStat, ObjectStore, StoredObject

__all__ = [
    "BundleEncoding",
    "DirectoryStore",
    "NewObject",
    "ObjectKind",
    "ObjectStat",
    "ObjectStore",
    "PublishReport",
    "StoredObject",
    "publish_copy",
]
