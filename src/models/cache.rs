//! Vectors that were computed before, by what they were computed of: the same text or picture is embedded once.
//!
//! A RocksDB of its own below `DIR/cache`, bounded by its compaction, which lets the oldest files go. It promises nothing: what
//! it has lost is computed again, and where it cannot be opened or written the models go on without it.
//!
//! INVARIANT 1: an entry's key is a hash of all that its vector depends on: the files of the model, the prompt, the content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::{BlockBasedOptions, Cache as BlockCache, DB, DBCompactionStyle, FifoCompactOptions, Options};

use super::Truncated;
use crate::catalog::Model;
use crate::store::{StoreError, refuse_endless};

/// Tables of recent writes are this part of the whole at most, so that what is let go at a time is little.
const PARTS: u64 = 16;
/// And no larger than this.
const MOST_BUFFER_BYTES: u64 = 8 << 20;
/// Memory for blocks read from disk.
const BLOCK_BYTES: usize = 8 << 20;

/// The hash of what a vector is computed of.
pub(crate) type Key = [u8; 32];

/// What was computed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) vector: Arc<[f32]>,
    /// Whether a text was cut for it.
    pub(super) truncated: Option<Truncated>,
}

/// Hashes what vectors of one model are computed of.
pub(crate) struct Keys(blake3::Hasher);

impl Keys {
    /// Of texts, each after the prompt of this name, or the model's default one.
    pub(crate) fn of_texts(model: &Model, prompt: Option<&str>) -> Self {
        Self::new(&model.hash, "text", prompt)
    }

    /// Of pictures.
    pub(crate) fn of_images(model: &Model) -> Self {
        Self::new(&model.hash, "image", None)
    }

    /// Of a model with this hash, for one kind of inputs, after one prompt.
    pub(super) fn new(model: &str, kind: &str, prompt: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [model, kind, prompt.unwrap_or("\0")] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher)
    }

    /// The key of a text or a picture.
    pub(crate) fn of(&self, content: &[u8]) -> Key {
        *self.0.clone().update(content).finalize().as_bytes()
    }
}

/// The cache of a database.
pub(super) struct Cache {
    dir: PathBuf,
    bytes: u64,
    /// Opened by the first who asks; `Some(None)` where that failed.
    db: Mutex<Option<Option<Arc<DB>>>>,
}

impl Cache {
    /// The one in a folder, of so many bytes; of none, there is no cache.
    pub(super) fn new(dir: PathBuf, bytes: u64) -> Self {
        Self { dir, bytes, db: Mutex::default() }
    }

    fn db(&self) -> Option<Arc<DB>> {
        if self.bytes == 0 {
            return None;
        }
        let mut db = self.db.lock();
        db.get_or_insert_with(|| self.open()).clone()
    }

    fn open(&self) -> Option<Arc<DB>> {
        let opened = open(&self.dir, self.bytes).or_else(|error| {
            // Nothing in it is missed.
            tracing::warn!("the cache of embeddings is begun anew: {error}");
            let _ = std::fs::remove_dir_all(&self.dir);
            open(&self.dir, self.bytes)
        });
        match opened {
            Ok(db) => Some(Arc::new(db)),
            Err(error) => {
                tracing::warn!("there is no cache of embeddings: {error}");
                None
            }
        }
    }

    /// What is known of these, in their order.
    pub(super) fn get(&self, keys: &[Key], dims: usize) -> Vec<Option<Entry>> {
        let Some(db) = self.db() else { return vec![None; keys.len()] };
        let decoded = |value: Option<Vec<u8>>| value.and_then(|value| decode(&value));
        let of_dims = |entry: &Entry| entry.vector.len() == dims;
        db.multi_get(keys).into_iter().map(|value| decoded(value.ok().flatten()).filter(of_dims)).collect()
    }

    /// Keeps what was computed.
    pub(super) fn put<'a>(&self, entries: impl Iterator<Item = (Key, &'a Entry)>) {
        let Some(db) = self.db() else { return };
        let mut batch = rocksdb::WriteBatch::default();
        for (key, entry) in entries {
            batch.put(key, encode(entry));
        }
        if let Err(error) = db.write(batch) {
            tracing::debug!("embeddings were not kept: {error}");
        }
    }
}

fn open(dir: &Path, bytes: u64) -> Result<DB, StoreError> {
    refuse_endless(dir)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compaction_style(DBCompactionStyle::Fifo);
    let mut fifo = FifoCompactOptions::default();
    fifo.set_max_table_files_size(bytes);
    options.set_fifo_compaction_options(&fifo);
    let buffer = (bytes / PARTS).clamp(64 << 10, MOST_BUFFER_BYTES);
    options.set_write_buffer_size(usize::try_from(buffer).unwrap_or(usize::MAX));
    options.set_max_total_wal_size(2 * buffer);
    options.set_keep_log_file_num(1);
    options.set_max_log_file_size(1 << 20);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_cache(&BlockCache::new_lru_cache(BLOCK_BYTES));
    options.set_block_based_table_factory(&blocks);
    Ok(DB::open(&options, dir)?)
}

/// How many tokens there were and how many were used, none where nothing was cut; then the numbers. Little-endian.
fn encode(entry: &Entry) -> Vec<u8> {
    let cut = entry.truncated.map_or((0, 0), |cut| (cut.tokens as u64, cut.used as u64));
    let mut bytes = Vec::with_capacity(16 + 4 * entry.vector.len());
    bytes.extend(cut.0.to_le_bytes());
    bytes.extend(cut.1.to_le_bytes());
    for number in &*entry.vector {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (tokens, rest) = bytes.split_first_chunk::<8>()?;
    let (used, rest) = rest.split_first_chunk::<8>()?;
    let (numbers, []) = rest.as_chunks::<4>() else { return None };
    let count = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
    let (tokens, used) = (count(tokens)?, count(used)?);
    let truncated = (tokens > 0).then_some(Truncated { tokens, used });
    Some(Entry { vector: numbers.iter().map(|number| f32::from_le_bytes(*number)).collect(), truncated })
}
