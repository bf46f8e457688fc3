//! Removing the files that nothing names any more: of merged segments, old generations, dropped indexes, and a crash.

use std::collections::HashSet;
use std::io::Result;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lodedb_wal::fs::FileSystem;

use super::files::SegmentStore;
use super::manifest::{Manifest, RETAINED};
use crate::segment::SegmentId;

/// What the kept manifests and the kept log name.
struct Named {
    /// Folders of segments and files of codes and quantizers.
    paths: HashSet<PathBuf>,
    /// Numbers of segments and generations that a record of the log may name.
    in_log: Range<SegmentId>,
}

/// Removes what neither `kept` nor the log after the oldest of them can name. `until`: every number below it may be in use.
pub fn remove_unnamed(files: &SegmentStore, kept: &[&Manifest], until: SegmentId) -> Result<()> {
    let Some(since) = kept.iter().map(|manifest| manifest.unsettled_from).min() else { return Ok(()) };
    let mut named = Named { paths: HashSet::new(), in_log: since..until };
    for table in kept.iter().flat_map(|manifest| &manifest.tables) {
        let folders = table.segments.iter().filter_map(|segment| segment.files.as_ref());
        named.paths.extend(folders.map(|(folder, _)| files.table_dir(table.table).join(folder)));
        for (index, index_files) in &table.indexes {
            let codes = index_files.codes.iter();
            named.paths.extend(codes.map(|(id, entry)| files.segment_dir(table.table, *id).join(&entry.name)));
            let Some(quantizer) = &index_files.quantizer else { continue };
            let dir = files.quantizer_dir(*index);
            named.paths.insert(dir.join(&quantizer.quantizer.name));
            named.paths.extend(quantizer.calibration.iter().map(|entry| dir.join(&entry.name)));
        }
    }
    let fs = &*files.fs;
    for table in folders(fs, files.segments_dir())? {
        for folder in folders(fs, table)? {
            if named.paths.contains(&folder) {
                remove_files(fs, folder, &named, codes_number)?;
            } else if !named.keeps(&folder, segment_number) {
                fs.remove_dir_all(&folder)?;
            }
        }
    }
    for index in folders(fs, files.quantizers_dir())? {
        remove_files(fs, index, &named, quantizer_number)?;
    }
    Ok(())
}

/// As [`remove_unnamed`] when a database is opened: what a number at or above `next` names was left by a crash.
///
/// A manifest that is kept and cannot be read may name anything; then nothing is removed.
pub fn remove_left_over(files: &SegmentStore, manifests: &Path, next: SegmentId) -> Result<()> {
    let fs = &*files.fs;
    let generations = Manifest::generations(fs, manifests)?;
    let kept = generations.iter().take(RETAINED).map(|&generation| Manifest::read(fs, manifests, generation).ok());
    let Some(kept) = kept.collect::<Option<Vec<Manifest>>>() else { return Ok(()) };
    remove_unnamed(files, &kept.iter().collect::<Vec<_>>(), next)?;
    for folder in [folders(fs, files.segments_dir())?, folders(fs, files.quantizers_dir())?].concat() {
        if fs.read_dir(&folder)?.is_empty() {
            fs.remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

impl Named {
    /// Whether something is named, or may be by its `number`; what has none is not ours to judge.
    fn keeps(&self, path: &Path, number: fn(&str) -> Option<SegmentId>) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Half a file.
        let name = name.strip_suffix(".tmp").unwrap_or(&name);
        self.paths.contains(path) || number(name).is_none_or(|number| self.in_log.contains(&number))
    }
}

/// `7`: a segment. `7-90`, a growing segment's copy of commit 90, is named by its manifest alone, never by the log.
fn segment_number(name: &str) -> Option<SegmentId> {
    match name.split_once('-') {
        Some((segment, commit)) => segment.parse::<SegmentId>().and(commit.parse::<u64>()).ok().map(|_| 0),
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

fn remove_files(fs: &dyn FileSystem, dir: PathBuf, named: &Named, number: fn(&str) -> Option<SegmentId>) -> Result<()> {
    for entry in fs.read_dir(&dir)?.iter().filter(|entry| !entry.is_dir) {
        let path = dir.join(&entry.name);
        if !named.keeps(&path, number) {
            fs.remove_file(&path)?;
        }
    }
    Ok(())
}
