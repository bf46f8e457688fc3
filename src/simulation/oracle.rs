//! Whether what a machine comes back with keeps every promise.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::vector::Metric;
use lodedb_sql::{Datum, SqlError};
use lodedb_wal::fs::FileSystem;

use super::Machine;
use super::ledger::{Contents, DIMS, Item, Ledger};
use super::play::{BACKUPS, DIR, open, stored};
use crate::Db;
use crate::commit::record::Op;
use crate::commit::{Overlay, Reader};
use crate::db::engine::Engine;
use crate::segment::{Effort, KnnRequest, RowFilter, RowId, SegmentView, search};
use crate::snapshot::backup::Progress;
use crate::snapshot::backup::repository::Repository;
use crate::snapshot::backup::restore::restore;
use crate::snapshot::check::check;
use crate::snapshot::manifest::{Manifest, RETAINED};
use crate::snapshot::repair::named_files;

/// The id of the row that is added to a database that was recovered.
const ADDED: i64 = 1_000_000;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Promises 1 to 8.
    Plain,
    /// Also 9, and what the backups hold.
    Thorough,
    /// As plain, where a manifest is damaged and said to be.
    WithoutManifest,
}

/// Checks a machine after a loss of power after so many calls. Gives which of the candidates it holds.
pub(super) fn check_machine(machine: &Machine, ledger: &Ledger, calls: u64, look: Look) -> Result<usize, String> {
    let checked = catch_unwind(AssertUnwindSafe(|| check_all(machine, ledger, calls, look)));
    checked.unwrap_or_else(|panic| Err(format!("it panicked: {}", told(&*panic))))
}

/// What a panic said.
pub(super) fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "?".into())
}

fn check_all(machine: &Machine, ledger: &Ledger, calls: u64, look: Look) -> Result<usize, String> {
    let candidates = ledger.candidates(calls);
    if look == Look::Thorough {
        check_backups(machine, ledger, calls)?;
    }
    let db = open(machine, DIR).map_err(|error| format!("recovering: {error}"))?;
    let found = contents(db.engine())?;
    let nth =
        candidates.iter().position(|candidate| **candidate == found).ok_or_else(|| unlike(&candidates, &found))?;
    check_inside(db.engine(), &found, look)?;
    let state = state_of(&db);
    drop(db);

    // What an opened database showed is durable: the harshest cut right after it changes nothing.
    let again = machine.after_harshest_cut();
    let db = open(&again, DIR).map_err(|error| format!("recovering twice: {error}"))?;
    if contents(db.engine())? != found || state_of(&db) != state {
        return Err(format!("recovered twice, it is at {:?}, and was at {state:?}", state_of(&db)));
    }
    let after = add_row(&db, &found)?;
    if look == Look::Thorough {
        db.checkpoint().map_err(|error| format!("a checkpoint after recovery: {error}"))?;
        check_orphans(&again, &db)?;
    }
    drop(db);
    let last = again.after_harshest_cut();
    let db = open(&last, DIR).map_err(|error| format!("recovering after living on: {error}"))?;
    let lived_on = contents(db.engine())?;
    if let Some(difference) = after.difference(&lived_on) {
        return Err(format!("after living on: {difference}"));
    }
    check_inside(db.engine(), &lived_on, look)?;
    Ok(nth)
}

fn unlike(candidates: &[Arc<Contents>], found: &Contents) -> String {
    let differences: Vec<String> = candidates.iter().filter_map(|candidate| candidate.difference(found)).collect();
    let (first, last) = (differences.first().cloned().unwrap_or_default(), differences.last().cloned());
    let rest = if candidates.len() > 1 { last.unwrap_or_default() } else { String::new() };
    format!("it holds none of {} states: {first}; {rest}", candidates.len())
}

/// Of a table: its id, the next row id, how many rows there are, and its segments.
type TableState = (u32, u64, u64, Vec<u64>);

/// What tells two states apart beside their rows.
fn state_of(db: &Db) -> (u64, Vec<TableState>) {
    let view = db.engine().view();
    let tables = view.tables.iter().map(|(id, table)| {
        let segments = table.segments.iter().map(|view| view.segment.id()).collect();
        (*id, table.next_row, table.live_rows, segments)
    });
    (view.lsn, tables.collect())
}

/// Commits one more row; gives what the database holds then.
pub(super) fn add_row(db: &Db, found: &Contents) -> Result<Contents, String> {
    let mut after = found.clone();
    let engine = db.engine();
    let Some(table) = engine.view().catalog.table("t").map(|table| table.id) else { return Ok(after) };
    let id = ADDED + found.rows("t").filter(|(id, _)| **id >= ADDED).count() as i64;
    let item = Item { grp: 1, note: None, v: Some(vec![1.5; DIMS]) };
    let op = Op::Insert { table, rows: vec![stored(&(id, item.clone()))] };
    engine.committer.commit_blocking(vec![op]).map_err(|error| format!("a commit after recovery: {error}"))?;
    after.table("t").rows.insert(id, Arc::new(item));
    Ok(after)
}

/// Everything a database holds, read as a query reads it.
pub(super) fn contents(engine: &Engine) -> Result<Contents, String> {
    let reader = Reader { view: engine.view(), overlay: Arc::new(Overlay::default()) };
    let catalog = reader.catalog();
    let mut found = Contents::default();
    for table in catalog.tables() {
        let into = found.table(&table.name);
        into.indexes = catalog.indexes_of(table.id).map(|index| index.name.clone()).collect();
        let rows = reader.scan(table, true).map_err(|error| error.to_string())?;
        for row in rows {
            let row = row.map_err(|error| format!("rows of {} cannot be read: {error}", table.name))?;
            let (id, item) = item_of(&row.values).ok_or_else(|| format!("row {} has strange values", row.id))?;
            if into.rows.insert(id, Arc::new(item)).is_some() {
                return Err(format!("there are two rows {id} in {}", table.name));
            }
        }
    }
    Ok(found)
}

fn item_of(values: &[Datum]) -> Option<(i64, Item)> {
    let (Datum::Int8(id), Datum::Int4(grp)) = (values.first()?, values.get(1)?) else { return None };
    let note = match values.get(2)? {
        Datum::Text(text) => Some(text.clone()),
        Datum::Null => None,
        _ => return None,
    };
    let v = match values.get(3) {
        Some(Datum::Vector(v)) => Some(v.to_vec()),
        Some(Datum::Null) | None => None,
        Some(_) => return None,
    };
    Some((*id, Item { grp: *grp, note, v }))
}

/// Promises 4 and 5.
fn check_inside(engine: &Engine, found: &Contents, look: Look) -> Result<(), String> {
    let mut faults = check(engine, None, &|| Ok(())).map_err(|error| format!("checking: {error}"))?;
    if look == Look::WithoutManifest {
        faults.retain(|fault| fault.file.as_ref().is_none_or(|file| !file.contains("/manifest/")));
    }
    if let Some(fault) = faults.first() {
        return Err(format!("{} faults, {fault:?} the first of them", faults.len()));
    }
    check_searches(engine, found).map_err(|error| format!("searching: {error}"))
}

/// Lets rows of some groups pass.
struct Groups<'a>(&'a HashMap<RowId, Arc<Item>>);

impl RowFilter for Groups<'_> {
    fn evaluate(&self, segment: &SegmentView) -> Result<Vec<u64>, SqlError> {
        let mut words = vec![0; (segment.segment.len() as usize).div_ceil(64)];
        for ordinal in 0..segment.segment.len() {
            if self.0.get(&segment.segment.row_id(ordinal)).is_some_and(|item| passes(item)) {
                words[ordinal as usize / 64] |= 1 << (ordinal % 64);
            }
        }
        Ok(words)
    }
}

fn passes(item: &Item) -> bool {
    item.grp % 2 == 1
}

/// Searches that visit everything, against distances computed one by one.
fn check_searches(engine: &Engine, found: &Contents) -> Result<(), String> {
    let view = engine.view();
    let Some(table) = view.catalog.table("t") else { return Ok(()) };
    let Some(inside) = view.tables.get(&table.id) else { return Ok(()) };
    let Some(column) = table.vector_columns().first().map(|column| column.id) else { return Ok(()) };
    // Rows by the ids that the segments have.
    let mut by_row = HashMap::new();
    for row in view.rows.scan_rows(table.id, ..) {
        let (row, stored) = row.map_err(|error| error.to_string())?;
        let Some(Datum::Int8(id)) = stored.values.first() else { return Err("a row without a key".into()) };
        if let Some(item) = found.tables.get("t").and_then(|table| table.rows.get(id)) {
            by_row.insert(row, item.clone());
        }
    }
    let query = [0.5f32; DIMS];
    let index = inside.indexes.values().next().map(|index| &**index).filter(|index| !index.quantizers.is_empty());
    let filter = Groups(&by_row);
    let kinds = [(Metric::L2, index), (Metric::InnerProduct, None), (Metric::Cosine, None)];
    for ((metric, index), filtered) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut wanted: Vec<f64> = by_row
            .values()
            .filter(|item| !filtered || passes(item))
            .filter_map(|item| item.v.as_ref().map(|v| metric.distance(&query, v)))
            .collect();
        wanted.sort_by(f64::total_cmp);
        for k in [1, 10, by_row.len().max(1)] {
            let cancelled = AtomicBool::new(false);
            let request = KnnRequest {
                column,
                metric,
                query: &query,
                k,
                filter: filtered.then_some(&filter as &dyn RowFilter),
                effort: Effort::Explicit { probes: 65_536, candidates: 1 << 20 },
                cancelled: &cancelled,
            };
            let (answer, _) = search(&inside.segments, index, &request).map_err(|error| error.to_string())?;
            let mut seen = BTreeSet::new();
            for (at, neighbor) in answer.iter().enumerate() {
                let item = by_row.get(&neighbor.row).ok_or_else(|| format!("row {} is gone", neighbor.row))?;
                let own = item.v.as_ref().map(|v| metric.distance(&query, v));
                let is_right = own == Some(neighbor.distance) && (!filtered || passes(item));
                if !is_right || !seen.insert(neighbor.row) || wanted.get(at) != Some(&neighbor.distance) {
                    return Err(format!("place {at} of {k} is row {} at {}", neighbor.row, neighbor.distance));
                }
            }
            if answer.len() != wanted.len().min(k) {
                return Err(format!("{} of {} rows for {k}, filtered {filtered}", answer.len(), wanted.len()));
            }
        }
    }
    Ok(())
}

/// Promise 9: every file is named by a kept manifest, the newest view or the kept log.
fn check_orphans(machine: &Machine, db: &Db) -> Result<(), String> {
    let engine = db.engine();
    let (dir, fs) = (&engine.dir, &*engine.files.fs);
    let mut named: BTreeSet<PathBuf> = BTreeSet::new();
    let manifests = dir.join("manifest");
    let generations = Manifest::generations(fs, &manifests).map_err(|error| error.to_string())?;
    if generations.len() > RETAINED {
        return Err(format!("{} manifests are kept", generations.len()));
    }
    for generation in generations {
        let manifest = Manifest::read(fs, &manifests, generation).map_err(|error| error.to_string())?;
        named.insert(manifests.join(format!("{generation:016x}")));
        named.extend(named_files(&manifest, dir).into_iter().map(|(path, ..)| path));
        // What the log after it names has numbers from here on.
        let view = engine.view();
        for (&table, inside) in view.tables.iter() {
            for (&id, files) in &inside.sealed_files {
                let folder = engine.files.segment_dir(table, id);
                named.extend(files.entries().map(|(entry, _)| folder.join(&entry.name)));
                if id >= manifest.unsettled_from {
                    named.insert(folder.join(crate::segment::STAGED_ROWS));
                }
            }
            for (&index, files) in &inside.index_files {
                named.extend(
                    files
                        .quantizer
                        .iter()
                        .flat_map(|quantizer| quantizer.entries())
                        .map(|entry| engine.files.quantizer_dir(index).join(&entry.name)),
                );
                let codes = files.codes.iter();
                named.extend(codes.map(|(id, entry)| engine.files.segment_dir(table, *id).join(&entry.name)));
            }
        }
    }
    // A merged segment may still be named by the log after the older manifest.
    let in_log: BTreeSet<u64> = {
        let oldest = Manifest::generations(fs, &manifests).map_err(|error| error.to_string())?;
        let oldest = oldest.last().and_then(|&generation| Manifest::read(fs, &manifests, generation).ok());
        let since = oldest.map_or(1, |manifest| manifest.unsettled_from);
        (since..engine.segment_ids.next()).collect()
    };
    for path in files_below(machine, dir)? {
        let Ok(inside) = path.strip_prefix(dir) else { continue };
        let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
        let is_ours = match parts.as_slice() {
            ["FORMAT" | "LOCK" | "repairs"] | ["wal" | "meta", ..] => true,
            ["segments", _, folder, _] if folder.parse().is_ok_and(|id: u64| in_log.contains(&id)) => true,
            ["segments", _, _, name] if number_of(name).is_some_and(|id| in_log.contains(&id)) => true,
            ["quantizers", _, name] if number_of(name).is_some_and(|id| in_log.contains(&id)) => true,
            _ => named.contains(&path),
        };
        if !is_ours || path.extension().is_some_and(|extension| extension == "tmp") {
            return Err(format!("{} is named by nothing", path.display()));
        }
    }
    Ok(())
}

/// The generation in the name of codes or of a quantizer.
fn number_of(name: &str) -> Option<u64> {
    let name = name.strip_suffix(".calibration").unwrap_or(name);
    name.rsplit('.').next()?.parse().ok()
}

fn files_below(machine: &Machine, dir: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in machine.read_dir(&folder).map_err(|error| error.to_string())? {
            let path = folder.join(&entry.name);
            if entry.is_dir { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// Every backup that was there for certain restores to what it was taken of, and a restored database is whole.
fn check_backups(machine: &Machine, ledger: &Ledger, calls: u64) -> Result<(), String> {
    for (folder, since, wanted) in &ledger.restored {
        let machine = machine.fork();
        if !machine.exists(Path::new(folder)).map_err(|error| error.to_string())? {
            if *since <= calls {
                return Err(format!("{folder} was restored and is not there"));
            }
            continue;
        }
        let db = open(&machine, folder).map_err(|error| format!("opening {folder}: {error}"))?;
        if let Some(difference) = wanted.difference(&contents(db.engine())?) {
            return Err(format!("{folder}: {difference}"));
        }
        check_inside(db.engine(), wanted, Look::Plain)?;
    }
    let held = ledger.backups.iter().rfind(|taken| taken.since <= calls && calls < taken.until);
    let Some(taken) = held else { return Ok(()) };
    let machine = machine.fork();
    let fs: Arc<dyn FileSystem> = Arc::new(machine.clone());
    let to = "/restored-to-look";
    let number = Some(taken.backup.number);
    restore(&fs, Path::new(BACKUPS), number, Path::new(to), None, &Progress::new(0))
        .map_err(|error| format!("restoring backup {}: {error}", taken.backup.number))?;
    let db = open(&machine, to).map_err(|error| format!("opening what was restored: {error}"))?;
    if let Some(difference) = taken.contents.difference(&contents(db.engine())?) {
        return Err(format!("backup {}: {difference}", taken.backup.number));
    }
    check_inside(db.engine(), &taken.contents, Look::Plain)?;
    // Letting go of none removes what no backup names.
    let id = Repository::existing(fs.clone(), Path::new(BACKUPS)).and_then(|found| found.database());
    let repository = id.and_then(|id| Repository::open(fs, Path::new(BACKUPS), id));
    let repository = repository.map_err(|error| error.to_string())?;
    repository.forget(&[]).map_err(|error| format!("letting go of no backup: {error}"))?;
    let backups = repository.backups().map_err(|error| error.to_string())?;
    let named: BTreeSet<PathBuf> =
        backups.iter().flat_map(|backup| &backup.files).map(|file| repository.path_of(file)).collect();
    let stray =
        files_below(&machine, &Path::new(BACKUPS).join("files"))?.into_iter().find(|path| !named.contains(path));
    stray.map_or(Ok(()), |path| Err(format!("{} is in no backup", path.display())))
}
