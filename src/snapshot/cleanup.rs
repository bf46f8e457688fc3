//! Removing the files that nothing names any more: of merged segments, old generations, dropped indexes, and a crash.

use std::collections::{BTreeMap, HashSet};
use std::io::Result;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lodedb_wal::fs::FileSystem;
use lodedb_wal::killpoint::reach;

use super::files::SegmentStore;
use super::manifest::{IndexManifest, Manifest, RETAINED};
use crate::catalog::TableId;
use crate::commit::TableView;
use crate::commit::apply::State;
use crate::models;
use crate::segment::{STAGED_ROWS, SegmentId};

/// What the kept manifests and the kept log name.
struct Named {
    /// Folders of segments and files of codes and quantizers.
    paths: HashSet<PathBuf>,
    /// Numbers of segments and generations that a record of the log may name.
    in_log: Range<SegmentId>,
}

/// Removes what neither `kept` nor the log after the oldest of them can name.
///
/// `newest`: the tables as they are, while no job makes codes; codes of kept segments stay without it. `until`: every
/// number below it may be in use; when a database is opened nothing else is, and nothing is being made.
pub fn remove_unnamed(
    files: &SegmentStore,
    kept: &[&Manifest],
    newest: Option<&BTreeMap<TableId, Arc<TableView>>>,
    until: SegmentId,
) -> Result<()> {
    let Some(since) = kept.iter().map(|manifest| manifest.unsettled_from).min() else { return Ok(()) };
    let mut named = Named { paths: HashSet::new(), in_log: since..until };
    for table in kept.iter().flat_map(|manifest| &manifest.tables) {
        let folders = table.segments.iter().filter_map(|segment| segment.files.as_ref());
        named.paths.extend(folders.map(|(folder, _)| files.table_dir(table.table).join(folder)));
        for (index, index_files) in &table.indexes {
            named.paths.extend(codes_of(files, table.table, index_files));
            let Some(quantizer) = &index_files.quantizer else { continue };
            let dir = files.quantizer_dir(*index);
            named.paths.extend(quantizer.entries().map(|entry| dir.join(&entry.name)));
        }
    }
    for (&table, view) in newest.into_iter().flatten() {
        named.paths.extend(view.index_files.values().flat_map(|index_files| codes_of(files, table, index_files)));
    }
    // Numbers end where nothing is being made: then halves of files, and numbers that are not taken, are of a crash.
    let is_left_over = |name: &str, number: fn(&str) -> Option<SegmentId>| {
        until < SegmentId::MAX && (name.ends_with(".tmp") || number(name).is_some_and(|number| number >= until))
    };
    let fs = &*files.fs;
    for table in folders(fs, files.segments_dir())? {
        for folder in folders(fs, table)? {
            if named.may_be_in_log(&folder, segment_number) {
                // Its files too, but for what a crash left there.
                remove_files(fs, &folder, |name| is_left_over(name, codes_number))?;
                continue;
            }
            if !named.paths.contains(&folder) {
                reach("cleanup: before something is removed");
                fs.remove_dir_all(&folder)?;
                reach("cleanup: after something was removed");
                continue;
            }
            if newest.is_some() {
                let is_unnamed = |name: &str| named.lacks(&folder.join(name), codes_number);
                remove_files(fs, &folder, |name| is_unnamed(name) || is_left_over(name, codes_number))?;
            }
            // The row store has them, at every generation that is kept.
            if fs.exists(&folder.join(STAGED_ROWS))? {
                fs.remove_file(&folder.join(STAGED_ROWS))?;
            }
        }
    }
    for index in folders(fs, files.quantizers_dir())? {
        let is_unnamed = |name: &str| named.lacks(&index.join(name), quantizer_number);
        remove_files(fs, &index, |name| is_unnamed(name) || is_left_over(name, quantizer_number))?;
    }
    Ok(())
}

/// As [`remove_unnamed`] when a database is opened in `state`: what has a number that is not taken was left by a crash.
///
/// A manifest that is kept and cannot be read may name anything; then nothing is removed.
pub fn remove_left_over(files: &SegmentStore, manifests: &Path, state: &State) -> Result<()> {
    let fs = &*files.fs;
    let generations = Manifest::generations(fs, manifests)?;
    let kept = generations.iter().take(RETAINED).map(|&generation| Manifest::read(fs, manifests, generation).ok());
    let Some(kept) = kept.collect::<Option<Vec<Manifest>>>() else { return Ok(()) };
    remove_unnamed(files, &kept.iter().collect::<Vec<_>>(), Some(&state.tables), state.next_segment)?;
    let named = models::hashes(kept.iter().map(|manifest| &manifest.catalog).chain([&*state.catalog])).collect();
    models::remove_folders(fs, &files.models_dir(), &named)?;
    for folder in [folders(fs, files.segments_dir())?, folders(fs, files.quantizers_dir())?].concat() {
        if fs.read_dir(&folder)?.is_empty() {
            fs.remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

impl Named {
    /// Whether nothing names a file.
    fn lacks(&self, path: &Path, number: fn(&str) -> Option<SegmentId>) -> bool {
        !self.paths.contains(path) && !self.may_be_in_log(path, number)
    }

    /// Whether the log may name something by its `number`; what has none is not ours to judge.
    fn may_be_in_log(&self, path: &Path, number: fn(&str) -> Option<SegmentId>) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Half a file.
        let name = name.strip_suffix(".tmp").unwrap_or(&name);
        number(name).is_none_or(|number| self.in_log.contains(&number))
    }
}

/// The files of codes that an index has.
fn codes_of(files: &SegmentStore, table: TableId, index_files: &IndexManifest) -> Vec<PathBuf> {
    index_files.codes.iter().map(|(id, entry)| files.segment_dir(table, *id).join(&entry.name)).collect()
}

/// `7`: a segment. `7-90`, a growing segment's copy of generation 90, is named by its manifest alone, never by the log.
fn segment_number(name: &str) -> Option<SegmentId> {
    match name.split_once('-') {
        Some((segment, generation)) => segment.parse::<SegmentId>().and(generation.parse::<u64>()).ok().map(|_| 0),
        None => name.parse().ok(),
    }
}

/// `codes.16402.9`: of an index, and of a generation.
fn codes_number(name: &str) -> Option<SegmentId> {
    name.strip_prefix("codes.")?.split_once('.')?.1.parse().ok()
}

/// `9` or `9.calibration`: of a generation.
fn quantizer_number(name: &str) -> Option<SegmentId> {
    name.strip_suffix(".calibration").unwrap_or(name).parse().ok()
}

fn folders(fs: &dyn FileSystem, dir: PathBuf) -> Result<Vec<PathBuf>> {
    if !fs.exists(&dir)? {
        return Ok(Vec::new());
    }
    Ok(fs.read_dir(&dir)?.iter().filter(|entry| entry.is_dir).map(|entry| dir.join(&entry.name)).collect())
}

/// Removes the files of a folder whose names say so.
fn remove_files(fs: &dyn FileSystem, dir: &Path, is_left: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs.read_dir(dir)?.iter().filter(|entry| !entry.is_dir && is_left(&entry.name)) {
        fs.remove_file(&dir.join(&entry.name))?;
    }
    Ok(())
}
