//! What a power cut may do to RocksDB's file CURRENT and to the MANIFEST that it names.
//!
//! Each time it is opened RocksDB writes a new MANIFEST, renames the file that names it to CURRENT, and syncs the folder once, after both; the
//! MANIFEST before goes only then. A file system that does not keep names in the order they were made may keep CURRENT's alone.
//!
//! RocksDB appends to its MANIFEST and syncs it before it goes by what it wrote. A record that was cut off may be as long as it should be and
//! hold zeros, which RocksDB takes for damage. Without its last record a MANIFEST is that of an older state, or of the same; whether that may
//! be gone on from is for the caller to see.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use lodedb_wal::fs::{self, FileSystem};

/// Bytes of a block of a MANIFEST: no record goes over its end.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes before a record: checksum, length, kind.
const HEADER_BYTES: usize = 7;
/// The kinds of records that are whole, or the first part of one.
const BEGINNINGS: [u8; 2] = [1, 2];
/// The kinds of records there are.
const KINDS: std::ops::RangeInclusive<u8> = 1..=4;

/// The kinds of records in a file that is written over an older one.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// A file that was changed, and what it said.
#[derive(Debug)]
pub(super) struct Changed {
    path: PathBuf,
    said: Vec<u8>,
}

/// Brings CURRENT back to the MANIFEST before, if the one it names is not there: that is the same state. Where there is none, a store
/// without rows, which `is_new` says that it may be, was being made, and will be made again.
pub(super) fn mend(fs: &dyn FileSystem, dir: &Path, is_new: bool) -> Result<Option<Changed>> {
    let path = dir.join("CURRENT");
    let Some((said, named)) = current(fs, dir)? else { return Ok(None) };
    let names: Vec<String> = fs.read_dir(dir)?.into_iter().map(|entry| entry.name).collect();
    let manifests = || names.iter().filter_map(|name| number(name));
    if manifests().any(|there| there == named) {
        return Ok(None);
    }
    if let Some(before) = manifests().filter(|&there| there < named).max() {
        fs::publish(fs, &path, format!("MANIFEST-{before:06}\n").as_bytes())?;
        tracing::warn!(
            named,
            before,
            "the row store's newest MANIFEST is missing, as after a power cut; the one before is taken"
        );
        return Ok(Some(Changed { path, said }));
    }
    let has_rows = names.iter().any(|name| name.ends_with(".sst") || name.ends_with(".blob"));
    if is_new && !has_rows {
        fs.remove_file(&path)?;
        fs.sync_dir(dir)?;
        tracing::warn!("the row store was being made when it was cut off; it is made again");
        return Ok(Some(Changed { path, said }));
    }
    Ok(None)
}

/// Takes the last record off the MANIFEST; `None` if there is nothing that could be left.
pub(super) fn cut(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Changed>> {
    let Some((_, named)) = current(fs, dir)? else { return Ok(None) };
    let path = dir.join(format!("MANIFEST-{named:06}"));
    if !fs.exists(&path)? {
        return Ok(None);
    }
    let said = fs::read_file(fs, &path)?;
    let left = last_record(&said);
    if left == 0 {
        return Ok(None);
    }
    fs::publish(fs, &path, &said[..left])?;
    Ok(Some(Changed { path, said }))
}

/// Takes changes back, the last one first: what is there is no state that may be gone on from.
pub(super) fn put_back(fs: &dyn FileSystem, changed: Vec<Changed>) -> Result<()> {
    changed.into_iter().rev().try_for_each(|Changed { path, said }| fs::publish(fs, &path, &said))
}

/// What CURRENT says, and the number of the MANIFEST that it names, if it names one.
fn current(fs: &dyn FileSystem, dir: &Path) -> Result<Option<(Vec<u8>, u64)>> {
    let path = dir.join("CURRENT");
    if !fs.exists(&path)? {
        return Ok(None);
    }
    let said = fs::read_file(fs, &path)?;
    let named = str::from_utf8(&said).ok().and_then(|text| number(text.trim_end()));
    Ok(named.map(|named| (said, named)))
}

/// Refuses what RocksDB would read for ever: its reader does not go on from a record that says it was written over one of an older file
/// where those before it do not (`Reader::ReadPhysicalRecord` in db/log_reader.cc). No record of ours says so.
pub(crate) fn refuse_endless(dir: &Path) -> super::Result<()> {
    let failed = |error: Error| super::StoreError::Engine(format!("{}: {error}", dir.display()));
    if !dir.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if number(&name).is_none() && !name.ends_with(".log") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(failed)?;
        if let Some((at, _)) = records(&bytes).find(|(_, kind)| kind.is_some_and(|kind| RECYCLED.contains(&kind))) {
            let path = entry.path();
            return Err(super::StoreError::damaged(format!(
                "Corruption: no such kind of record in {} at {at}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Where the last record begins. Checksums are RocksDB's to compare.
fn last_record(bytes: &[u8]) -> usize {
    let mut begins = 0;
    for (at, kind) in records(bytes) {
        match kind {
            Some(kind) if BEGINNINGS.contains(&kind) => begins = at,
            Some(kind) if KINDS.contains(&kind) => {}
            _ => return at,
        }
    }
    begins
}

/// Where records begin, and their kinds; none of the last one if its header is cut off.
fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, Option<u8>)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let left = BLOCK_BYTES - next % BLOCK_BYTES;
        let at = if left < HEADER_BYTES { next + left } else { next };
        let Some(&[_, _, _, _, low, high, kind]) = bytes.get(at..)?.first_chunk::<HEADER_BYTES>() else {
            next = bytes.len() + BLOCK_BYTES;
            return (at < bytes.len()).then_some((at, None));
        };
        let end = at + HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
        // What goes over the end of its block is damaged, and the next block is read.
        next = end.min((at / BLOCK_BYTES + 1) * BLOCK_BYTES);
        Some((at, Some(kind)))
    })
}

/// `MANIFEST-000004`: 4.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("MANIFEST-")?.parse().ok()
}

/// The error of such a call.
pub(super) fn failed(dir: &Path, error: &Error) -> super::StoreError {
    super::StoreError::Engine(format!("{}: {error}", dir.join("CURRENT").display()))
}
