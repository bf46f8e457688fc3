//! Where the files of segments and quantizers are, and the open ones that are about to be published.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::fs::FileSystem;
use parking_lot::Mutex;

use crate::catalog::{IndexId, TableId};
use crate::segment::{
    Calibration, IndexFiles, Quantizer, QuantizerFiles, Sealed, SegmentError, SegmentFiles, SegmentId, SegmentIndex,
};

/// The files below `DIR/segments` and `DIR/quantizers`.
#[derive(Debug)]
pub struct SegmentStore {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    ready: Mutex<Ready>,
}

/// What a job has just made: the commit that publishes it need not read it back.
#[derive(Debug, Default)]
struct Ready {
    sealed: HashMap<SegmentId, Arc<Sealed>>,
    codes: HashMap<(IndexId, SegmentId), Arc<SegmentIndex>>,
    quantizers: HashMap<IndexId, (Arc<Quantizer>, Option<Arc<Calibration>>)>,
}

impl SegmentStore {
    /// The files of the database in `dir`.
    pub fn new(fs: Arc<dyn FileSystem>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned(), ready: Mutex::default() }
    }

    /// The folder of a table's segments.
    pub fn table_dir(&self, table: TableId) -> PathBuf {
        self.dir.join("segments").join(table.to_string())
    }

    /// The folder of a segment.
    pub fn segment_dir(&self, table: TableId, segment: SegmentId) -> PathBuf {
        self.table_dir(table).join(segment.to_string())
    }

    /// The folder of an index's quantizers.
    pub fn quantizer_dir(&self, index: IndexId) -> PathBuf {
        self.dir.join("quantizers").join(index.to_string())
    }

    /// Makes a folder and its parents durable.
    pub fn create_dirs(&self, dir: &Path) -> std::io::Result<()> {
        if self.fs.exists(dir)? {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.create_dirs(parent)?;
            match self.fs.create_dir(dir) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            self.fs.sync_dir(parent)?;
        }
        Ok(())
    }

    /// Hands over a segment whose commit follows.
    pub fn offer_sealed(&self, segment: Arc<Sealed>) {
        self.ready.lock().sealed.insert(segment.id(), segment);
    }

    /// Hands over codes whose commit follows.
    pub fn offer_codes(&self, index: IndexId, segment: SegmentId, codes: Arc<SegmentIndex>) {
        self.ready.lock().codes.insert((index, segment), codes);
    }

    /// Hands over a quantizer whose commit follows.
    pub fn offer_quantizer(&self, index: IndexId, quantizer: Arc<Quantizer>, calibration: Option<Arc<Calibration>>) {
        self.ready.lock().quantizers.insert(index, (quantizer, calibration));
    }

    /// A sealed segment, opened unless it was handed over.
    pub fn sealed(&self, table: TableId, id: SegmentId, files: &SegmentFiles) -> Result<Arc<Sealed>, SegmentError> {
        if let Some(segment) = self.ready.lock().sealed.remove(&id) {
            return Ok(segment);
        }
        Sealed::open(&self.fs, &self.segment_dir(table, id), files)
    }

    /// A quantizer with its calibration, opened unless it was handed over.
    pub fn quantizer(
        &self,
        index: IndexId,
        files: &QuantizerFiles,
    ) -> Result<(Arc<Quantizer>, Option<Arc<Calibration>>), SegmentError> {
        if let Some(made) = self.ready.lock().quantizers.remove(&index) {
            if made.0.generation() == files.generation {
                return Ok(made);
            }
        }
        let quantizer = Quantizer::open(&self.fs, &self.quantizer_dir(index), files)?;
        Ok((Arc::new(quantizer), files.calibration.clone().map(Arc::new)))
    }

    /// The codes of a segment, opened unless they were handed over.
    pub fn codes(
        &self,
        table: TableId,
        segment: SegmentId,
        index: IndexId,
        files: &IndexFiles,
        quantizer: &Quantizer,
    ) -> Result<Arc<SegmentIndex>, SegmentError> {
        if let Some(codes) = self.ready.lock().codes.remove(&(index, segment)) {
            return Ok(codes);
        }
        SegmentIndex::open(&self.fs, &self.segment_dir(table, segment), files, quantizer).map(Arc::new)
    }
}
