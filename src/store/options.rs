//! How RocksDB is set up, and why.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, Options};

use super::address::Family;

/// What can be chosen about the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// Memory for blocks read from disk, shared by all families.
    pub block_cache_bytes: usize,
    /// Memory of one family's table of recent writes before it is flushed.
    pub write_buffer_bytes: usize,
    /// Rows from this size on are kept in blob files, which compaction does not rewrite.
    pub blob_bytes_min: u64,
    /// Threads that flush and compact.
    pub background_jobs: i32,
}

impl StoreOptions {
    /// With a cache of so many bytes, and together with three tables of recent writes no more than half of the memory there is.
    pub fn within(memory_bytes: usize, cache_bytes: usize) -> Self {
        let most = Self::default();
        Self {
            block_cache_bytes: cache_bytes.min(memory_bytes / 4),
            write_buffer_bytes: most.write_buffer_bytes.min(memory_bytes / 12),
            ..most
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 256 << 20, write_buffer_bytes: 64 << 20, blob_bytes_min: 4 << 10, background_jobs: 2 }
    }
}

impl StoreOptions {
    /// Tiny buffers, so that tests reach flushes and compactions.
    pub fn for_test() -> Self {
        Self { block_cache_bytes: 1 << 20, write_buffer_bytes: 64 << 10, ..Self::default() }
    }

    /// Options of the whole database.
    ///
    /// INVARIANT 1 rests on these: families are flushed atomically, a flush never merges several buffers, and writes
    /// are neither pipelined nor unordered.
    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_min_write_buffer_number_to_merge(1);
        options.set_paranoid_checks(true);
        options.set_enable_pipelined_write(false);
        options.set_unordered_write(false);
        // `avoid_flush_during_shutdown` has no setter in the crate; its default, false, is the one that is wanted.
        options.set_max_background_jobs(self.background_jobs);
        options.set_bytes_per_sync(1 << 20);
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_max_open_files(1024);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(8 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_skip_stats_update_on_db_open(true);
        // A buffer that fills flushes all families, so the sum is what counts.
        options.set_db_write_buffer_size(self.write_buffer_bytes.saturating_mul(3));
        options
    }

    /// Options of one family.
    pub(super) fn family(&self, family: Family, cache: &Cache) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(5);
        let mut options = Options::default();
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_max_write_buffer_number(3);
        options.set_min_write_buffer_number_to_merge(1);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_zero_slowdown_writes_trigger(24);
        options.set_level_zero_stop_writes_trigger(48);
        match family {
            Family::Rows => {
                table.set_bloom_filter(10.0, false);
                table.set_block_size(16 << 10);
                table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
                options.set_enable_blob_files(true);
                options.set_min_blob_size(self.blob_bytes_min);
                options.set_blob_compression_type(DBCompressionType::Lz4);
                options.set_enable_blob_gc(true);
                options.set_blob_gc_force_threshold(0.5);
            }
            Family::Keys => {
                table.set_bloom_filter(10.0, false);
                table.set_block_size(4 << 10);
                table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
                // A bulk load asks for each of its keys and finds none: let the memtable say so without a search.
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(0.05);
            }
            Family::Entries | Family::Meta => table.set_block_size(8 << 10),
        }
        options.set_block_based_table_factory(&table);
        // A file in which a quarter of the entries delete others is compacted by itself: space comes back after large deletes, and scans
        // do not walk over what is gone.
        options.add_compact_on_deletion_collector_factory(0, 0, 0.25);
        options
    }
}
