//! Where the files of segments and quantizers are, and the open ones that are about to be published.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_sql::error::Result;
use lodedb_wal::fs::{self, FileSystem};
use parking_lot::Mutex;

use crate::catalog::{IndexId, TableId};
use crate::segment::{
    Calibration, FileEntry, IndexSpec, Quantizer, Sealed, SegmentFiles, SegmentId, SegmentIndex, StagedFiles,
    StagedRows,
};
use crate::snapshot::manifest::QuantizerFiles;
use crate::snapshot::repair::Mender;

/// The files below `DIR/segments` and `DIR/quantizers`.
#[derive(Debug)]
pub struct SegmentStore {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    /// Mends what opening a segment finds damaged.
    pub(super) mender: Mender,
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
    /// The files of the database in `dir`, which has its backups in `backups`.
    pub fn new(fs: Arc<dyn FileSystem>, dir: &Path, backups: PathBuf) -> Self {
        let mender = Mender::new(fs.clone(), dir, backups);
        Self { fs, dir: dir.to_owned(), mender, ready: Mutex::default() }
    }

    /// The folder of all segments.
    pub fn segments_dir(&self) -> PathBuf {
        self.dir.join("segments")
    }

    /// The folder of all quantizers.
    pub fn quantizers_dir(&self) -> PathBuf {
        self.dir.join("quantizers")
    }

    /// The folder of all models.
    pub fn models_dir(&self) -> PathBuf {
        self.dir.join("models")
    }

    /// The folder of a table's segments.
    pub fn table_dir(&self, table: TableId) -> PathBuf {
        self.segments_dir().join(table.to_string())
    }

    /// The folder of a segment.
    pub fn segment_dir(&self, table: TableId, segment: SegmentId) -> PathBuf {
        self.table_dir(table).join(segment.to_string())
    }

    /// The folder of an index's quantizers.
    pub fn quantizer_dir(&self, index: IndexId) -> PathBuf {
        self.quantizers_dir().join(index.to_string())
    }

    /// Makes a folder and its parents durable.
    pub fn create_dirs(&self, dir: &Path) -> std::io::Result<()> {
        fs::create_dirs(&*self.fs, dir)
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
    pub fn sealed(&self, table: TableId, files: &SegmentFiles) -> Result<Arc<Sealed>> {
        if let Some(segment) = self.ready.lock().sealed.remove(&files.id) {
            return Ok(segment);
        }
        self.mender.open_sealed(&self.segment_dir(table, files.id), files, false)
    }

    /// The file of staged rows.
    pub fn staged_rows(&self, table: TableId, files: &StagedFiles) -> Result<StagedRows> {
        StagedRows::open(&*self.fs, &self.segment_dir(table, files.id), files)
    }

    /// A quantizer with its calibration, opened unless it was handed over.
    pub fn quantizer(
        &self,
        spec: &IndexSpec,
        files: &QuantizerFiles,
    ) -> Result<(Arc<Quantizer>, Option<Arc<Calibration>>)> {
        if let Some(made) = self.ready.lock().quantizers.remove(&spec.id)
            && made.0.generation() == files.generation
        {
            return Ok(made);
        }
        let dir = self.quantizer_dir(spec.id);
        let path = dir.join(&files.quantizer.name);
        let quantizer = Quantizer::open(&*self.fs, &path, spec, files.generation, Some(&files.quantizer))?;
        let calibration = files.calibration.as_ref().and_then(|entry| {
            Calibration::open(&*self.fs, &dir.join(&entry.name), spec.id, Some(entry))
                .inspect_err(|error| tracing::warn!(%error, "a calibration cannot be read; default effort is used"))
                .ok()
        });
        Ok((quantizer, calibration.map(Arc::new)))
    }

    /// The codes of a segment, opened unless they were handed over.
    pub fn codes(
        &self,
        table: TableId,
        sealed: &Sealed,
        index: IndexId,
        entry: &FileEntry,
        quantizer: &Arc<Quantizer>,
    ) -> Result<Arc<SegmentIndex>> {
        if let Some(codes) = self.ready.lock().codes.remove(&(index, sealed.id()))
            && codes.generation() == quantizer.generation()
        {
            return Ok(codes);
        }
        let path = self.segment_dir(table, sealed.id()).join(&entry.name);
        SegmentIndex::open(&*self.fs, &path, quantizer, sealed, Some(entry))
    }

    /// Where the codes of a segment for one generation of an index go.
    pub fn codes_path(&self, table: TableId, segment: SegmentId, index: IndexId, generation: u64) -> PathBuf {
        self.segment_dir(table, segment).join(format!("codes.{index}.{generation}"))
    }
}
