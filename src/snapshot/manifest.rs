//! A manifest: the whole state of the database at one commit, rows aside. docs/file-format.md has every byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lodedb_wal::fs::{self, FileSystem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, CatalogWithoutModels, CatalogWithoutRights, IndexId, SequenceId, TableId};
use crate::commit::RowId;
use crate::fault::{Fault, planted};
use crate::segment::{FileEntry, SegmentFiles, SegmentId};

use super::framed::Form;

const FORM: Form = Form { magic: b"LODEMANI", format: 4, name: "manifest" };
/// The format before, which is read still: its catalog knows no models.
const FORM_3: Form = Form { magic: b"LODEMANI", format: 3, name: "manifest" };
/// The one before that: its catalog knows no roles either.
const FORM_2: Form = Form { magic: b"LODEMANI", format: 2, name: "manifest" };
/// How many generations are kept.
pub const RETAINED: usize = 2;

/// One generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number; the next one's is one more.
    pub generation: u64,
    /// The commit it stands at.
    pub lsn: u64,
    /// When it was written: microseconds since 1970 UTC.
    pub time_us: i64,
    /// What exists.
    pub catalog: Catalog,
    /// The last value each sequence gave out.
    pub sequences: Vec<(SequenceId, i64)>,
    /// The id the next segment or quantizer gets.
    pub next_segment: SegmentId,
    /// Files with this id or a greater one may be named by the log after `lsn`: they were being made when this was written.
    pub unsettled_from: SegmentId,
    /// The tables.
    pub tables: Vec<TableManifest>,
}

/// The payload of a manifest of a format before, with the catalog of that.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct Older<C> {
    generation: u64,
    lsn: u64,
    time_us: i64,
    catalog: C,
    sequences: Vec<(SequenceId, i64)>,
    next_segment: SegmentId,
    unsettled_from: SegmentId,
    tables: Vec<TableManifest>,
}

impl<C: Into<Catalog>> From<Older<C>> for Manifest {
    fn from(older: Older<C>) -> Self {
        let Older { generation, lsn, time_us, catalog, sequences, next_segment, unsettled_from, tables } = older;
        let catalog = catalog.into();
        Self { generation, lsn, time_us, catalog, sequences, next_segment, unsettled_from, tables }
    }
}

/// Reads a manifest of a format before.
fn decode_older<C: Into<Catalog> + DeserializeOwned>(form: &Form, bytes: &[u8]) -> Result<(u64, Manifest), String> {
    let (generation, older): (u64, Older<C>) = form.decode(bytes)?;
    Ok((generation, older.into()))
}

/// What a manifest says of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableManifest {
    /// Its OID.
    pub table: TableId,
    /// The id the next row gets.
    pub next_row: RowId,
    /// How many rows there are.
    pub live_rows: u64,
    /// The segments, oldest first.
    pub segments: Vec<SegmentManifest>,
    /// The vector indexes that have been built.
    pub indexes: Vec<(IndexId, IndexManifest)>,
}

/// What a manifest says of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentManifest {
    /// Its id.
    pub id: SegmentId,
    /// Whether it was sealed; if not, the file holds the rows that were live and they are read back to memory.
    pub sealed: bool,
    /// The folder of its files below the table's; `None` for a mutable segment without live rows.
    pub files: Option<(String, SegmentFiles)>,
    /// Rows that are gone: encoded bits.
    pub dead: Vec<u8>,
    /// Rows whose Arrow copies are out of date: encoded bits.
    pub overridden: Vec<u8>,
}

/// The files of a vector index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// Its quantizer.
    pub quantizer: Option<QuantizerFiles>,
    /// Its codes for segments.
    pub codes: Vec<(SegmentId, FileEntry)>,
}

/// The files of one generation of an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizerFiles {
    /// The generation.
    pub generation: u64,
    /// How many rows there were when it was trained.
    pub rows: u64,
    /// The quantizer.
    pub quantizer: FileEntry,
    /// Its calibration, if there was enough to measure.
    pub calibration: Option<FileEntry>,
}

impl QuantizerFiles {
    /// All its files.
    pub fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        std::iter::once(&self.quantizer).chain(&self.calibration)
    }
}

/// Why a manifest was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It could not be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It was read and does not verify.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl Manifest {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        FORM.encode(self.generation, self)
    }

    /// Reads what [`Self::encode`] wrote, here or in a version that wrote format 2 or 3.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (generation, manifest): (u64, Self) = if FORM_2.begins(bytes) {
            decode_older::<CatalogWithoutRights>(&FORM_2, bytes)?
        } else if FORM_3.begins(bytes) {
            decode_older::<CatalogWithoutModels>(&FORM_3, bytes)?
        } else {
            FORM.decode(bytes)?
        };
        if manifest.generation != generation {
            return Err("its payload is not what its header says".into());
        }
        Ok(manifest)
    }

    /// Its sealed segments and their bytes.
    pub fn segment_bytes(&self) -> BTreeMap<(TableId, SegmentId), u64> {
        let of_table = |table: &TableManifest| {
            let sealed = table.segments.iter().filter(|segment| segment.sealed);
            let files = sealed.filter_map(|segment| Some((segment.id, segment.files.as_ref()?.1.bytes())));
            files.map(|(segment, bytes)| ((table.table, segment), bytes)).collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(of_table).collect()
    }

    /// Writes it into the folder of manifests, durable when this returns.
    pub fn write(&self, files: &dyn FileSystem, dir: &Path) -> std::io::Result<()> {
        let (path, bytes) = (dir.join(format!("{:016x}", self.generation)), self.encode());
        if planted(Fault::ManifestInPlace) && files.exists(&path)? {
            let file = files.open(&path, fs::OpenMode::ReadWrite)?;
            file.set_len(bytes.len() as u64)?;
            fs::write_all_at(&*file, &bytes, 0)?;
            return file.sync_all();
        }
        fs::publish(files, &path, &bytes)
    }

    /// Reads one generation.
    pub fn read(files: &dyn FileSystem, dir: &Path, generation: u64) -> Result<Self, ManifestError> {
        let path = dir.join(format!("{generation:016x}"));
        let bytes = fs::read_file(files, &path).map_err(|error| ManifestError::Io { path: path.clone(), error })?;
        Self::decode(&bytes).map_err(|reason| ManifestError::Damaged { path, reason })
    }

    /// The generations in a folder, newest first.
    pub fn generations(files: &dyn FileSystem, dir: &Path) -> std::io::Result<Vec<u64>> {
        let mut found: Vec<u64> = files
            .read_dir(dir)?
            .iter()
            .filter(|entry| !entry.is_dir && entry.name.len() == 16)
            .filter_map(|entry| u64::from_str_radix(&entry.name, 16).ok())
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
