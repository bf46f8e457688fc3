//! Opening a database: lock, format, newest generation that verifies, then the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lodedb_sql::SqlState;
use lodedb_wal::fs::{self, FileSystem, Lock};
use lodedb_wal::killpoint::reach;
use lodedb_wal::{Log, LogError, LogOptions};

use crate::commit::apply::State;
use crate::commit::record::{Assembler, CommitRecord, Op};
use crate::commit::view::TableView;
use crate::db::engine::{Kept, LastCheckpoint};
use crate::db::error::OpenError;
use crate::db::options::Options;
use crate::fault::{Fault, planted};
use crate::segment::{Bits, IndexView, Mutable, Segment, SegmentView};
use crate::store::{Store, StoreOptions};

use super::backup::DatabaseId;
use super::checkpoint::create_layout;
use super::cleanup;
use super::files::SegmentStore;
use super::manifest::{Manifest, RETAINED, TableManifest};

/// The format of the directory as a whole.
const FORMAT: u32 = 1;
/// The largest record of the log: a commit is cut into records of about a mebibyte.
const MAX_RECORD_BYTES: u32 = 2 << 20;

/// What opening yields.
pub struct Opened {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Which database it is.
    pub id: DatabaseId,
    /// The newest state.
    pub state: State,
    /// The rows at that state.
    pub store: Store,
    /// The log, ready for more.
    pub log: Log,
    /// The files of segments.
    pub files: SegmentStore,
    /// The generation it started from.
    pub last_checkpoint: LastCheckpoint,
    /// Held as long as the database is open.
    pub lock: Lock,
}

/// Opens the database in `dir`.
pub fn open(fs: Arc<dyn FileSystem>, dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::Io { path, error }
    };
    let dir = std::path::absolute(dir).map_err(io(dir))?;
    fs::create_named_dir(&*fs, &dir).map_err(io(&dir))?;
    refuse_foreign(&*fs, &dir)?;
    let lock = lock(&*fs, &dir)?;
    reach("recovery: locked");
    let format_path = dir.join("FORMAT");
    let (manifests, wal) = (dir.join("manifest"), dir.join("wal"));
    let log_options = log_options(&*fs, options.log_segment_bytes);
    if !fs.exists(&format_path).map_err(io(&format_path))? {
        // CRASH: without FORMAT the database was never opened; its making starts over.
        create_layout(&fs, &dir).map_err(io(&dir))?;
        if Manifest::generations(&*fs, &manifests).map_err(io(&manifests))?.is_empty() {
            first_manifest().write(&*fs, &manifests).map_err(io(&manifests))?;
        }
        // ORDER: the log, then the FORMAT: a database that has one and no log has lost it.
        Log::open(fs.clone(), &wal, log_options.clone(), 1, 0)?.close()?;
        write_format(&*fs, &dir, new_id(&*fs))?;
    }
    let id = check_format(&*fs, &dir, &format_path)?;
    // CRASH: an earlier opening may have named it and been cut off, or have failed, before the name was durable.
    fs.sync_dir(&dir).map_err(io(&dir))?;

    let files = SegmentStore::new(fs.clone(), &dir, options.backup_dir.clone().unwrap_or_else(|| dir.join("backups")));
    let (manifest, mut state) = best_manifest(&files, &manifests)?;
    reach("recovery: manifest read");
    let store_options = StoreOptions::within(options.memory_limit(), options.row_cache_bytes);
    let store = Store::open_on(&*fs, &dir.join("meta"), &store_options, manifest.lsn)?;
    reach("recovery: rows open");
    let stored = store.applied_lsn()?;
    let floor = stored.max(manifest.lsn);
    if !Log::exists(&*fs, &wal).map_err(io(&wal))? {
        return Err(OpenError::LogMissing { path: wal });
    }
    let log = match Log::open(fs.clone(), &wal, log_options.clone(), manifest.lsn + 1, floor) {
        Err(LogError::Damaged { .. } | LogError::BelowFloor { .. }) if planted(Fault::DamagedLogDropped) => {
            fs.remove_dir_all(&wal).map_err(io(&wal))?;
            fs.create_dir(&wal).map_err(io(&wal))?;
            Log::open(fs.clone(), &wal, log_options, floor + 1, floor)?
        }
        opened => opened?,
    };
    reach("recovery: log open");
    let last_checkpoint = LastCheckpoint {
        generation: manifest.generation,
        lsn: manifest.lsn,
        time_us: manifest.time_us,
        log_bytes: 0,
        at: Instant::now(),
        kept: kept(&*files.fs, &manifests, manifest.generation).map_err(io(&manifests))?,
    };
    replay(&mut state, &store, stored, &log, &files)?;
    reach("recovery: replayed");
    // What queries and backups of a process that was killed had put aside.
    let spill = dir.join("spill");
    if files.fs.exists(&spill).map_err(io(&spill))? {
        files.fs.remove_dir_all(&spill).map_err(io(&spill))?;
    }
    cleanup::remove_left_over(&files, &manifests, &state).map_err(io(&dir))?;
    reach("recovery: done");
    Ok(Opened { dir, id, state, store, log, files, last_checkpoint, lock })
}

/// How the log is opened.
#[cfg_attr(not(test), expect(unused_variables, reason = "only tests have another file system"))]
pub(super) fn log_options(fs: &dyn FileSystem, segment_bytes: u64) -> LogOptions {
    let max_record_bytes = u64::from(MAX_RECORD_BYTES).min(segment_bytes / 2) as u32;
    let options = LogOptions { segment_bytes, max_record_bytes, ..LogOptions::default() };
    #[cfg(test)]
    let options = crate::simulation::repeatable(fs, options);
    options
}

/// An identity that no other database has.
#[cfg_attr(not(test), expect(unused_variables, reason = "only tests have another file system"))]
pub(super) fn new_id(fs: &dyn FileSystem) -> DatabaseId {
    #[cfg(test)]
    if let Some(machine) = crate::simulation::Machine::of(fs) {
        return machine.new_id();
    }
    DatabaseId::new_v4()
}

/// Takes a directory for this process.
pub(super) fn lock(fs: &dyn FileSystem, dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("LOCK");
    fs.try_lock(&path, &format!("process {}", std::process::id())).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let holder = fs::read_file(fs, &path).unwrap_or_default();
            OpenError::InUse { path: dir.to_owned(), holder: String::from_utf8_lossy(&holder).trim().to_owned() }
        } else {
            OpenError::Io { path: path.clone(), error }
        }
    })
}

/// The log after the manifest goes through the same `apply` as a live commit.
fn replay(state: &mut State, store: &Store, stored: u64, log: &Log, files: &SegmentStore) -> Result<(), OpenError> {
    let mut assembler = Assembler::default();
    let mut commits = 0u64;
    for record in log.read_from(state.lsn + 1)? {
        let (lsn, bytes) = record?;
        if let Some(commit) = assembler.push(lsn, &bytes)? {
            // The store may be ahead of the manifest; what it has is not written again.
            let to_store = (commit.lsn > stored).then_some(store);
            if planted(Fault::CommitNotReplayed) && lsn.is_multiple_of(16) {
                continue;
            }
            for _ in 0..=u8::from(planted(Fault::ReplayedTwice)) {
                state.apply(commit.lsn, &commit.header.bases, &commit.ops, to_store, files)?;
            }
            if planted(Fault::PredicateReplayed) && to_store.is_none() {
                remove_what_is_gone(state, store, &commit, files)?;
            }
            reach("recovery: a commit replayed");
            commits += 1;
        }
    }
    if commits > 0 {
        tracing::info!(commits, lsn = state.lsn, "replayed the log");
    }
    Ok(())
}

/// [`Fault::PredicateReplayed`]: takes out the rows of a commit that the store, which is ahead, has no more.
fn remove_what_is_gone(
    state: &mut State,
    store: &Store,
    commit: &CommitRecord,
    files: &SegmentStore,
) -> Result<(), OpenError> {
    for (table, first) in &commit.header.bases {
        for row in *first..state.next_row(*table) {
            if store.row(*table, row)?.is_none() {
                state.apply(commit.lsn, &[], &[Op::Delete { table: *table, row }], None, files)?;
            }
        }
    }
    Ok(())
}

fn first_manifest() -> Manifest {
    Manifest {
        generation: 1,
        lsn: 0,
        time_us: crate::db::clock::now_us(),
        catalog: Default::default(),
        sequences: Vec::new(),
        next_segment: 1,
        unsettled_from: 1,
        tables: Vec::new(),
    }
}

fn refuse_foreign(fs: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
    const OURS: [&str; 11] = [
        "LOCK",
        "FORMAT",
        "FORMAT.tmp",
        "wal",
        "meta",
        "segments",
        "quantizers",
        "models",
        "manifest",
        "socket",
        "backups",
    ];
    let entries = fs.read_dir(dir).map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
    if entries.iter().any(|entry| entry.name == "FORMAT") {
        return Ok(());
    }
    match entries.iter().find(|entry| !OURS.contains(&entry.name.as_str())) {
        Some(entry) => Err(OpenError::Foreign {
            path: dir.to_owned(),
            reason: format!("it holds {:?} and no FORMAT file; name an empty or a new directory", entry.name),
        }),
        None => Ok(()),
    }
}

/// Makes a directory a database: from here on it is opened as it is.
pub(super) fn write_format(fs: &dyn FileSystem, dir: &Path, id: DatabaseId) -> Result<(), OpenError> {
    let path = dir.join("FORMAT");
    fs::publish(fs, &path, format!("lodedb {FORMAT}\n{id}\n").as_bytes()).map_err(|error| OpenError::Io { path, error })
}

/// Whether the directory has a format that is known, and which database it is.
fn check_format(fs: &dyn FileSystem, dir: &Path, path: &Path) -> Result<DatabaseId, OpenError> {
    let bytes = fs::read_file(fs, path).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let found =
        lines.next().and_then(|line| line.strip_prefix("lodedb ")).and_then(|number| number.parse::<u32>().ok());
    let id = lines.next().and_then(|line| line.parse().ok());
    match (found, id) {
        (Some(FORMAT), Some(id)) => Ok(id),
        (Some(FORMAT), None) => {
            // Made before databases had an identity.
            let id = new_id(fs);
            write_format(fs, dir, id)?;
            Ok(id)
        }
        (Some(found), _) => Err(OpenError::Newer { path: dir.to_owned(), found, known: FORMAT }),
        (None, _) => {
            Err(OpenError::Foreign { path: dir.to_owned(), reason: "its FORMAT file says nothing known".into() })
        }
    }
}

/// The newest generation whose files are all there, and its state. The files of growing segments are each manifest's own: where one is
/// damaged the manifest before and the log have its rows. If every generation lacks something the newest is taken, and tables are lost.
fn best_manifest(files: &SegmentStore, dir: &Path) -> Result<(Manifest, State), OpenError> {
    let newest = newest_manifest(&*files.fs, dir)?;
    let state = restore(&newest, files)?;
    if state.is_whole() {
        return Ok((newest, state));
    }
    let generations =
        Manifest::generations(&*files.fs, dir).map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
    for generation in generations.into_iter().take(RETAINED).filter(|&generation| generation < newest.generation) {
        let Ok(older) = Manifest::read(&*files.fs, dir, generation) else { continue };
        let state = restore(&older, files)?;
        if state.is_whole() {
            tracing::warn!(
                generation,
                "a file of the newest manifest is damaged; the one before and the log have all of it"
            );
            return Ok((older, state));
        }
    }
    Ok((newest, state))
}

/// The newest generation that verifies. An older one means more log to replay.
pub(super) fn newest_manifest(fs: &dyn FileSystem, dir: &Path) -> Result<Manifest, OpenError> {
    let generations = Manifest::generations(fs, dir).map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
    let mut reasons = Vec::new();
    for generation in generations {
        match Manifest::read(fs, dir, generation) {
            Ok(manifest) => return Ok(manifest),
            Err(error) => {
                tracing::error!(%error, "a manifest is not usable; falling back to the one before");
                reasons.push(error.to_string());
            }
        }
    }
    if reasons.is_empty() {
        reasons.push("there is none".into());
    }
    Err(OpenError::NoManifest { path: dir.to_owned(), reasons: reasons.join("; ") })
}

/// What the kept manifests up to the one that is used hold on to, as far as they can be read. The next checkpoint replaces newer ones.
fn kept(fs: &dyn FileSystem, dir: &Path, newest: u64) -> std::io::Result<Vec<Kept>> {
    let generations = Manifest::generations(fs, dir)?;
    let usable = generations.iter().filter(|&&generation| generation <= newest).take(RETAINED);
    let kept = usable.filter_map(|&generation| Manifest::read(fs, dir, generation).ok());
    Ok(kept.map(|manifest| Kept { lsn: manifest.lsn, segments: manifest.segment_bytes() }).collect())
}

/// The state a manifest describes, its segments opened.
fn restore(manifest: &Manifest, files: &SegmentStore) -> Result<State, OpenError> {
    let mut tables = BTreeMap::new();
    for table in &manifest.tables {
        let restored = match restore_table(manifest, table, files) {
            Err(OpenError::Segment(error)) if error.state() == SqlState::DataCorrupted => {
                let mut view = empty_table(manifest, table);
                let name = manifest.catalog.table_by_id(table.table).map_or("", |table| &table.name);
                view.lose(name, error);
                view
            }
            other => other?,
        };
        tables.insert(table.table, Arc::new(restored));
    }
    Ok(State {
        lsn: manifest.lsn,
        catalog: Arc::new(manifest.catalog.clone()),
        tables: Arc::new(tables),
        sequences: Arc::new(manifest.sequences.iter().copied().collect()),
        next_segment: manifest.next_segment,
    })
}

/// A table without its segments, none of its indexes built.
fn empty_table(manifest: &Manifest, table: &TableManifest) -> TableView {
    let mut view = TableView { next_row: table.next_row, live_rows: table.live_rows, ..TableView::default() };
    for index in manifest.catalog.indexes_of(table.table) {
        let crate::catalog::IndexKind::Vector { spec, .. } = &index.kind else { continue };
        view.indexes.insert(index.id, Arc::new(IndexView::empty(Arc::new(spec.clone()))));
    }
    view
}

fn restore_table(manifest: &Manifest, table: &TableManifest, files: &SegmentStore) -> Result<TableView, OpenError> {
    let mut view = empty_table(manifest, table);
    for segment in &table.segments {
        let opened = match &segment.files {
            Some((folder, segment_files)) => {
                let dir = files.table_dir(table.table).join(folder);
                // The rows of a growing segment are all read here, the vectors of a sealed one when they are wanted.
                Some(files.mender.open_sealed(&dir, segment_files, !segment.sealed)?)
            }
            None => None,
        };
        if segment.sealed {
            let (Some(sealed), Some((_, segment_files))) = (opened, &segment.files) else { continue };
            view.sealed_files.insert(segment.id, segment_files.clone());
            view.segments.push(SegmentView {
                segment: Segment::Sealed(sealed),
                dead: Bits::decode(&segment.dead)?,
                overridden: Bits::decode(&segment.overridden)?,
            });
        } else {
            let columns = match (&opened, manifest.catalog.table_by_id(table.table)) {
                (Some(sealed), _) => sealed.columns().to_vec(),
                (None, Some(definition)) => definition.vector_columns(),
                (None, None) => continue,
            };
            let mutable = Mutable::new(segment.id, columns);
            let mut len = 0;
            if let Some(sealed) = opened {
                for ordinal in 0..sealed.len() {
                    let vectors: Vec<Option<&[f32]>> = (0..sealed.columns().len())
                        .map(|column| sealed.vector(column, ordinal))
                        .collect::<Result<_, _>>()?;
                    mutable.append(sealed.row_id(ordinal), &vectors)?;
                    len += 1;
                }
            }
            view.segments.push(SegmentView {
                segment: Segment::Mutable { segment: mutable, len },
                dead: Bits::new(),
                overridden: Bits::decode(&segment.overridden)?,
            });
        }
    }
    for index in manifest.catalog.indexes_of(table.table) {
        let crate::catalog::IndexKind::Vector { spec, .. } = &index.kind else { continue };
        let mut index_view = IndexView::empty(Arc::new(spec.clone()));
        let Some((_, index_files)) = table.indexes.iter().find(|(id, _)| *id == index.id) else { continue };
        if let Some(quantizer_files) = &index_files.quantizer {
            // Derived data: what cannot be read is built again.
            match files.quantizer(spec, quantizer_files) {
                Ok((quantizer, calibration)) => {
                    for view in &view.segments {
                        let Segment::Sealed(sealed) = &view.segment else { continue };
                        let Some((segment, entry)) = index_files.codes.iter().find(|(id, _)| *id == sealed.id()) else {
                            continue;
                        };
                        match files.codes(table.table, sealed, index.id, entry, &quantizer) {
                            Ok(codes) => {
                                index_view.segments.insert(*segment, codes);
                            }
                            Err(error) => tracing::warn!(index = index.id, segment, %error, "codes cannot be read"),
                        }
                    }
                    index_view.quantizers.push(quantizer);
                    index_view.calibration = calibration;
                    view.index_files.insert(index.id, index_files.clone());
                }
                Err(error) => tracing::warn!(index = index.id, %error, "a quantizer cannot be read"),
            }
        }
        view.indexes.insert(index.id, Arc::new(index_view));
    }
    Ok(view)
}
