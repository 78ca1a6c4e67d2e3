"""The identity index against a plain dict, step by step, with fingerprints that collide too."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from merklelog.store.fingerprint_filter import WORDS, Words
from merklelog.store.fingerprint_hash import Fingerprinter
from merklelog.store.fingerprints import FingerprintIndex
from tests.support.identity_index import key_of

FIRSTS = [0, 1, 255, 1 << 63, (1 << 64) - 1, 0x0123456789ABCDEF]
KEYS = st.one_of(
    st.builds(  # many with the same 8 bytes, at the ends of what fits in them
        lambda first, rest: first.to_bytes(8, "little") + rest.to_bytes(24, "big"),
        st.sampled_from(FIRSTS),
        st.integers(0, 3),
    ),
    st.integers(0, 500).map(key_of),
)


class Prefixes:
    """Fingerprints that anybody can make collide."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed

    def many(self, keys: list[bytes]) -> Words:
        return np.frombuffer(b"".join(keys), WORDS)[::4].copy()

    def one(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "little")


class Model(RuleBasedStateMachine):
    """An index with tiny limits beside a list of what was fed."""

    shared = 32  # bytes that two keys must share for one to be taken for the other
    fingerprinter: type[Prefixes | Fingerprinter] = Fingerprinter

    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch("merklelog.store.fingerprints.Fingerprinter", self.fingerprinter)
        self.patch.start()
        self.folder = Path(mkdtemp())
        self.keys: list[bytes] = []
        self.extras: list[tuple[bytes, int]] = []
        self.harmed = False  # there may be damage that nobody has met yet
        self.index = self.opened()

    def opened(self, *, read_only: bool = False) -> FingerprintIndex:
        return FingerprintIndex(
            self.folder / "index", tail_limit=8, parts_a_run=2, young_runs=3, fan_in=2, read_only=read_only
        )

    def feed(self, index: FingerprintIndex) -> None:
        while index.end < len(self.keys):
            start = index.end
            part = self.keys[start : start + 7]
            extras = [(key, at) for key, at in self.extras if start <= at < start + 7]
            index.add(part, start, extras)

    def teardown(self) -> None:
        self.patch.stop()
        self.index.close()
        shutil.rmtree(self.folder)

    @rule(
        keys=st.lists(KEYS, min_size=1, max_size=30),
        given=st.lists(KEYS, max_size=3),
        later=st.lists(KEYS, max_size=3),
        asked=st.booleans(),
    )
    def add(self, keys: list[bytes], given: list[bytes], later: list[bytes], asked: bool) -> None:
        first = len(self.keys)
        if asked:
            self.index.search(keys)
        self.feed(self.index)  # when a damaged run was noticed
        extras = [(key, first + at % len(keys)) for at, key in enumerate(given)]
        self.index.add(keys, first, extras)
        afterwards = [(key, first + at % len(keys)) for at, key in enumerate(later)]
        for key, at in afterwards:
            self.index.add_extra(key, at)
        self.keys += keys
        self.extras += extras + afterwards

    @rule()
    def settle(self) -> None:
        self.index.settle()
        assert self.index.stats().failure == ""

    @rule(settled=st.booleans())
    def reopen(self, settled: bool) -> None:
        if settled:
            self.index.settle()
        self.index.close()
        self.index = self.opened()
        assert self.harmed or self.index.dropped == ()
        self.harmed = False
        assert self.index.end == self.index.watermark <= len(self.keys)

    @rule(which=st.integers(0), at=st.integers(0), bit=st.integers(0, 7), reopened=st.booleans())
    def damage(self, which: int, at: int, bit: int, reopened: bool) -> None:
        self.index.settle()
        files = sorted((self.folder / "index").iterdir())
        if not files:
            return
        if reopened:
            self.index.close()
        path = files[which % len(files)]
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1 << bit
        path.write_bytes(data)
        self.harmed = not reopened
        if reopened:
            self.index = self.opened()

    @rule()
    def read_beside(self) -> None:
        self.index.settle()
        before = {path: path.read_bytes() for path in (self.folder / "index").iterdir()}
        reader = self.opened(read_only=True)
        self.feed(reader)
        self.check(reader)
        reader.close()
        assert {path: path.read_bytes() for path in (self.folder / "index").iterdir()} == before

    @invariant()
    def all_is_found(self) -> None:
        self.check(self.index)

    def check(self, index: FingerprintIndex) -> None:
        first: dict[bytes, int] = {}
        sharing: dict[bytes, set[int]] = {}
        for key, at in sorted([*((k, i) for i, k in enumerate(self.keys)), *self.extras], key=lambda x: x[1]):
            first.setdefault(key, at)
            sharing.setdefault(key[: self.shared], set()).add(at)
        asked = [*first, *(key_of(n) for n in range(1000, 1010))]
        for keys in (asked, asked[:1], asked[-12:-8]):  # few keys take another way than many
            found, end = index.search(keys)
            while end < len(self.keys):
                self.feed(index)
                found, end = index.search(keys)
            for position, key in enumerate(keys):
                answer = found.get(position, [])
                assert answer == sorted(set(answer))
                assert set(answer) <= sharing.get(key[: self.shared], set())
                assert key not in first or first[key] in answer


class CollidingModel(Model):
    """The same where the first 8 bytes are the fingerprint."""

    shared = 8
    fingerprinter = Prefixes


# No shrinking: with a thread in the background the same steps need not fail again.
STEPS = settings(stateful_step_count=30, phases=(Phase.explicit, Phase.reuse, Phase.generate))
TestModel = Model.TestCase
TestModel.settings = STEPS
TestCollidingModel = CollidingModel.TestCase
TestCollidingModel.settings = STEPS
