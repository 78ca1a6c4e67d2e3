"""`head` and staging objects: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "publication_model"))
from published_log import DiskLog

from merklelog.errors import BehindError, DamagedError, ForkError, FormatError, FormatVersionError
from merklelog.protocol.publication import (
    EMPTY_TREE,
    ORDER,
    Cursor,
    EpochHead,
    LostSwap,
    StepName,
    TargetState,
    TreeHead,
    is_pointer_behind,
    judge_lost_swap,
    next_step,
    plan_start,
)
from merklelog.publish import BundleEncoding
from merklelog.publish.layout import kind_of, parse_staging_key, staging_key
from merklelog.publish.memory import MemoryStore
from merklelog.publish.pace import Pace
from merklelog.publish.pointer import format_head, parse_head, read_head
from merklelog.publish.slices import cut_slice, new_objects, next_head
from merklelog.publish.staging import format_staging, parse_staging
from merklelog.publish.verified import VerifiedTiles
from merklelog.tree import Hash, parse_path

ROOT = Hash(bytes(range(32)))
WRITER = "0123456789abcdef" * 2
HEAD = EpochHead(3, 1000, 1256, ROOT, WRITER)
LINE = (
    b'{"format":1,"epoch":3,"start":1000,"size":1256,"root":"'
    + ROOT.hex().encode()
    + b'","writer":"'
    + WRITER.encode()
    + b'"}\n'
)
SIZES = st.integers(0, 2**63 - 1)


# --- head --------------------------------------------------------------------------------------------------------


def test_head_is_one_line() -> None:
    assert format_head(HEAD) == LINE
    assert parse_head(LINE) == HEAD


@given(
    st.integers(1, 2**63 - 1),
    SIZES,
    SIZES,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)
def test_every_head_is_read_back(epoch: int, one: int, other: int, root: bytes, writer: bytes) -> None:
    head = EpochHead(epoch, min(one, other), max(one, other), Hash(root), writer.hex())
    assert parse_head(format_head(head)) == head


@given(st.binary(max_size=200))
def test_garbage_is_no_head(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_head(data)


@given(st.integers(0, len(LINE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_another_head_or_none(at: int, value: int) -> None:
    data = LINE[:at] + bytes([value]) + LINE[at + 1 :]
    try:
        head = parse_head(data)
    except FormatVersionError:
        assert value in b"23456789"
    except FormatError:
        assert data != LINE
    else:
        assert format_head(head) == data


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"epoch": 0}, "epoch: got 0"),
        ({"epoch": True}, "epoch: got True"),
        ({"epoch": 1.0}, "epoch: got 1.0"),
        ({"size": -1}, "size: got -1"),
        ({"size": 2**63}, "size: got 9223372036854775808"),
        ({"size": "1256"}, "size: got '1256'"),
        ({"start": 1257}, "start 1257 is larger than size 1256"),
        ({"root": ROOT.hex().upper()}, "root: got"),
        ({"root": ROOT.hex()[2:]}, "root: got"),
        ({"writer": None}, "writer: got None"),
        ({"more": 1}, "another spelling"),
        ({"format": 0}, "format: got 0"),
    ],
)
def test_what_is_wrong_with_a_head_is_said(change: dict[str, Any], match: str) -> None:
    fields = {**json.loads(LINE), **change}
    with pytest.raises(FormatError, match=match):
        parse_head(json.dumps(fields, separators=(",", ":")).encode() + b"\n")


@pytest.mark.parametrize(
    "data", [LINE[:-1], b" " + LINE, LINE + b"\n", LINE.replace(b",", b", "), LINE * 40, b"[1]\n"]
)
def test_one_spelling_of_a_head(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_head(data)


def test_a_newer_head_is_told_from_a_damaged_one() -> None:
    store = MemoryStore()
    assert read_head(store) is None
    store.put("head", b'{"format":7}')
    with pytest.raises(FormatVersionError, match="memory:store/head: head: format version 7"):
        read_head(store)
    store.put("head", b"x" * 5000)
    with pytest.raises(DamagedError, match="memory:store/head"):
        read_head(store)


# --- staging -----------------------------------------------------------------------------------------------------


def test_a_slice_is_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    log = DiskLog().grow(1000)
    head = log.integrated()
    for old in (0, 1, 255, 256, 300, 768, 999):
        for encoding in BundleEncoding:
            cut = cut_slice(log.tree, log.origin, old, head, encoding, Pace(lambda: 0))
            tiles = VerifiedTiles(log.tree, *head)
            made = [new for _, new in cut.objects()]
            assert made == [new for _, new in new_objects(tiles, old, head.size, encoding)]
            staged = parse_staging(cut.staging)
            assert (staged.origin, staged.size, staged.root) == (log.origin, *head)
            assert list(staged.new_objects(encoding)) == made
            assert [tile.path for tile in staged.tiles()] == [new.key for new in made]
            assert all(new.kind == kind_of(parse_path(new.key), encoding) for new in made)
            assert all(new.kind.retain is (".p/" not in new.key) for new in made)


def test_a_slice_is_bounded() -> None:
    log = DiskLog().grow(3000)
    newest = log.integrated()
    old = EMPTY_TREE
    sizes = []
    while old != newest:
        head = next_head(log.tree, old, newest, Pace(lambda: 0), 20_000)
        assert head.root == log.root_at(head.size)
        assert head.size > old.size
        assert (
            len(
                cut_slice(
                    log.tree, log.origin, old.size, head, BundleEncoding.IDENTITY, Pace(lambda: 0)
                ).staging
            )
            < 36_000
        )
        sizes.append(head.size)
        old = head
    assert len(sizes) > 5
    assert all(size % 256 == 0 for size in sizes[:-1])
    with pytest.raises(DamagedError, match="does not begin"):
        next_head(log.tree, TreeHead(5, ROOT), newest, Pace(lambda: 0))


def staging(**changes: Any) -> bytes:
    """A staging object of two, with something wrong in its second line."""
    objects = [["tile/entries/000.p/2", 6], ["tile/0/000.p/2", 64]]
    fields = {"origin": "log.example/x", "size": 2, "root": ROOT.hex(), "objects": objects, **changes}
    line = json.dumps(
        {name: value for name, value in fields.items() if value is not None}, separators=(",", ":")
    )
    return b"merklelog staging 1\n" + line.encode() + b"\n" + bytes(70)


def test_staging_is_two_lines_and_bytes() -> None:
    data = format_staging(
        "log.example/x",
        TreeHead(2, ROOT),
        [("tile/entries/000.p/2", 6), ("tile/0/000.p/2", 64)],
        [bytes(6), bytes(64)],
    )
    assert data == staging()
    assert parse_staging(data).objects == {"tile/entries/000.p/2": bytes(6), "tile/0/000.p/2": bytes(64)}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "first"),
        (b"merklelog staging 2\n{}\n", "first"),
        (b"merklelog staging 1\n{}", "ends in its second line"),
        (b"merklelog staging 1\n{}\n", "second line"),
        (b"merklelog staging 1\n\xff\n", "second line"),
        (staging() + b"x", "1 bytes follow"),
        (staging()[:-1], "not there"),
        (staging(more=1), "second line"),
        (staging(origin=None), "second line"),
        (staging(size=0, objects=[]), "size: got 0"),
        (staging(size=2**63, objects=[]), "size: got"),
        (staging(root="00"), "root: got"),
        (staging(root=ROOT.hex().upper()), "root: got"),
        (staging(objects=[["tile/0/000", 70]]), "no tile of a tree of size 2"),
        (staging(objects=[["tile/0/001.p/2", 70]]), "no tile of a tree of size 2"),
        (staging(objects=[["checkpoint", 70]]), "want tile/"),
        (staging(objects=[["tile/0/000.p/2", 6], ["tile/0/000.p/2", 64]]), "named twice"),
        (staging(objects=[["tile/0/000.p/2", -6]]), "bytes are not there"),
        (staging(objects=[["tile/0/000.p/2", 71]]), "bytes are not there"),
        (staging(objects=[]), "70 bytes follow"),
    ],
)
def test_what_is_wrong_with_staging_is_said(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_staging(data)


@given(st.binary(max_size=300))
def test_garbage_is_no_staging(data: bytes) -> None:
    for garbage in (data, b"merklelog staging 1\n" + data):
        with pytest.raises(FormatError):
            parse_staging(garbage)


@given(SIZES, st.binary(min_size=32, max_size=32))
def test_a_staging_key_is_read_back(size: int, root: bytes) -> None:
    assert parse_staging_key(staging_key(size, Hash(root))) == (size, root)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "5",
        "5-",
        "05-" + ROOT.hex(),
        "5-" + ROOT.hex().upper(),
        "5-" + ROOT.hex()[2:],
        "x-" + ROOT.hex(),
        "5-" + ROOT.hex() + "/a",
        "5- " + ROOT.hex(),
        "٣-" + ROOT.hex(),
    ],
)
def test_other_names_are_no_staging_keys(name: str) -> None:
    with pytest.raises(FormatError):
        parse_staging_key(f"staging/{name}")


# --- decisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [1, 2, 5])
def test_steps_follow_each_other(targets: int) -> None:
    cursor: Cursor | None = Cursor(ORDER[0])
    passed = []
    while cursor is not None:
        passed.append(cursor)
        cursor = next_step(cursor, targets)
    assert list(dict.fromkeys(step for step, _ in passed)) == list(ORDER)
    for step in ORDER:
        count = 1 if step in (StepName.SIGNED, StepName.SHOWN) else targets
        assert [number for name, number in passed if name is step] == list(range(count))


OTHER = EpochHead(3, 0, 1256, ROOT, WRITER[::-1])


@pytest.mark.parametrize(
    ("found", "unchanged", "lost"),
    [
        (HEAD, False, LostSwap.WON),
        (HEAD, True, LostSwap.WON),
        (EpochHead(2, 0, 9, ROOT, WRITER[::-1]), True, LostSwap.AGAIN),
        (EpochHead(3, 0, 9, ROOT, WRITER), False, LostSwap.AGAIN),
        (EpochHead(2, 0, 9, ROOT, WRITER[::-1]), False, LostSwap.OLDER),
        (OTHER, False, LostSwap.FENCED),
        (EpochHead(4, 0, 9, ROOT, WRITER[::-1]), False, LostSwap.FENCED),
        (None, True, LostSwap.AGAIN),
        (None, False, LostSwap.FENCED),
    ],
)
def test_who_won(found: EpochHead | None, *, unchanged: bool, lost: LostSwap) -> None:
    assert judge_lost_swap(HEAD, found, unchanged=unchanged) is lost


def roots(size: int) -> Hash:
    return Hash(size.to_bytes(32, "big"))


def state(size: int, epoch: int = 1, shown: int | None = None) -> TargetState:
    head = EpochHead(epoch, 0, size, roots(size), WRITER)
    return TargetState("dir:/a", head, None if shown is None else TreeHead(shown, roots(shown)), b"text")


def test_a_start_takes_the_next_epoch_of_all() -> None:
    def plan(targets: list[TargetState], shown: TreeHead | None, epoch: int) -> tuple[int, int]:
        made = plan_start(targets, TreeHead(50, roots(50)), shown, epoch, roots, lambda _: None)
        return made.epoch, made.leader.size

    assert plan([TargetState("dir:/a", None, None)], None, 0) == (1, 0)
    assert plan([state(10, 4), state(9, 7)], None, 0) == (8, 10)
    assert plan([state(10, 4, shown=12)], None, 9) == (10, 12)
    assert plan([state(10)], TreeHead(30, roots(30)), 0) == (2, 30)


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_log_behind_any_target_does_not_start(size: int, shown: int) -> None:
    log = TreeHead(50, roots(50))
    if max(size, shown) > 50:
        with pytest.raises(BehindError, match="recover DIR --from dir:/a"):
            plan_start([state(size, shown=shown)], log, None, 0, roots, lambda _: None)
    else:
        assert plan_start([state(size, shown=shown)], log, None, 0, roots, lambda _: None).epoch == 2


def test_a_log_beside_a_target_does_not_start() -> None:
    head = EpochHead(1, 0, 20, ROOT, WRITER)
    with pytest.raises(ForkError) as caught:
        plan_start(
            [TargetState("dir:/a", head, None, b"what is there")],
            TreeHead(50, roots(50)),
            None,
            0,
            roots,
            lambda size: b"note %d" % size,
        )
    assert (caught.value.first, caught.value.second) == (b"what is there", b"note 20")


def test_the_pointer_never_goes_back() -> None:
    aim = TreeHead(5, ROOT)
    assert is_pointer_behind(None, aim)
    assert is_pointer_behind(TreeHead(4, ROOT), aim)
    assert not is_pointer_behind(aim, aim)
    assert not is_pointer_behind(TreeHead(6, ROOT), aim)
