"""How the database is tuned. Each figure was measured; `docs/storage.md` has the table."""

from __future__ import annotations

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options

from .layout import FAMILIES

KIB = 1024
MIB = 1024 * KIB
CACHE_BYTES = 32 * MIB
WAL_BYTES = 24 * MIB  # replayed twice at the open after a crash: once to look, once for good


def database_options(*, read_only: bool = False) -> Options:
    """Options of the whole database. A reader keeps every file open, so that none is deleted under it."""
    options = Options(raw_mode=True)
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


def family_options(cache: Cache) -> dict[str, Options]:
    """Options of each column family, all with one block cache."""
    made = {name: _family(cache, block=4 * KIB, buffer=2 * MIB) for name in FAMILIES}
    made["entries"] = _family(cache, block=64 * KIB, buffer=12 * MIB, zstd=3)
    made["tiles"] = _family(cache, block=16 * KIB, buffer=8 * MIB)
    return made


def _family(cache: Cache, *, block: int, buffer: int, zstd: int = 0) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(block)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)
    table.set_format_version(5)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(buffer)
    options.set_compression_type(DBCompressionType.zstd() if zstd else DBCompressionType.none())
    if zstd:
        options.set_compression_options(-14, zstd, 0, 0)
    return options
