"""Audits of a bucket: a whole copy is proven; whatever is done to any one object is named, and read past by its
version where a lock kept that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from merklelog.audit import AuditReport, FindingKind, audit
from merklelog.client import Access
from merklelog.errors import UnreachableError
from merklelog.formats import single_log_policy
from merklelog.protocol.publication import EpochHead, TreeHead
from merklelog.publish import BundleEncoding, publish_copy
from merklelog.publish.encoding import compress
from merklelog.publish.layout import HEAD_KEY, kind_of, staging_key
from merklelog.publish.pointer import format_head
from merklelog.publish.s3 import Retention, S3Store
from merklelog.publish.staging import format_staging
from merklelog.tree import BUNDLE_LEVEL, Tile, TileHashes, root_hash
from merklelog.tree.tiles import new_bundles, new_tiles
from tests.publish.memory_log import MemoryLog
from tests.support.s3_servers import Bucket, MakeBucket, S3Server

WRITER = "ab" * 16
DAY = Retention("GOVERNANCE", 1)


class Published:
    """A log in memory, published to a bucket at sizes 300 and 700, with the `head` of a log's target."""

    def __init__(self, bucket: Bucket, retention: Retention | None = DAY) -> None:
        self.bucket = bucket
        self.store: S3Store = bucket.store(retention=retention)
        self.access = Access(s3=bucket.server.options())
        self.log = MemoryLog()
        self.policy = single_log_policy(self.log.vkeys)
        for size in (300, 700):
            publish_copy(self.log.grow(size), self.store, verifiers=self.log.vkeys, bundle_encoding="gzip")
        self.head(700)

    def head(self, size: int, epoch: int = 1) -> None:
        self.store.put(HEAD_KEY, format_head(EpochHead(epoch, 0, size, self.root(size), WRITER)))

    def root(self, size: int) -> Any:
        return root_hash(size, TileHashes(size, lambda tile: self.log.tile(*tile)))

    def put_over(self, key: str, data: bytes, **extra: Any) -> str:
        """Write as an intruder does: no condition, no lock."""
        answer = self.bucket.client.put_object(Bucket=self.bucket.name, Key=f"log/{key}", Body=data, **extra)
        return str(answer["VersionId"])

    def hide(self, key: str) -> None:
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=f"log/{key}")

    def remove(self, key: str) -> None:
        """Every version of an object that nothing locks."""
        for version in list(self.store.versions(key)):
            if version.key == key:
                self.bucket.client.delete_object(
                    Bucket=self.bucket.name, Key=f"log/{key}", VersionId=version.version_id
                )

    def audit(self, **options: Any) -> AuditReport:
        return audit(self.bucket.url(), self.policy, access=self.access, processes=1, **options)

    def only(self, kind: FindingKind, key: str, words: str, **options: Any) -> AuditReport:
        """One finding of that kind, at that object, and everything else was read."""
        report = self.audit(**options)
        assert [(found.kind, found.where) for found in report.findings] == [
            (kind, f"{self.bucket.url()}/{key}")
        ], report.findings
        assert words in report.findings[0].detail
        assert report.exit_status == 1
        return report


@pytest.fixture
def published(seaweedfs: S3Server, s3_bucket: MakeBucket) -> Published:
    return Published(s3_bucket(seaweedfs))


@pytest.fixture
def on_each(s3_server: S3Server, s3_bucket: MakeBucket) -> Published:
    return Published(s3_bucket(s3_server))


def test_a_whole_copy_is_proven(on_each: Published) -> None:
    report = on_each.audit(retention=True)
    assert (report.exit_status, report.findings, report.remarks) == (0, (), ())
    assert (report.size, report.entries, report.bundles, report.checkpoints) == (700, 700, 3, 3)
    assert report.signatures_checked
    assert report.locks is not None
    # Two full bundles, two full tiles, two kept checkpoints.
    assert (report.locks.objects, report.locks.governance, report.locks.unlocked) == (6, 6, 0)
    assert report.locks.earliest is not None
    ends = datetime.strptime(report.locks.earliest, "%Y-%m-%dT%H:%M:%S%z") - datetime.now(UTC)
    assert timedelta(hours=22) < ends <= timedelta(days=1)
    assert on_each.audit(size=300).findings == ()


@pytest.mark.parametrize(
    "key", ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001", "checkpoints/300"]
)
def test_what_is_put_over_a_locked_object_is_named_and_read_past(on_each: Published, key: str) -> None:
    whole = on_each.store.get(key).data
    on_each.put_over(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    report = on_each.only(FindingKind.VERSION, key, "a newer version")
    assert (report.entries, report.root) == (700, on_each.root(700))
    on_each.hide(key)
    report = on_each.only(FindingKind.VERSION, key, "a delete marker")
    assert (report.entries, report.checkpoints) == (700, 3)


def test_the_same_content_again_is_a_remark(published: Published) -> None:
    key = "tile/entries/000"
    published.put_over(key, published.store.get(key).data, ContentEncoding="gzip")
    report = published.audit()
    assert report.findings == ()
    assert any("several versions with the same content" in remark for remark in report.remarks)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("tile/entries/002.p/188", FindingKind.BUNDLE),
        ("tile/0/002.p/188", FindingKind.TILE),
        ("tile/1/000.p/2", FindingKind.TILE),
    ],
)
def test_what_nothing_locks_can_go_and_is_missed(published: Published, key: str, kind: FindingKind) -> None:
    published.remove(key)
    report = published.audit()
    assert report.exit_status == 1
    assert (kind, f"{published.bucket.url()}/{key}") in [
        (found.kind, found.where) for found in report.findings
    ]


def test_a_partial_tile_that_is_hidden_is_named_and_read_past(published: Published) -> None:
    published.hide("tile/0/002.p/188")
    report = published.only(FindingKind.VERSION, "tile/0/002.p/188", "a delete marker")
    assert report.entries == 700


def test_a_partial_tile_that_is_put_over_is_named_and_read_past(published: Published) -> None:
    published.put_over("tile/0/002.p/188", bytes(188 * 32))
    assert published.only(FindingKind.VERSION, "tile/0/002.p/188", "a newer version").entries == 700


@pytest.mark.parametrize("key", ["tile/entries/003", "tile/0/002", "tile/9/000.p/1", "checkpoints/9000"])
def test_an_object_too_much_is_named(published: Published, key: str) -> None:
    published.put_over(key, b"nobody's")
    published.only(FindingKind.EXTRA, key, "nothing that was published names it")


@pytest.mark.parametrize("key", ["tile/index.html", "tile/entries/1", "checkpoints/0700", "staging/x"])
def test_a_name_that_is_none_is_named(published: Published, key: str) -> None:
    published.put_over(key, b"nobody's")
    published.only(FindingKind.EXTRA, key, "has such a name")


def test_what_somebody_keeps_beside_a_log_is_a_remark(published: Published) -> None:
    published.put_over("readme.txt", b"what this is")
    published.put_over("preflight/1/x", b"a probe")
    report = published.audit()
    assert report.findings == ()
    assert ["readme.txt" in remark for remark in report.remarks] == [True, False]
    assert "preflight" in report.remarks[1]


# --- pointers --------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_is_put_back_is_named(published: Published) -> None:
    published.put_over("checkpoint", published.store.get("checkpoints/300").data)
    report = published.audit()
    found = [(finding.kind, finding.where.rpartition("/")[2]) for finding in report.findings]
    assert found == [(FindingKind.VERSION, "checkpoint"), (FindingKind.TARGET, "checkpoint")], report.findings
    assert "says size 700" in report.findings[0].detail
    assert "head names 700" in report.findings[1].detail
    assert (report.exit_status, report.size) == (1, 300)


def test_pointers_that_are_put_back_together_are_named(published: Published) -> None:
    """With every trace of the older versions gone, the kept checkpoint alone still tells."""
    for key, data in (("checkpoint", published.store.get("checkpoints/300").data), ("head", None)):
        published.remove(key)
        if data is not None:
            published.put_over(key, data)
    published.head(300)
    report = published.only(FindingKind.TARGET, "checkpoint", "the log signed checkpoints/700")
    assert report.size == 300


def test_a_head_that_is_put_back_is_named(published: Published) -> None:
    published.remove(HEAD_KEY)
    published.head(300)
    published.only(FindingKind.TARGET, HEAD_KEY, "it names size 300")


def test_an_older_epoch_over_a_newer_one_is_named(published: Published) -> None:
    published.head(700, epoch=5)
    published.head(700, epoch=4)
    published.only(FindingKind.VERSION, HEAD_KEY, "epoch 5")


def test_a_head_of_another_tree_is_named(published: Published) -> None:
    published.remove(HEAD_KEY)
    other = EpochHead(1, 0, 700, published.root(699), WRITER)
    published.store.put(HEAD_KEY, format_head(other))
    published.only(FindingKind.TARGET, HEAD_KEY, "it names root")


@pytest.mark.parametrize("key", ["checkpoint", HEAD_KEY])
def test_a_pointer_that_is_hidden_is_named(published: Published, key: str) -> None:
    published.hide(key)
    report = published.audit()
    assert report.exit_status == 1
    assert (FindingKind.VERSION, f"{published.bucket.url()}/{key}") in [
        (found.kind, found.where) for found in report.findings
    ]
    assert report.entries == 700


def test_a_checkpoint_without_its_kept_one_is_named(published: Published) -> None:
    published.bucket.client.delete_object(
        Bucket=published.bucket.name,
        Key="log/checkpoints/700",
        VersionId=next(version.version_id for version in published.store.versions("checkpoints/700")),
        BypassGovernanceRetention=True,
    )
    published.only(FindingKind.CHECKPOINT, "checkpoints/700", "it is not there")


# --- a publication under way -----------------------------------------------------------------------------------


def staged(published: Published, size: int, spoil: Callable[[bytes], bytes] = lambda data: data) -> str:
    """Stage what a publication of `size` stages, and have `head` name it; gives the key."""
    log, old = published.log.grow(size), 700
    new = [*new_bundles(old, size), *new_tiles(old, size)]
    objects = [(tile.path, stored(published, tile)) for tile in new]
    root = published.root(size)
    payload = [data for _, data in objects]
    lengths = [(key, len(data)) for key, data in objects]
    key = staging_key(size, root)
    published.store.put(key, spoil(format_staging(log.origin, TreeHead(size, root), lengths, payload)))
    published.head(size)
    return key


def stored(published: Published, tile: Tile) -> bytes:
    if tile.level == BUNDLE_LEVEL:
        return compress(published.log.bundle(tile.index, tile.width))
    return bytes(published.log.tile(tile.level, tile.index, tile.width))


def test_a_publication_under_way_is_a_remark(published: Published) -> None:
    key = staged(published, 1100)
    full = Tile(BUNDLE_LEVEL, 2, 256)
    published.store.put_immutable(full.path, stored(published, full), kind_of(full, BundleEncoding.GZIP))
    report = published.audit()
    assert (report.exit_status, report.findings, report.size) == (0, (), 700)
    assert [key in remark for remark in report.remarks] == [True]


@pytest.mark.parametrize("position", [-1, -3000, 40, 300])
def test_what_a_publication_staged_is_verified(published: Published, position: int) -> None:
    def spoil(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    key = staged(published, 1100, spoil)
    published.only(FindingKind.TARGET, key, "")


def test_a_head_that_nothing_was_staged_for_is_named(published: Published) -> None:
    published.store.delete(staged(published, 1100))
    published.only(FindingKind.TARGET, "checkpoint", "is not there")


def test_what_a_fenced_writer_staged_is_a_remark(published: Published) -> None:
    key = staging_key(900, published.root(600))
    published.store.put(key, b"whatever")
    report = published.audit()
    assert report.findings == ()
    assert [key in remark for remark in report.remarks] == [True]


# --- locks -----------------------------------------------------------------------------------------------------


def test_what_is_not_locked_is_named(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    published = Published(s3_bucket(seaweedfs), retention=None)
    assert published.audit().findings == ()
    report = published.audit(retention=True)
    assert {finding.kind for finding in report.findings} == {FindingKind.LOCK}
    names = {finding.where.removeprefix(f"{published.bucket.url()}/") for finding in report.findings}
    assert names == {
        *("checkpoints/300", "checkpoints/700", "tile/0/000", "tile/0/001"),
        *("tile/entries/000", "tile/entries/001"),
    }
    assert report.locks is not None
    assert (report.locks.objects, report.locks.unlocked, report.locks.earliest) == (6, 6, None)


def test_a_legal_hold_locks_too(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    published = Published(s3_bucket(seaweedfs), retention=None)
    published.bucket.client.put_object_legal_hold(
        Bucket=published.bucket.name, Key="log/tile/0/000", LegalHold={"Status": "ON"}
    )
    report = published.audit(retention=True)
    assert report.locks is not None
    assert (report.locks.held, report.locks.unlocked) == (1, 5)


# --- several processes, and who may not ------------------------------------------------------------------------


def test_several_processes_read_past_too(seaweedfs: S3Server, s3_bucket: MakeBucket) -> None:
    published = Published(s3_bucket(seaweedfs))
    publish_copy(published.log.grow(33_300), published.store, verifiers=published.log.vkeys)
    published.head(33_300)
    published.put_over("tile/entries/129", b"another")
    published.hide("tile/0/005")
    report = audit(published.bucket.url(), published.policy, access=published.access, processes=2)
    assert report.processes == 2
    assert report.entries == 33_300
    assert sorted((found.kind, found.where.partition("/log/")[2]) for found in report.findings) == [
        (FindingKind.VERSION, "tile/0/005"),
        (FindingKind.VERSION, "tile/entries/129"),
    ]


def test_a_bucket_that_nobody_answers_for_could_not_tell(published: Published) -> None:
    nowhere = dataclasses.replace(published.bucket.server.options(), endpoint_url="http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=published.bucket.name):
        audit(published.bucket.url(), published.policy, access=Access(s3=nowhere), processes=1)
