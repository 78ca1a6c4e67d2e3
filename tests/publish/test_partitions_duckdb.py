"""Partitions as an analyst reads them: DuckDB, with the statement that docs/partitions.md shows."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merklelog.publish import DirectoryStore
from merklelog.publish.partitions import Partitioning, PartitionWriter
from merklelog.tree import TileHashes, leaf_hash, root_hash

PAGE = Path(__file__).resolve().parents[2] / "docs" / "partitions.md"
NOON = 1_795_262_400
ENTRIES = [
    json.dumps({"event": 1, "actor": "ann"}).encode(),
    b'{"event":{"deep":[1,2,{"a":null}]},"event":2}',  # what a reader that guesses types stumbles over
    b"2026-11-21",
    b"17",
    b"",
    b"two\nlines\r\n\ttab",
    "na\u00efve \U0001f600".encode(),
    bytes(range(256)),
    b"\xff\xfe",
    b'"quoted" \\ back',
]


@pytest.fixture
def duckdb(need: Callable[[bool, str], None]) -> Any:
    need(importlib.util.find_spec("duckdb") is not None, "DuckDB (pip install duckdb)")
    import duckdb

    return duckdb


def test_every_entry_is_a_row(duckdb: Any, memory: ModuleType, tmp_path: Path) -> None:
    log = memory.MemoryLog()
    log.append(ENTRIES * 30)
    store = DirectoryStore(tmp_path / "trail")
    writer = PartitionWriter(store, Partitioning.MINUTE, log.origin)
    for minute, end in enumerate((0, 7, 200, 300)):
        root = root_hash(end, TileHashes(end, lambda tile: log.tile(*tile)))
        writer.run(NOON + 60 * minute, (end, root), log)
    statement = re.search(r"```sql\n(.*?read_json.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert statement
    assert "'/srv/trail/partitions" in statement[1]
    asked = statement[1].replace("/srv/trail", str(tmp_path / "trail"))
    with duckdb.connect() as connection:
        connection.execute(asked)
        rows = connection.execute(
            'SELECT "index", leaf_hash, text, base64, minute FROM entries ORDER BY "index"'
        ).fetchall()
        decoded = connection.execute(
            'SELECT coalesce(encode(text), from_base64(base64)) FROM entries ORDER BY "index"'
        ).fetchall()
        actors = connection.execute(
            "SELECT count(*) FROM entries WHERE json_valid(text) AND text->>'$.actor' = 'ann'"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(300))
    assert [row[1] for row in rows] == [leaf_hash(entry).hex() for entry in log.entries]
    assert [bytes(row[0]) for row in decoded] == log.entries
    assert [int(row[4]) for row in rows] == [0] * 7 + [1] * 193 + [2] * 100
    assert actors == [(30,)]
