"""Every store against a dictionary, step by step; and which strings are keys."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from merklelog.errors import ImmutableError, NotFoundError, UsageError
from merklelog.publish import DirectoryStore, NewObject
from merklelog.publish.objects import validate_key, validate_prefix

KEYS = st.sampled_from(["a", "b/a", "b/c", "b.p/1", "c/d/e", "c/d/f"])
DATA = st.sampled_from([b"", b"1", b"22", bytes(700)])
SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._=-]{0,254}"


class StoreAsDictionary(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(Path(self.folder.name) / "store")

    @rule(objects=st.lists(st.tuples(KEYS, DATA), max_size=5))
    def put_many(self, objects: list[tuple[str, bytes]]) -> None:
        after = dict(reversed(objects)) | self.model
        try:
            created = self.store.put_many(NewObject(key, data) for key, data in objects)
        except ImmutableError:
            assert any(after[key] != data for key, data in objects)
            for key in {key for key, _ in objects} - self.model.keys():
                self.store.delete(key)
        else:
            assert all(after[key] == data for key, data in objects)
            assert created == len(after) - len(self.model)
            self.model = after

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.versions[key] = self.store.put(key, data)
        self.model[key] = data

    @rule(key=KEYS, data=DATA, fresh=st.booleans())
    def swap(self, key: str, data: bytes, fresh: bool) -> None:
        found = self.store.get(key).version if fresh and key in self.model else self.versions.get(key)
        there = self.store.get(key).version if key in self.model else None
        version = self.store.put_if_version(key, data, found)
        assert (version is not None) == (found == there)
        if version is not None:
            self.model[key], self.versions[key] = data, version

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        try:
            assert self.store.get(key).data == self.model[key]
        except NotFoundError:
            assert key not in self.model

    @invariant()
    def the_same_keys(self) -> None:
        assert list(self.store.list_keys()) == sorted(self.model)

    def teardown(self) -> None:
        self.folder.cleanup()


TestStoreAsDictionary = StoreAsDictionary.TestCase
TestStoreAsDictionary.settings = settings(max_examples=25, stateful_step_count=15)


@given(st.one_of(st.text(max_size=30), st.text(alphabet="ab./=-_ \\\x00é", max_size=12)))
def test_a_key_is_segments_between_slashes(text: str) -> None:
    def fits(key: str) -> bool:
        return re.fullmatch(f"{SEGMENT}(/{SEGMENT})*", key) is not None

    prefix = not text or fits(text.removesuffix("/"))
    for check, expected in ((validate_key, fits(text)), (validate_prefix, prefix)):
        try:
            assert check(text) == text
            taken = True
        except UsageError:
            taken = False
        assert taken is expected


@given(st.lists(st.from_regex(SEGMENT, fullmatch=True).map(lambda s: s[:40]), min_size=1, max_size=4))
def test_a_key_stays_below_the_root(segments: list[str]) -> None:
    root = Path("/srv/copy")
    path = root / validate_key("/".join(segments))
    assert path.is_relative_to(root)
    assert path.parts[len(root.parts) :] == tuple(segments)
    assert ".." not in path.parts
