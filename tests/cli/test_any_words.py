"""Any command line ends with a status of the design, a sentence when it is not 0, and never with a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merklelog.cli import sources as follow_module
from merklelog.cli.program import COMMANDS
from merklelog.servers import run as run_module
from merklelog.servers.places import Places

OPTIONS = (
    *(
        "--json",
        "--jsonl",
        "--root",
        "--config",
        "--http",
        "--size",
        "--vkey",
        "--policy",
        "-o",
        "--from",
        "--count",
        "--poll",
        "--to",
        "--set",
    ),
    *(
        "--origin",
        "--entry",
        "--leaf-hash",
        "--idempotency-key",
        "--keys",
        "--bundle-encoding",
        "--processes",
    ),
    *("--dedupe", "--reuse-keys", "--help", "--", "-", "-1", "-h", "-x"),
)
VALUES = (
    *(
        "log",
        "dir:copy",
        "dir:",
        "copy",
        "file",
        "nowhere",
        "new/place",
        "0",
        "1",
        "3",
        "1:2",
        ":",
        "-1:",
        "9" * 30,
    ),
    *("", " ", "\n", "é", "\udcff", "a\x1b[2J", "s3://b", "KEY", "store.min_free_bytes=0", "gzip"),
)


def _look_only(places: Places, environment: Mapping[str, str], options: Mapping[str, str]) -> None:
    """As much of a server as comes to an end."""
    places.find()
    places.settings(environment, options)


@pytest.fixture
def place(run: Callable, log: Path, vkeys: list[str], tmp_path: Path) -> str:
    run("publish", log, "--to", "dir:copy")
    (tmp_path / "file").write_bytes(b"two")
    return vkeys[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.sampled_from(tuple(COMMANDS)),
    st.lists(st.sampled_from(VALUES), max_size=4),
    st.lists(st.tuples(st.sampled_from(OPTIONS), st.none() | st.sampled_from(VALUES)), max_size=3),
    st.sampled_from([b"", b"x", b"a\nb\n"]),
)
def test_any_words_come_to_a_status(
    run: Callable, place: str, tmp_path: Path, name: str, values: list[str], options: list, stdin: bytes
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    given = [word for option, value in options for word in (option, value) if word is not None]
    words = [place if word == "KEY" else word for word in (*values, *given)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow_module.time, "sleep", interrupt)
        patch.setattr(run_module, "serve", _look_only)
        done = run(name, *words, stdin=stdin, status=None)
    assert done.status in {0, 1, 2, 3, 4, 130}, done
    assert "a defect of merklelog" not in done.err
    assert "Traceback" not in done.err
    assert done.status == 0 or done.err
    assert "\x1b" not in done.err
    for made in set(tmp_path.iterdir()) - {tmp_path / known for known in ("log", "copy", "file")}:
        shutil.rmtree(made) if made.is_dir() else made.unlink()
