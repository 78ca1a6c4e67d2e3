"""How the database is tuned. Each figure was measured; `docs/storage.md` has the table."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options

from .layout import FAMILIES

KIB = 1024
MIB = 1024 * KIB
CACHE_BYTES = 32 * MIB
WAL_BYTES = 24 * MIB  # replayed twice at the open after a crash: once to look, once for good
# What files are written through: room for a commit of 10,000 entries, which then waits here for its sync.
FILE_BUFFER_BYTES = 8 * MIB

# An options file as RocksDB writes one, of the version that rocksdict is pinned to, and rocksdict's own beside it.
_MANUAL_FLUSH: Final = Path(__file__).parent / "manual_wal_flush"


def database_options(*, read_only: bool = False) -> Options:
    """Options of the whole database. A reader keeps every file open, so that none is deleted under it."""
    options = Options(raw_mode=True) if read_only else _manual_flush()
    options.set_writable_file_max_buffer_size(FILE_BUFFER_BYTES)
    # Never "point in time": it opens silently after a flipped bit in the log, with acknowledged commits missing.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_max_total_wal_size(WAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_max_open_files(-1 if read_only else 256)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(1 * MIB)
    options.set_stats_dump_period_sec(0)
    options.set_max_manifest_file_size(4 * MIB)
    return options


def _manual_flush() -> Options:
    """Options with which write() only fills a buffer, and flush_wal() alone touches the write-ahead log's file.

    write() holds the GIL and flush_wal() lets it go: half of what a large commit costs moves to where hashing goes
    on beside it. Nothing is acknowledged before flush_wal() anyway. rocksdict has no setter for this option and
    takes it from an options file only.
    """
    options, _ = Options.load_latest(str(_MANUAL_FLUSH))
    return options


def family_options(cache: Cache) -> dict[str, Options]:
    """Options of each column family, all with one block cache."""
    made = {name: _family(cache, block=4 * KIB, buffer=2 * MIB) for name in FAMILIES}
    made["entries"] = _family(cache, block=64 * KIB, buffer=12 * MIB, zstd=3)
    made["tiles"] = _family(cache, block=16 * KIB, buffer=8 * MIB)
    return made


def table_options(cache: Cache, *, block: int) -> BlockBasedOptions:
    """How sorted files are laid out: blocks of so many bytes, read through this cache."""
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(block)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)
    table.set_format_version(5)
    return table


def _family(cache: Cache, *, block: int, buffer: int, zstd: int = 0) -> Options:
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table_options(cache, block=block))
    options.set_write_buffer_size(buffer)
    options.set_max_write_buffer_number(
        4
    )  # with two, a flush that takes a second stops the log for that second
    options.set_compression_type(DBCompressionType.zstd() if zstd else DBCompressionType.none())
    if zstd:
        options.set_compression_options(-14, zstd, 0, 0)
    return options
