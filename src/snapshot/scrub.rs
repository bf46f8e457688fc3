//! The scrubber: reads every file of the database again and again, slowly, so that rot is found while a backup still holds what rotted.
//!
//! A primary file that is damaged is put back from the backups; a derived one is removed, to be built again. Either is listed in
//! `lodedb_repairs`. A file that is put back serves from the next start on: what is open is the damaged one, whose blocks fail their
//! checksums where they are touched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lodedb_sql::error::Result;
use lodedb_wal::fs;

use super::manifest::{Manifest, RETAINED};
use super::repair::named_files;
use crate::compaction::Worker;
use crate::db::clock::now_us;
use crate::db::engine::Engine;
use crate::segment::{FileEntry, verify_file};

/// How long after a start the first pass begins.
const PATIENCE: Duration = Duration::from_secs(60);
/// Passes that are remembered.
const REMEMBERED: usize = 100;

/// One pass over all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// When it began: microseconds since 1970 UTC.
    pub started_us: i64,
    /// When it ended; `None` while it is under way.
    pub finished_us: Option<i64>,
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were damaged.
    pub faults: u64,
}

/// Starts the thread, if the options want it.
pub fn start(engine: &Arc<Engine>) -> Option<Worker> {
    let interval = engine.options.scrub_interval?;
    let mut due = Instant::now() + PATIENCE.min(interval);
    let pause = Duration::from_secs(1).min(interval);
    Some(Worker::spawn("lodedb-scrub", pause, engine, move |engine, stop| {
        if Instant::now() < due {
            return false;
        }
        if let Err(error) = scrub(engine, engine.options.scrub_bytes_per_second, stop) {
            tracing::error!(%error, "a pass of the scrubber failed; the next one begins anew");
        }
        due = Instant::now() + interval;
        false
    }))
}

/// Reads every file that the kept manifests and the newest view name, and every entry of the row store, at most so many bytes a second (0:
/// as fast as it can). Gives what it found.
pub fn scrub(engine: &Engine, bytes_per_second: u64, stop: &AtomicBool) -> Result<Pass> {
    let begin = |passes: &mut Vec<Pass>| {
        if passes.len() == REMEMBERED {
            passes.remove(0);
        }
        passes.push(Pass { started_us: now_us(), ..Pass::default() });
    };
    begin(&mut engine.scrubs.lock());
    let mut pass = Pass::default();
    let told = |pass: &Pass| {
        if let Some(last) = engine.scrubs.lock().last_mut() {
            *last = Pass { started_us: last.started_us, ..pass.clone() };
        }
    };
    let begun = Instant::now();
    for (path, (entry, derived)) in named(engine) {
        if stop.load(Ordering::Acquire) {
            return Ok(pass);
        }
        // What is mapped stays; the rest comes from the disk, and not from what was read before.
        let _ = fs::drop_cached_pages(&*engine.files.fs, &path);
        if verify_file(&*engine.files.fs, &path, &entry).is_err() {
            // No file goes away meanwhile: one that went before is none of ours any more.
            let _last = engine.checkpoint.lock();
            if named(engine).contains_key(&path)
                && let Err(error) = verify_file(&*engine.files.fs, &path, &entry)
            {
                pass.faults += 1;
                tracing::error!(%error, "the scrubber found a damaged file");
                if !engine.files.mender.mend(&path, &entry, derived)? {
                    tracing::error!(path = %path.display(), "no backup holds the file; take what can be read of its table elsewhere");
                }
            }
        }
        pass.files += 1;
        pass.bytes += entry.len;
        told(&pass);
        while bytes_per_second > 0
            && begun.elapsed().as_secs_f64() < pass.bytes as f64 / bytes_per_second as f64
            && !stop.load(Ordering::Acquire)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if let Err(error) = engine.store.verify() {
        pass.faults += 1;
        tracing::error!(%error, "the scrubber found the row store damaged; restore it from a backup");
    }
    pass.finished_us = Some(now_us());
    told(&pass);
    Ok(pass)
}

/// The files that the kept manifests and the newest view name, each with whether it is derived.
fn named(engine: &Engine) -> BTreeMap<PathBuf, (FileEntry, bool)> {
    let (fs, dir) = (&*engine.files.fs, engine.dir.join("manifest"));
    let generations = Manifest::generations(fs, &dir).unwrap_or_default();
    let kept = generations.iter().take(RETAINED).filter_map(|&generation| Manifest::read(fs, &dir, generation).ok());
    let mut named: BTreeMap<PathBuf, (FileEntry, bool)> = kept
        .flat_map(|manifest| named_files(&manifest, &engine.dir))
        .map(|(path, entry, derived)| (path, (entry, derived)))
        .collect();
    for (&table, inside) in engine.view().tables.iter() {
        for (&segment, files) in &inside.sealed_files {
            let folder = engine.files.segment_dir(table, segment);
            let entries = files.entries();
            named.extend(entries.map(|(entry, primary)| (folder.join(&entry.name), (entry.clone(), !primary))));
        }
    }
    named
}
