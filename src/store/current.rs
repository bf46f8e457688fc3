//! What a power cut may do to RocksDB's file CURRENT.
//!
//! Each time it is opened RocksDB writes a new MANIFEST, renames the file that names it to CURRENT, and syncs the folder once, after both; the
//! MANIFEST before goes only then. A file system that does not keep names in the order they were made may keep CURRENT's alone.

use std::io::{Error, Result};
use std::path::Path;

use lodedb_wal::fs::{self, FileSystem};

/// Brings CURRENT back to the MANIFEST before, if the one it names is not there: that is the same state. Where there is none, a store
/// without rows, which `is_new` says that it may be, was being made, and will be made again. Gives what CURRENT said, if it was changed.
pub(super) fn mend(fs: &dyn FileSystem, dir: &Path, is_new: bool) -> Result<Option<Vec<u8>>> {
    let path = dir.join("CURRENT");
    if !fs.exists(&path)? {
        return Ok(None);
    }
    let said = fs::read_file(fs, &path)?;
    let named = str::from_utf8(&said).ok().and_then(|text| number(text.trim_end()));
    let Some(named) = named.filter(|_| !said.is_empty()) else { return Ok(None) };
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
        return Ok(Some(said));
    }
    let has_rows = names.iter().any(|name| name.ends_with(".sst") || name.ends_with(".blob"));
    if is_new && !has_rows {
        fs.remove_file(&path)?;
        fs.sync_dir(dir)?;
        tracing::warn!("the row store was being made when it was cut off; it is made again");
        return Ok(Some(said));
    }
    Ok(None)
}

/// Takes it back: what is there is no state that may be gone on from.
pub(super) fn put_back(fs: &dyn FileSystem, dir: &Path, said: Option<Vec<u8>>) -> Result<()> {
    said.map_or(Ok(()), |said| fs::publish(fs, &dir.join("CURRENT"), &said))
}

/// `MANIFEST-000004`: 4.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("MANIFEST-")?.parse().ok()
}

/// The error of such a call.
pub(super) fn failed(dir: &Path, error: &Error) -> super::StoreError {
    super::StoreError::Engine(format!("{}: {error}", dir.join("CURRENT").display()))
}
